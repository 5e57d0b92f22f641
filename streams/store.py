"""The store role: opens the store, brings its schema up to date, and runs the loop.

With the embedded store this is the one process that owns it, and it also answers ClickHouse's HTTP
protocol for everybody else.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import confluent_kafka
import pyarrow as pa
import structlog
from clickhouse_connect.driver import exceptions
from prometheus_client import CollectorRegistry

from sinks.clickhouse import StoreSettings, connect, insert_columns, sorted_error
from sinks.embedded_store import EmbeddedStore
from sinks.errors import Permanent, Retryable
from sinks.http_face import HttpFace, HttpFaceSettings
from sinks.migrations import apply_retention, create_reader, migrate
from sinks.table import Table
from streams import epochs
from streams.config import Config
from streams.errors import UnavailableError
from streams.identified_consumer import IdentifiedConsumer
from streams.internal_topics import topic_specs
from streams.kafka import results_consumer
from streams.kafka_topics import check_broker, ensure_topics
from streams.metrics_port import metrics_port, new_registry
from streams.metrics_store import SIZES_SQL, StoreMetrics, TableSize, TableSizes, TopicsMadeAgain
from streams.stopping import stop_signals
from streams.store_loop import STORED, Consumer, Store, StoreCounts, StoreRoleSettings
from streams.supervise import report_ready

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

log = structlog.get_logger()

_TICK_S = 0.1
ConsumerFactory = Callable[[dict[str, Any]], Consumer]
_ROLE = StoreRoleSettings()


def run(config: Config) -> int:
    """The role until SIGTERM or SIGINT, with the settings of ``config``. For the main thread."""
    kafka = config.kafka
    stop = stop_signals()
    check_broker(kafka)
    ensure_topics(kafka, topic_specs(kafka))
    registry = new_registry()
    ids, again = epochs.ids_of(kafka), TopicsMadeAgain(registry)

    def make_consumer(settings: dict[str, Any]) -> IdentifiedConsumer:
        return IdentifiedConsumer(confluent_kafka.Consumer(settings), ids, stop, again.found)

    with metrics_port(config.metrics, registry):
        run_store(
            config.store,
            results_consumer(kafka, kafka.topic("store")),
            stop,
            topics={kafka.topic(name): table for name, table in STORED.items()},
            consumer_factory=make_consumer,
            on_ready=report_ready,
            registry=registry,
        )
    return 0


def run_store(
    settings: StoreSettings,
    kafka: Mapping[str, Any],
    stop: Callable[[], bool],
    *,
    topics: Mapping[str, Table] = STORED,
    consumer_factory: ConsumerFactory = confluent_kafka.Consumer,
    on_ready: Callable[[str], None] | None = None,
    registry: CollectorRegistry | None = None,
) -> StoreCounts:
    """Run until ``stop()`` is true; returns what was done.

    ``kafka``: librdkafka's settings of a consumer that reads committed records and does not commit
    by itself. ``topics``: full names of topics and their tables. ``on_ready`` is called once with
    the store's HTTP address, when it can be read. ``registry``: where metrics go. A server that is
    not up yet is waited for. Raises UnavailableError, one line that says what to do, if the store
    is locked, refuses us or has another schema.
    """
    try:
        with _opened(settings, stop) as (client, address):
            if client is None:
                return StoreCounts()
            registry = registry if registry is not None else CollectorRegistry()
            registry.register(TableSizes(sizes_of(settings, address)))
            if on_ready is not None:
                on_ready(address)

            def insert(table: Table, columns: pa.Table) -> None:
                insert_columns(client, table, columns, database=settings.database)

            store = Store(
                consumer_factory(dict(kafka)),
                insert,
                _ROLE,
                topics=topics,
                metrics=StoreMetrics(registry),
            )
            log.info("store_started", address=address)
            store.run(stop)
            log.info("store_stopped", rows=store.counts.rows, refused=store.counts.refused)
            return store.counts
    except Permanent as error:
        raise UnavailableError(str(error), "store") from None


def sizes_of(settings: StoreSettings, address: str) -> Callable[[], list[TableSize]]:
    """Asks for the sizes of the tables, over a connection of its own that is made when it is first
    needed: scrapes come from other threads than inserts. ``address``: of the embedded store."""
    held: list[Client] = []
    if settings.is_embedded:
        settings = replace(settings, http_port=int(address.rpartition(":")[2]))

    def ask() -> list[TableSize]:
        try:
            if not held:
                held.append(connect(settings))
            found = held[0].query(SIZES_SQL, parameters={"db": settings.database}).result_rows
        except exceptions.Error as error:
            held.clear()
            raise sorted_error(error, "the question for table sizes") from None
        return [TableSize(str(table), int(rows), int(size)) for table, rows, size in found]

    return ask


@contextlib.contextmanager
def _opened(
    settings: StoreSettings, stop: Callable[[], bool]
) -> Iterator[tuple[Client | None, str]]:
    """A client of a store whose schema is up to date; None if ``stop`` came first."""
    with contextlib.ExitStack() as stack:
        client: Client | None
        if settings.is_embedded:
            log.warning("embedded_store_has_no_replicas", path=settings.path)
            embedded = stack.enter_context(EmbeddedStore(settings.path))
            client = embedded.client
            _prepare(client, settings)
            bounds = HttpFaceSettings(
                password=settings.read_password(), reader_password=settings.read_reader_password()
            )
            face = HttpFace(embedded, settings.http_port, bounds)
            stack.callback(face.stop)
            face.start()
            address = f"http://127.0.0.1:{face.port}"
        else:
            client = _connected(settings, stop)
            if client is not None:
                stack.callback(client.close)
            address = settings.url
        yield client, address


def _connected(settings: StoreSettings, stop: Callable[[], bool]) -> Client | None:
    pause_ms = _ROLE.first_pause_ms
    while not stop():
        try:
            client = connect(settings)
            _prepare(client, settings)
        except Retryable as error:
            log.warning("store_is_away", why=str(error), pause_ms=pause_ms)
            until = time.monotonic() + pause_ms / 1000
            while time.monotonic() < until and not stop():
                time.sleep(_TICK_S)
            pause_ms = min(2 * pause_ms, _ROLE.longest_pause_ms)
        else:
            return client
    return None


def _prepare(client: Client, settings: StoreSettings) -> None:
    for migration in migrate(client, database=settings.database):
        log.info("migration_applied", number=migration.number, name=migration.name)
    apply_retention(client, settings.retention, database=settings.database)
    if settings.reader_password_file and not settings.is_embedded:
        create_reader(client, settings.read_reader_password(), database=settings.database)

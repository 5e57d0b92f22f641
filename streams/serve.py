"""The role ``serve``: verdicts out of Kafka, answers over HTTP.

It depends on Kafka alone; of the store it asks only the history of findings, and answers 503 to
that while the store is away. SIGTERM and SIGINT stop it in less than 5 s: running requests get 2 s,
the reader is told to stop, and whoever connects meanwhile is refused.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import structlog
import uvicorn
from clickhouse_connect.driver import exceptions
from confluent_kafka import Consumer

from detectors.verdict import Verdict
from sinks.api import ApiParts, create_app
from sinks.approvals import ApprovalLinks
from sinks.clickhouse import StoreSettings, connect, sorted_error
from sinks.console.routes import ConsoleParts, console
from sinks.console.store_view import StoreView
from sinks.control import ControlBoard
from sinks.finding_history import Ask, FindingQuery, FindingRow, read_findings
from sinks.grants import read_grants
from sinks.head_deadline import HeadDeadline
from sinks.http_guard import MAX_HEAD_BYTES, read_tokens
from sinks.operations import Operations
from sinks.rate_limit import RateLimiter
from sinks.serve_settings import ServeSettings
from sinks.tls import tls_options
from sinks.verdict_board import VerdictBoard
from streams.api_publisher import KafkaPublisher
from streams.clock import wall_ms
from streams.config import Config
from streams.control_reader import control_reader
from streams.errors import UnavailableError, UserError
from streams.internal_topics import CONTROL, VERDICTS
from streams.kafka import whole_topic_consumer
from streams.kafka_topics import check_broker
from streams.stopping import stop_signals
from streams.supervise import report_ready
from streams.verdict_reader import VerdictConsumer, VerdictReader
from streams.wire import decode_verdict

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

log = structlog.get_logger()

_GRACE_S: Final = 2
_TICK_S: Final = 0.1
_LOOK_TIMEOUT_MS: Final = 5_000
LEAST_PANES: Final = 3


def listen(settings: ServeSettings) -> socket.socket:
    """A listening socket at the configured address. Raises `UserError` with what to do."""
    where = f"{settings.host}:{settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError:
        raise UserError("not an address of this machine", where, "check serve.host") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise _not_bound(error, where) from None
    listener.setblocking(False)
    return listener


def _not_bound(error: OSError, where: str) -> UserError:
    match error.errno:
        case errno.EADDRINUSE:
            return UnavailableError(
                "the port is in use", where, "stop the other process or change serve.port"
            )
        case errno.EACCES:
            return UserError("no permission for this port", where, "use a port above 1023")
        case errno.EADDRNOTAVAIL:
            return UserError("not an address of this machine", where, "check serve.host")
        case _:
            why = error.strerror or "unknown"
            return UnavailableError(f"cannot listen: {why}", where, "check serve.host and port")


def server_options(settings: ServeSettings) -> dict[str, Any]:
    """How uvicorn serves the API: the bounds on what a client may cost."""
    return {
        "http": HeadDeadline,
        "ws": "none",
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "limit_concurrency": settings.max_connections,
        "h11_max_incomplete_event_size": MAX_HEAD_BYTES,
        "timeout_keep_alive": 5,
        "timeout_graceful_shutdown": _GRACE_S,
    }


def address_of(listener: socket.socket, scheme: str = "http") -> str:
    """The URL of a listening socket, with the port it really has."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def serve(
    settings: ServeSettings,
    make_consumer: Callable[[], VerdictConsumer],
    decode: Callable[[bytes], Verdict],
    findings: Callable[[FindingQuery], Sequence[FindingRow]],
    *,
    stop: Callable[[], bool],
    on_ready: Callable[[str], None],
    topic: str,
    store: StoreView | None = None,
    operations: Operations | None = None,
) -> None:
    """Serve until ``stop()``. ``on_ready`` gets the URL once requests are answered.
    ``store``: what the console asks; without it there is no console. ``operations``: what people
    and other systems may order; without it nothing.

    Raises `UserError` if the address is taken, TokenFileError if the tokens cannot be read.
    """
    board = VerdictBoard(
        settings.max_releases,
        settings.max_verdict_age_ms,
        operations.board.case_of if operations is not None else lambda _model, _version: None,
        settings.max_data_age_ms,
    )
    tokens = read_tokens(settings.token_file)
    tls = tls_options(settings)
    with (
        closing(listen(settings)) as listener,
        VerdictReader(make_consumer, decode, board, topic, wall_ms) as reader,
    ):
        parts = ApiParts(
            board=board,
            now_ms=wall_ms,
            max_age_ms=settings.max_verdict_age_ms,
            ready=reader.readiness,
            findings=findings,
            tokens=tokens,
            pages=None
            if store is None
            else console(_console(board, reader, store, settings, tokens, operations)),
            operations=operations,
            limiter=RateLimiter(settings.requests_per_second, settings.burst),
        )
        server = uvicorn.Server(
            uvicorn.Config(create_app(parts), **server_options(settings), **tls)
        )
        # In a thread of its own: uvicorn takes signal handlers only in the main thread, and
        # raises the signal again afterwards, which would end the process before the reader.
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="http", daemon=True
        )
        thread.start()
        try:
            url = address_of(listener, "https" if tls else "http")
            if not tokens and settings.host not in ("127.0.0.1", "localhost", "::1"):
                log.warning("api_open_without_token", url=url, hint="set serve.token_file")
            said = False
            while not stop():
                time.sleep(_TICK_S)
                if server.started and not said:
                    said = True
                    log.info("serving", url=url, console=f"{url}/console/" if store else "")
                    on_ready(url)
                if not thread.is_alive():
                    raise UnavailableError("the HTTP server stopped", url, "see the log above")
        finally:
            server.should_exit = True
            thread.join(timeout=_GRACE_S + 1)


def _console(
    board: VerdictBoard,
    reader: VerdictReader,
    store: StoreView,
    settings: ServeSettings,
    tokens: tuple[str, ...],
    operations: Operations | None,
) -> ConsoleParts:
    def waiting_for() -> str:
        readiness = reader.readiness()
        return "" if readiness.ready else readiness.reason

    return ConsoleParts(
        standings=lambda: board.standings(wall_ms(), settings.max_verdict_age_ms),
        waiting_for=waiting_for,
        store=store,
        now_ms=wall_ms,
        tokens=tokens,
        cases=tuple if operations is None else operations.board.cases,
    )


def asking(settings: StoreSettings) -> Ask:
    """Asks the store; connects when first asked, and again after a failure."""
    lock = threading.Lock()
    held: list[Client] = []

    def client() -> Client:
        with lock:
            if not held:
                held.append(connect(settings))
            return held[0]

    def ask(sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        try:
            return client().query(sql, parameters=dict(parameters)).result_rows
        except exceptions.Error as error:
            with lock:
                held.clear()
            raise sorted_error(error, "the question for results") from None

    return ask


def findings_of(settings: StoreSettings) -> Callable[[FindingQuery], Sequence[FindingRow]]:
    """Reads findings from the store."""
    ask = asking(settings)
    return lambda query: read_findings(ask, query, settings.database)


def console_view(settings: StoreSettings) -> StoreView:
    """What the console asks: soon tired of waiting, since somebody is looking."""
    soon = replace(
        settings,
        connect_timeout_ms=min(settings.connect_timeout_ms, _LOOK_TIMEOUT_MS),
        insert_timeout_ms=min(settings.insert_timeout_ms, _LOOK_TIMEOUT_MS),
    )
    return StoreView(asking(soon), time.monotonic, settings.database)


def settings_of(config: Config) -> ServeSettings:
    """Those of ``serve``. A verdict is as of the end of its newest closed pane, so no age of data
    shorter than some panes can be asked for."""
    least_ms = LEAST_PANES * config.time.pane_ms
    return replace(config.serve, max_data_age_ms=max(config.serve.max_data_age_ms, least_ms))


def run(config: Config) -> int:
    """The role: serve with the settings of ``config`` until a signal comes. For the main thread."""
    stop = stop_signals()
    try:
        check_broker(config.kafka)
        properties = whole_topic_consumer(config.kafka, "driftline-serve")
    except ValueError as error:
        raise UserError(str(error)) from None
    board = ControlBoard(config.fleet.max_rollbacks_per_hour, config.policy.automation)
    topic = config.kafka.topic(CONTROL)
    with control_reader(lambda: Consumer(properties), board, topic) as reader:
        operations = Operations(
            board=board,
            read=lambda: reader.read,
            publish=KafkaPublisher(config.kafka),
            approvals=ApprovalLinks(config.approvals),
            grants=read_grants(config.serve.token_file),
            hooks=config.hooks,
        )
        serve(
            settings_of(config),
            lambda: Consumer(properties),
            decode_verdict,
            findings_of(config.store),
            stop=stop,
            on_ready=report_ready,
            topic=config.kafka.topic(VERDICTS),
            store=console_view(config.store),
            operations=operations,
        )
    return 0

"""A store at work on a real engine, a broker that is a list, and the checker of what it did."""

# ruff: noqa: S608 - the names in these statements are our own
from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa
from confluent_kafka import Message, TopicPartition

from sinks.clickhouse import StoreSettings, connect, insert_columns
from sinks.errors import Permanent, Retryable
from sinks.migrations import Migration, parse_migration
from sinks.schema import DEAD_LETTERS, INTAKE
from sinks.table import Table
from streams.store_loop import Store, StoreRoleSettings
from tests.faults.store_fault_switch import Switch

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MESSAGES, ROWS = 20, 10
DEAD, LEDGER = "deadletters", "intake"
TOPICS: Final = {DEAD: DEAD_LETTERS, LEDGER: INTAKE}
QUICK: Final = StoreRoleSettings(
    flush_ms=20,
    flush_rows=50,
    insert_apart_ms=0,
    first_pause_ms=10,
    longest_pause_ms=50,
    stop_within_ms=200,
)
AT_MS: Final = 1_700_000_000_000


# --- the broker, as a list -----------------------------------------------------------------------


def row(topic: str, offset: int) -> dict[str, Any]:
    if topic == DEAD:
        names = {"offset": offset, "row": -1, "reason": "x", "bytes": 1}
    else:
        counts = dict.fromkeys(("messages", "events", "dead", "late", "capped"), 1)
        names = {"first_offset": offset, "last_offset": offset, **counts}
    return {"topic": "in", "partition": 0, "seen_at": AT_MS, **names}


def message(topic: str, offset: int, rows: list[dict[str, Any]]) -> Message:
    return Message(topic, 0, offset, value=json.dumps({"rows": rows}).encode())


def messages() -> list[Message]:
    """For each topic 20 messages of 10 rows, whose numbers go on without a gap."""
    return [
        message(topic, at, [row(topic, at * ROWS + i) for i in range(ROWS)])
        for at in range(MESSAGES)
        for topic in TOPICS
    ]


@dataclass
class Broker:
    """What outlives the store: messages, and what was committed. ``stored`` asks the engine for
    the number of rows; at each commit what is committed must be there."""

    log: list[Message]
    stored: Callable[[str], int]
    committed: dict[str, int] = field(default_factory=dict)
    early: list[str] = field(default_factory=list)


class ListConsumer:
    """A consumer that begins at the committed offsets, as one that was started anew."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        begin = broker.committed
        self._left = [
            each for each in broker.log if (each.offset() or 0) >= begin.get(each.topic() or "", 0)
        ]
        self._paused = False

    def subscribe(
        self, topics: list[str], *, on_revoke: Callable[[Any, list[TopicPartition]], None]
    ) -> None: ...

    def consume(self, num_messages: int, timeout: float) -> Sequence[Message]:
        if self._paused or not self._left:
            time.sleep(min(timeout, 0.01))
            return []
        some, self._left = self._left[:4], self._left[4:]
        return some

    def commit(
        self, *, offsets: list[TopicPartition], asynchronous: Literal[False]
    ) -> list[TopicPartition]:
        for place in offsets:
            if self._broker.stored(place.topic) < place.offset * ROWS:
                self._broker.early.append(f"{place.topic} {place.offset}")
            self._broker.committed[place.topic] = place.offset
        return offsets

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(topic, 0) for topic in TOPICS]

    def pause(self, partitions: list[TopicPartition]) -> None:
        self._paused = True

    def resume(self, partitions: list[TopicPartition]) -> None:
        self._paused = False

    def close(self) -> None: ...

    def drained(self) -> bool:
        return not self._left


# --- the engine ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Scene:
    """One cell's store: its database, its switch, and its broker."""

    database: str
    client: Client
    switch: Switch
    broker: Broker

    def settings(self, timeout_ms: int = 2_000) -> StoreSettings:
        return StoreSettings(
            url=f"http://127.0.0.1:{self.switch.port}",
            database=self.database,
            connect_timeout_ms=1_000,
            insert_timeout_ms=timeout_ms,
        )

    def rows(self, table: Table, *, final: bool = True) -> int:
        sql = f"SELECT count() FROM {self.database}.{table.name}" + (" FINAL" if final else "")
        return int(self.client.query(sql).result_rows[0][0])


def made(database: str, direct: Client, switch: Switch) -> Scene:
    def stored(topic: str) -> int:
        sql = f"SELECT count() FROM {database}.{TOPICS[topic].name} FINAL"
        return int(direct.query(sql).result_rows[0][0])

    return Scene(database, direct, switch, Broker(messages(), stored))


def unguarded_tables() -> tuple[Migration, ...]:
    """The same tables, but nothing in them replaces a row that is written twice."""
    folder = Path(__file__).parents[2] / "deploy" / "sql"
    found = []
    for file in sorted(folder.glob("*.sql")):
        text = file.read_text(encoding="utf-8")
        for version in ("revision", "offset", "seen_at", "last_offset", "effective_from"):
            text = text.replace(f"ReplacingMergeTree(`{version}`)", "MergeTree")
            text = text.replace(f"ReplacingMergeTree({version})", "MergeTree")
        found.append(parse_migration(file.name, text))
    return tuple(found)


# --- stores, with and without guards -------------------------------------------------------------


class CommitsFirst(Store):
    """Without the guard: offsets go first."""

    def _flush(self) -> None:
        self._uncommitted.update(self._batch.offsets)
        self._commit()
        super()._flush()


Insert = Callable[[Table, pa.Table], object]


def guarded(scene: Scene, client: Client) -> Insert:
    return lambda table, columns: insert_columns(client, table, columns, database=scene.database)


def skips_errors(scene: Scene, client: Client) -> Insert:
    """Without the guard: an error is logged, and on it goes."""
    insert = guarded(scene, client)

    def skip(table: Table, columns: pa.Table) -> None:
        try:
            insert(table, columns)
        except (Retryable, Permanent):
            return

    return skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the checker found: all zero, or a promise is broken."""

    lost: int
    duplicate: int
    early: int
    refusals: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicate or self.early)


def play(
    scene: Scene,
    *,
    store_type: type[Store] = Store,
    insert_of: Callable[[Scene, Client], Insert] = guarded,
    timeout_ms: int = 2_000,
    lives: int = 6,
    after_death: Callable[[], None] = lambda: None,
    seconds: float = 20.0,
) -> Outcome:
    """Run the store until all is stored and committed; start it again when it gives up."""
    refusals: list[str] = []
    deadline = time.monotonic() + seconds
    for _ in range(lives):
        consumer = ListConsumer(scene.broker)
        try:
            client = connect(scene.settings(timeout_ms))
        except (Retryable, Permanent) as error:
            refusals.append(str(error))
            time.sleep(0.05)
            continue
        try:
            store = store_type(consumer, insert_of(scene, client), QUICK, topics=TOPICS)

            def done(consumer: ListConsumer = consumer) -> bool:
                ends = scene.broker.committed.get
                all_in = all(ends(topic, 0) == MESSAGES for topic in TOPICS)
                return (consumer.drained() and all_in) or time.monotonic() > deadline

            store.run(done)
            break
        except Permanent as error:
            refusals.append(str(error))
            after_death()
        finally:
            client.close()
    return checked(scene, tuple(refusals))


def checked(scene: Scene, refusals: tuple[str, ...] = ()) -> Outcome:
    lost = duplicate = 0
    for topic, table in TOPICS.items():
        rows = scene.rows(table)
        committed = scene.broker.committed.get(topic, 0)
        # What is not committed is not lost: it will be read again.
        lost += max(0, min(committed, MESSAGES) * ROWS - rows)
        lost += (MESSAGES - committed) * ROWS if committed < MESSAGES and not refusals else 0
        duplicate += max(0, rows - MESSAGES * ROWS)
    return Outcome(lost, duplicate, len(scene.broker.early), refusals)

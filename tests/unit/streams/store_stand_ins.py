"""Stand-ins for what is on both sides of the store role: a consumer that is a list, and a store."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from sinks.table import Table
from streams import internal_topics
from streams.store_loop import StoreRoleSettings

DEAD = internal_topics.DEADLETTERS
TAKEN = internal_topics.INTAKE
QUICK = StoreRoleSettings(
    flush_ms=60_000,
    flush_rows=1,
    insert_apart_ms=0,
    first_pause_ms=1,
    longest_pause_ms=2,
    stop_within_ms=100,
)


def dead_letter(offset: int) -> dict[str, Any]:
    return {
        "topic": "in",
        "partition": 0,
        "offset": offset,
        "row": -1,
        "reason": "not JSON",
        "bytes": 3,
        "seen_at": 1_700_000_000_000,
    }


def intake_row() -> dict[str, Any]:
    names = ("messages", "events", "dead", "late", "capped", "first_offset", "last_offset")
    return {"topic": "in", "partition": 0, "seen_at": 1, **dict.fromkeys(names, 1)}


def message(
    offset: int, value: bytes | None, topic: str = DEAD, error: KafkaError | None = None
) -> Message:
    return Message(topic, 0, offset, value=value, error=error)


def rows(*values: dict[str, Any]) -> bytes:
    return json.dumps({"rows": values, "other": {"for": "somebody else"}}).encode()


@dataclass
class FakeConsumer:
    """A consumer of one prepared list of polls; when they are used up, ``drained`` is called."""

    polls: list[list[Message]]
    drained: Callable[[], None] = lambda: None
    commits: list[dict[tuple[str, int], int]] = field(default_factory=list)
    commit_error: KafkaError | None = None
    paused: list[str] = field(default_factory=list)
    closed: bool = False
    on_revoke: Callable[[Any, list[TopicPartition]], None] = lambda _, __: None

    def subscribe(
        self, topics: list[str], *, on_revoke: Callable[[Any, list[TopicPartition]], None]
    ) -> None:
        self.on_revoke = on_revoke

    def consume(self, num_messages: int, timeout: float) -> Sequence[Message]:
        if self.paused and self.paused[-1] == "pause":
            return []
        if not self.polls:
            self.drained()
            return []
        return self.polls.pop(0)

    def commit(
        self, *, offsets: list[TopicPartition], asynchronous: Literal[False]
    ) -> list[TopicPartition]:
        if self.commit_error is not None:
            error, self.commit_error = self.commit_error, None
            raise KafkaException(error)
        self.commits.append({(o.topic, o.partition): o.offset for o in offsets})
        return offsets

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(DEAD, 0)]

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.paused.append("pause")

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.paused.append("resume")

    def close(self) -> None:
        self.closed = True


@dataclass
class Stored:
    """Where inserts go. ``failures`` are raised first, one a call."""

    failures: list[Exception] = field(default_factory=list)
    tables: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)

    def insert(self, table: Table, columns: pa.Table) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.tables.append((table.name, columns.to_pylist()))

    def offsets(self) -> list[int]:
        return [r["offset"] for name, rs in self.tables if name == "dead_letters" for r in rs]

"""A judge on a Kafka made of lists, which can be killed at any write."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import confluent_kafka

from detectors.canary_rules import CanarySettings
from detectors.drift_settings import DriftSettings, FalseAlarms
from detectors.reference import Reference
from detectors.release import Role
from detectors.thresholds import Against, Detector, Limit, ThresholdSettings
from streams.changelog import Changelog
from streams.evidence import EvidenceSettings
from streams.internal_topics import CONFIGURATIONS, FINDINGS, REFERENCES, VERDICTS, WINDOWS
from streams.judge import ModelSettings
from streams.judge_app import JudgeAgent, Source
from streams.judge_state import JudgeState
from streams.judged_by import configuration_name
from streams.reference_book import ReferenceBook, decode_reference
from streams.standing import JudgeSettings
from streams.timeline import TimeSettings
from streams.wire import Row

BASE_MS = 1_700_000_000_000 - 1_700_000_000_000 % 60_000
TIME = TimeSettings(
    pane_ms=1_000,
    windows_ms=(5_000, 20_000),
    out_of_orderness_ms=500,
    allowed_lateness_ms=10_000,
    idle_timeout_ms=3_600_000,
)
THRESHOLDS = ThresholdSettings(
    min_events=3,
    limits=(
        Limit(Detector.MEAN_WORSE, 0.2, "scores.*", Against.PRODUCTION, critical=True, z=0.0),
        Limit(Detector.PSI, 0.25, "features.*", z=0.0),
        Limit(Detector.ERROR_RATE, 0.01, "error", Against.PRODUCTION, z=0.0),
    ),
)
EVIDENCE = EvidenceSettings(
    DriftSettings(FalseAlarms(1, 60_000), min_reference_rows=10, min_events=10, roles=tuple(Role)),
    CanarySettings(min_events=20, fix_events=10),
)
JUDGE = JudgeSettings(blind_after_ms=3_600_000, retire_after_ms=7_200_000, learn_events=0)
LEARNING = JudgeSettings(blind_after_ms=3_600_000, retire_after_ms=7_200_000, learn_events=40)


class Died(Exception):
    """The judge's process was killed at this write."""


@dataclass
class Disk:
    """What survives the judge. ``left``: how many writes until it dies (None: it lives on)."""

    left: int | None = None
    published: dict[str, list[tuple[bytes | None, bytes]]] = field(default_factory=dict)
    tables: dict[str, dict[bytes, bytes]] = field(
        default_factory=lambda: {
            name: {} for name in ("models", "intervals", "deltas", "evidence", "clocks")
        }
    )
    writes: int = 0

    def spend(self) -> None:
        if self.left is not None:
            if self.left == 0:
                raise Died
            self.left -= 1
        self.writes += 1


@dataclass
class Acknowledgement:
    """Done when awaited, and not before: what nobody waits for, Kafka may never have had. Writes
    that are under way together arrive in any order: ``turns`` loops of the scheduler later."""

    disk: Disk
    turns: int
    change: tuple[dict[bytes, bytes], bytes, bytes | None] | None
    publish: tuple[str, bytes | None, bytes] | None

    def __await__(self) -> Generator[Any, None, None]:
        for _ in range(self.turns):
            yield from asyncio.sleep(0).__await__()
        self.disk.spend()
        if self.change is not None:
            table, key, value = self.change
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
        if self.publish is not None:
            topic, sent_key, sent = self.publish
            self.disk.published.setdefault(topic, []).append((sent_key, sent))


class Table:
    """A Faust table: its content in memory, and a changelog on disk."""

    def __init__(self, disk: Disk, name: str) -> None:
        self.data: dict[bytes, bytes] = dict(disk.tables[name])
        self._disk = disk
        self._name = name
        self._sent = 0

    def send_changelog(
        self, partition: int, key: bytes, value: bytes | None, **serializers: str
    ) -> Awaitable[None]:
        self._sent += 1
        turns = self._sent * 7 % 5
        return Acknowledgement(self._disk, turns, (self._disk.tables[self._name], key, value), None)


class Topic:
    """A topic that the judge sends to."""

    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        self._name = name

    async def send(
        self, *, value: bytes, key: bytes | None = None, partition: int | None = None
    ) -> Awaitable[None]:
        return Acknowledgement(self._disk, 0, None, (self._name, key, value))


def no_consumer() -> confluent_kafka.Consumer:
    raise AssertionError("nothing is read here")


def start_judge(
    disk: Disk,
    judge: JudgeSettings,
    known: Iterable[Reference],
    text: str = "",
    topic_id: str = "",
) -> JudgeAgent:
    """A judge as it comes up: with the tables as they are on disk, and the references of the
    topic. ``text``: its settings written out, which its verdicts name; ``topic_id``: of the topic
    that it reads."""
    name = configuration_name(text) if text else ""
    book = ReferenceBook(no_consumer, REFERENCES)
    for reference in known:
        book.put(reference)
    for _, value in disk.published.get(REFERENCES, ()):
        book.put(decode_reference(value))
    state = JudgeState(
        Changelog(Table(disk, "models")),
        Changelog(Table(disk, "intervals")),
        Changelog(Table(disk, "deltas")),
        Changelog(Table(disk, "evidence")),
        Changelog(Table(disk, "clocks")),
        1,
        lambda _: ModelSettings(TIME, THRESHOLDS, judge, EVIDENCE, name),
        book.by_id,
    )
    results = (WINDOWS, FINDINGS, VERDICTS, REFERENCES, CONFIGURATIONS)
    topics = {each: Topic(disk, each) for each in results}
    source = Source(topic_id=lambda: topic_id)
    return JudgeAgent(state, book, topics, lambda: BASE_MS, None, lambda _: text, source)


async def feed(agent: JudgeAgent, records: Sequence[bytes], first: int = 0) -> None:
    for offset in range(first, len(records)):
        await agent.take(0, offset, records[offset])


def judged(
    records: Sequence[bytes],
    judge: JudgeSettings = JUDGE,
    known: Iterable[Reference] = (),
) -> Disk:
    """What is on disk after a judge that nobody kills has had all records."""
    disk = Disk()
    asyncio.run(feed(start_judge(disk, judge, known), records))
    return disk


def rows_of(disk: Disk, topic: str, key: Sequence[str], without: Sequence[str] = ()) -> list[Row]:
    """Rows as the store keeps them: of each key, the last with the highest revision."""
    kept: dict[tuple[Any, ...], Row] = {}
    for _, value in disk.published.get(topic, ()):
        for row in json.loads(value)["rows"]:
            identity = tuple(row[name] for name in key)
            known = kept.get(identity)
            if known is None or row.get("revision", 0) >= known.get("revision", 0):
                kept[identity] = row
    return [
        {name: value for name, value in kept[identity].items() if name not in without}
        for identity in sorted(kept)
    ]


PLACE = ("model", "version", "role", "segment", "column", "window_ms", "window_start")
WINDOW_KEY = (*PLACE, "reference", "kind")
FINDING_KEY = (*PLACE, "detector", "against")
VERDICT_KEY = ("model", "version", "role", "as_of", "sequence")

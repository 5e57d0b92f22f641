"""Two workers that pair what they read, and a broker that keeps what they commit."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Message

from detectors.pairs import HalfCounts, HalfKey, PairCounts
from streams.cardinality import Limits
from streams.inputs import InputSettings
from streams.intake import decode_clock
from streams.internal_topics import PAIRS, SUMMARIES
from streams.pair_delta import (
    HalfGroup,
    PairDelta,
    PairKey,
    counts_of,
    decode_summaries,
    halves_of,
)
from streams.pair_settings import PairSettings
from streams.pairing import Pairing
from streams.sampling import SampleSettings
from streams.shadow_book import Shadows
from streams.summarizer import Summarizer, SummarizeSettings
from streams.timeline import TimeSettings

NOW_MS = 1_700_000_000_000
TIME = TimeSettings(pane_ms=1_000, windows_ms=(5_000,))
PLACES = {"a": (("production", 0), (PAIRS, 0)), "b": (("shadow", 0), (PAIRS, 1))}
"""What each of the two workers owns."""


@dataclass
class Broker:
    """Committed records by topic and partition, and committed offsets with their metadata."""

    logs: dict[tuple[str, int], list[bytes]] = field(default_factory=dict)
    offsets: dict[tuple[str, int], tuple[int, str]] = field(default_factory=dict)

    def read(self, where: tuple[str, int], start: int, most: int) -> list[Message]:
        found = self.logs.get(where, [])[start : start + most]
        return [Message(*where, start + i, value=value) for i, value in enumerate(found)]


class Worker:
    """A summarizer and where it has read to. ``flush`` is one transaction."""

    def __init__(self, name: str, broker: Broker, pairs: PairSettings) -> None:
        self._broker = broker
        self.shadows = Shadows(10)
        self.pairing = Pairing(pairs, self.shadows, lambda _: None, 2, name, PAIRS)
        self._summarizer = Summarizer(
            (InputSettings("production"), InputSettings("shadow")),
            TIME,
            SummarizeSettings(),
            Limits(),
            SampleSettings(),
            lambda _: None,
            2,
            name,
            self.pairing,
        )
        self.position: dict[tuple[str, int], int] = {}
        for place in PLACES[name]:
            offset, metadata = broker.offsets.get(place, (-1001, ""))
            if place[0] == PAIRS:
                start = self.pairing.assign(place[1], offset, metadata)
                self.position[place] = 0 if start == OFFSET_BEGINNING else start
            else:
                self._summarizer.intake.assign(place, 1, decode_clock(metadata), NOW_MS)
                self.position[place] = max(offset, 0)

    def read(self, most: int) -> None:
        for place, position in self.position.items():
            messages = self._broker.read(place, position, most)
            self.position[place] += len(messages)
            if place[0] == PAIRS:
                self.pairing.take(messages)
            elif messages:
                self._summarizer.take(messages, NOW_MS)

    def flush(self, *, dies: bool) -> None:
        records = self._summarizer.flush(NOW_MS, {})
        offsets = self._summarizer.offsets()
        if dies:
            return
        for record in records:
            to = record.topic, record.partition
            self._broker.logs.setdefault(to, []).append(record.value)
        for each in offsets:
            self._broker.offsets[each.topic, each.partition] = each.offset, each.metadata or ""
        self._summarizer.committed()


def pair_deltas(broker: Broker) -> list[PairDelta]:
    found = []
    for (topic, _), values in broker.logs.items():
        if topic == SUMMARIES:
            records = [decode_summaries(value) for value in values]
            found += [record for record in records if isinstance(record, PairDelta)]
    return found


def counted(broker: Broker) -> tuple[dict[PairKey, PairCounts], dict[HalfKey, HalfCounts]]:
    """All that was sent, merged."""
    pairs: dict[PairKey, PairCounts] = {}
    halves: dict[HalfKey, HalfCounts] = {}
    for delta in pair_deltas(broker):
        add_up(delta, pairs, halves)
    return pairs, halves


def add_up(
    delta: PairDelta, pairs: dict[PairKey, PairCounts], halves: dict[HalfKey, HalfCounts]
) -> None:
    """Merge what a worker sent into what was sent before."""
    for pair in delta.pairs:
        key = pair.shadow, pair.production, pair.pane_ms
        pairs[key] = pairs.get(key, PairCounts()).merge(counts_of(pair))
    lone: list[tuple[str, HalfGroup]] = [("", each) for each in delta.halves]
    lone += [(each.score, each) for each in delta.scores]
    for score, group in lone:
        half = (group.version, group.role), group.pane_ms, score
        halves[half] = halves.get(half, HalfCounts()).merge(halves_of(group))


def event(role: str, answer: dict[str, Any]) -> bytes:
    body = {
        "ts": NOW_MS + 1000 * answer["second"],
        "model": "m",
        "version": answer["version"],
        "role": role,
        "prediction": {"label": answer["label"]},
        "scores": {"s": answer["score"]},
        "latency_ms": answer["latency"],
        "status": "error" if answer["failed"] else "ok",
    }
    if answer["request"] is not None:
        body["request_id"] = f"q-{answer['request']}"
    return json.dumps(body).encode()


def score_event(role: str, scored: dict[str, Any]) -> bytes:
    body = {
        "ts": NOW_MS + 1000 * scored["second"],
        "model": "m",
        "version": scored["version"],
        "role": role,
        "scores": scored["scores"],
    }
    if scored["request"] is not None:
        body["request_id"] = f"q-{scored['request']}"
    return json.dumps(body).encode()


def answer(request: int, **other: Any) -> dict[str, Any]:
    usual = {"request": request, "version": "1", "second": 0, "label": "A", "score": 0.5}
    return {**usual, "latency": 10, "failed": False, **other}

"""Two workers, killed at any step: the counts of pairs are those of every request, once."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from confluent_kafka import OFFSET_BEGINNING, Message

from detectors.pairs import HalfCounts, PairCounts
from detectors.release import Role
from streams.cardinality import Limits
from streams.halves import decode_halves
from streams.inputs import InputSettings
from streams.intake import decode_clock
from streams.internal_topics import PAIRS, SUMMARIES
from streams.pair_delta import HalfKey, PairDelta, PairKey, counts_of, decode_summaries, halves_of
from streams.pair_settings import Enabled, PairSettings
from streams.pairing import Pairing, decode_tail, encode_tail
from streams.sampling import SampleSettings
from streams.shadow_book import Shadows
from streams.summarizer import Summarizer, SummarizeSettings
from streams.timeline import TimeSettings

NOW_MS = 1_700_000_000_000
TIME = TimeSettings(pane_ms=1_000, windows_ms=(5_000,))
PLACES = {"a": (("production", 0), (PAIRS, 0)), "b": (("shadow", 0), (PAIRS, 1))}
"""What each of the two workers owns."""


@dataclass(frozen=True, slots=True)
class Written:
    """A message, with the methods of confluent-kafka's that are called."""

    where: tuple[str, int]
    at: int
    body: bytes

    def topic(self) -> str:
        return self.where[0]

    def partition(self) -> int:
        return self.where[1]

    def offset(self) -> int:
        return self.at

    def value(self) -> bytes:
        return self.body

    def headers(self) -> None:
        return None


@dataclass
class Broker:
    """Committed records by topic and partition, and committed offsets with their metadata."""

    logs: dict[tuple[str, int], list[bytes]] = field(default_factory=dict)
    offsets: dict[tuple[str, int], tuple[int, str]] = field(default_factory=dict)

    def read(self, where: tuple[str, int], start: int, most: int) -> list[Message]:
        found = self.logs.get(where, [])[start : start + most]
        messages = [Written(where, start + i, value) for i, value in enumerate(found)]
        return cast("list[Message]", messages)


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
        for group in delta.pairs:
            key = group.shadow, group.production, group.pane_ms
            pairs[key] = pairs.get(key, PairCounts()).merge(counts_of(group))
        for each in delta.halves:
            half = (each.version, each.role), each.pane_ms
            halves[half] = halves.get(half, HalfCounts()).merge(halves_of(each))
    return pairs, halves


def random_answers(rng: random.Random, most: int) -> list[dict[str, Any]]:
    return [
        {
            "request": rng.choice([None, *range(12)]),
            "version": rng.choice("12"),
            "second": rng.randrange(3),
            "label": rng.choice("AB"),
            "score": rng.randrange(9) / 8,
            "latency": rng.randrange(1, 1000),
            "failed": rng.random() < 0.3,
        }
        for _ in range(rng.randrange(most))
    ]


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


def expected(
    production: list[dict[str, Any]], shadow: list[dict[str, Any]]
) -> tuple[dict[PairKey, tuple[int, ...]], int]:
    """By shadow version, production version and pane: pairs, unlike labels, shadow slower by more
    than a tenth, sum of score differences in steps. And how many halves there are."""
    first: dict[int, dict[str, Any]] = {}
    for answer in production:
        if answer["request"] is not None:
            first.setdefault(answer["request"], answer)
    seen: set[tuple[int, str]] = set()
    sums: dict[PairKey, tuple[int, ...]] = {}
    for answer in shadow:
        if answer["request"] is None or (answer["request"], answer["version"]) in seen:
            continue
        seen.add((answer["request"], answer["version"]))
        partner = first.get(answer["request"])
        if partner is None:
            continue
        key = answer["version"], partner["version"], NOW_MS + 1000 * answer["second"]
        found = (
            1,
            int(answer["label"] != partner["label"]),
            int(answer["latency"] - partner["latency"] > 0.1 * partner["latency"]),
            int((answer["score"] - partner["score"]) * 2**20),
        )
        before = sums.get(key, (0, 0, 0, 0))
        sums[key] = tuple(a + b for a, b in zip(before, found, strict=True))
    return sums, len(seen) + len(first)


@pytest.mark.parametrize("seed", range(120))
def test_every_request_is_paired_once_whoever_is_killed_and_however_flushes_fall(
    seed: int,
) -> None:
    rng = random.Random(seed)
    production, shadow = random_answers(rng, 30), random_answers(rng, 30)
    broker = Broker(
        {
            ("production", 0): [event("production", answer) for answer in production],
            ("shadow", 0): [event("shadow", answer) for answer in shadow],
        }
    )
    pairs = PairSettings(enabled=Enabled.ON)
    workers = {name: Worker(name, broker, pairs) for name in PLACES}
    for _ in range(rng.randrange(40)):
        name = rng.choice("ab")
        dies = rng.random() < 0.3
        workers[name].read(rng.randrange(6))
        if rng.random() < 0.7:
            workers[name].flush(dies=dies)
        if dies or rng.random() < 0.1:
            workers[name] = Worker(name, broker, pairs)
    for _ in range(4):  # read all, send all halves, join them
        for worker in workers.values():
            worker.read(1_000)
            worker.flush(dies=False)
    found_pairs, found_halves = counted(broker)
    sums, halves = expected(production, shadow)
    assert {
        key: (
            counts.pairs,
            counts.differ,
            counts.measures["latency_ms", 1024.0].higher,
            counts.measures["scores.s", 1.0].first,
        )
        for key, counts in found_pairs.items()
    } == sums
    answers = [*production, *shadow]
    assert sum(each.halves for each in found_halves.values()) == halves
    assert sum(each.without_id for each in found_halves.values()) == sum(
        answer["request"] is None for answer in answers
    )
    assert sum(each.halves + each.repeated for each in found_halves.values()) == sum(
        answer["request"] is not None for answer in answers
    )


# --- enabling ------------------------------------------------------------------------------------


def answer(request: int, **other: Any) -> dict[str, Any]:
    usual = {"request": request, "version": "1", "second": 0, "label": "A", "score": 0.5}
    return {**usual, "latency": 10, "failed": False, **other}


def test_nothing_is_sent_without_a_shadow_and_production_follows_its_announcement() -> None:
    broker = Broker({("production", 0): [event("production", answer(i)) for i in range(3)]})
    worker = Worker("a", broker, PairSettings())
    worker.read(2)
    worker.flush(dies=False)
    assert not any(topic == PAIRS for topic, _ in broker.logs)
    worker.shadows.hear("m", NOW_MS)
    worker.read(2)
    worker.flush(dies=False)
    assert sum(len(broker.logs.get((PAIRS, n), [])) for n in range(2)) == 1


def test_the_first_shadow_is_announced_and_loses_no_half() -> None:
    broker = Broker({("shadow", 0): [event("shadow", answer(i)) for i in range(3)]})
    worker = Worker("b", broker, PairSettings())
    for _ in range(2):
        worker.read(1_000)
        worker.flush(dies=False)
    assert [json.loads(v) for v in broker.logs["shadows", 0]] == [{"model": "m", "wall_ms": NOW_MS}]
    sent = [value for n in range(2) for value in broker.logs.get((PAIRS, n), [])]
    assert sum(len(decode_halves(value)[1]) for value in sent) == 3
    _, halves = counted(broker)
    assert set(halves) == {(("1", Role.SHADOW), NOW_MS)}


def test_halves_that_waited_through_a_restart_find_their_partners() -> None:
    requests = range(20)
    broker = Broker({("production", 0): [event("production", answer(i)) for i in requests]})
    always = PairSettings(enabled=Enabled.ON)
    for _ in range(3):  # the second time halves are joined, the third nothing is new
        for name in PLACES:
            worker = Worker(name, broker, always)
            worker.read(1_000)
            worker.flush(dies=False)
    assert counted(broker)[0] == {}
    broker.logs["shadow", 0] = [event("shadow", answer(i)) for i in requests]
    for _ in range(2):
        for name in PLACES:
            worker = Worker(name, broker, always)
            worker.read(1_000)
            worker.flush(dies=False)
    (found,) = counted(broker)[0].values()
    assert found.pairs == len(requests)


def test_the_time_of_a_partition_survives_with_its_tail() -> None:
    broker = Broker({("production", 0): [event("production", answer(0))]})
    worker = Worker("a", broker, PairSettings(enabled=Enabled.ON))
    worker.read(1)
    worker.flush(dies=False)
    partition, (value,) = next(
        (number, values) for (topic, number), values in broker.logs.items() if topic == PAIRS
    )
    later = NOW_MS + 3_600_000
    again = Pairing(PairSettings(), Shadows(10), lambda _: None, 2, "w", PAIRS)
    assert again.assign(partition, 8, encode_tail(5, later)) == 5
    # Sent long before the newest record there was: time does not go back.
    written = [Written((PAIRS, partition), at, value) for at in (5, 8)]
    again.take(cast("list[Message]", written))
    list(again.flush(NOW_MS))
    (committed,) = again.offsets()
    assert (committed.offset, committed.metadata) == (9, encode_tail(5, later))


@pytest.mark.parametrize("text", [None, "", "driftline:1:5", "driftline-pairs:1:x:1", "-1:2"])
def test_metadata_of_others_are_no_tail(text: str | None) -> None:
    assert decode_tail(text) is None


def test_unreadable_halves_are_passed_over() -> None:
    pairing = Pairing(PairSettings(), Shadows(10), lambda _: None, 2, "w", PAIRS)
    pairing.assign(0, 0, None)
    for at, value in enumerate((b"", b"\x01", b"\x02{}", b"\x01\x93\x01\x02\x03")):
        pairing.take(cast("list[Message]", [Written((PAIRS, 0), at, value)]))
    assert list(pairing.flush(NOW_MS)) == []
    assert [each.offset for each in pairing.offsets()] == [4]

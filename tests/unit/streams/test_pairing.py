"""When halves are sent, what a restart keeps, and what is no half."""

from __future__ import annotations

import json

import pytest
from confluent_kafka import Message

from detectors.pairs import HalfCounts
from detectors.release import Role
from streams.halves import decode_halves
from streams.internal_topics import PAIRS
from streams.pair_settings import Enabled, PairSettings
from streams.pairing import Pairing, decode_tail, encode_tail
from streams.shadow_book import Shadows
from tests.laws.pairing_line import (
    NOW_MS,
    PLACES,
    Broker,
    Worker,
    answer,
    counted,
    event,
    score_event,
)


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
    assert set(halves) == {(("1", Role.SHADOW), NOW_MS, "")}


def test_a_score_event_never_makes_a_pair_with_an_answer() -> None:
    ours = {"request": 1, "version": "2", "second": 0, "scores": {"s": 0.25}}
    broker = Broker(
        {
            ("production", 0): [event("production", answer(1))],
            ("shadow", 0): [score_event("shadow", ours)],
        }
    )
    for _ in range(3):
        for name in PLACES:
            worker = Worker(name, broker, PairSettings(enabled=Enabled.ON))
            worker.read(1_000)
            worker.flush(dies=False)
    pairs, halves = counted(broker)
    assert pairs == {}
    assert halves == {
        (("1", Role.PRODUCTION), NOW_MS, ""): HalfCounts(1),
        (("2", Role.SHADOW), NOW_MS, "scores.s"): HalfCounts(1),
    }


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
    written = [Message(PAIRS, partition, at, value=value) for at in (5, 8)]
    again.take(written)
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
        pairing.take([Message(PAIRS, 0, at, value=value)])
    assert list(pairing.flush(NOW_MS)) == []
    assert [each.offset for each in pairing.offsets()] == [4]

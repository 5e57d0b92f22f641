"""A15: any order of produce, read, flush, kill, takeover, refusal and waking up, against a model.

What the Kafka of the model refuses and when, who dies where and who takes over is Hypothesis's
choice.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import structlog
from confluent_kafka import KafkaException
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from detectors.release import ALL
from streams.internal_topics import DEADLETTERS, INTAKE, SUMMARIES
from streams.summarize import Worker
from tests.faults.checker import Report, check_dead_letters, check_ledger, merged
from tests.faults.topic_reading import Read
from tests.faults.traffic import Sent
from tests.faults.worker_model import (
    BASE_MS,
    PARTITIONS,
    TOPIC,
    Cluster,
    Fate,
    Killed,
    start,
)


@st.composite
def produced(draw: st.DrawFn) -> tuple[int, Sent]:
    """A message for a partition: some events, sometimes late, sometimes broken."""
    partition = draw(st.integers(0, PARTITIONS - 1))
    if draw(st.integers(0, 9)) == 0:
        return partition, Sent(b'{"ts": 1, "mod', (), 1)
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        ts = BASE_MS + draw(st.integers(0, 30_000))
        rows.append((ts, "m", draw(st.sampled_from(["1", "2"]))))
    lines = [f'{{"ts": {ts}, "model": "m", "version": "{version}"}}' for ts, _, version in rows]
    return partition, Sent("\n".join(lines).encode(), tuple(rows))


steps = st.one_of(
    st.tuples(st.just("produce"), st.lists(produced(), min_size=1, max_size=5)),
    st.tuples(st.just("read"), st.tuples(st.integers(0, PARTITIONS - 1), st.integers(1, 6))),
    st.tuples(st.just("flush"), st.none()),
    st.tuples(st.just("leave out"), st.tuples(st.integers(0, PARTITIONS - 1), st.integers(1, 3))),
    st.tuples(st.just("give again"), st.tuples(st.integers(0, PARTITIONS - 1), st.integers(1, 3))),
    st.tuples(
        st.just("take over"),  # the old one becomes a zombie; the new one has a fate
        st.tuples(st.none() | st.integers(1, 12), st.none() | st.integers(1, 12)),
    ),
    st.tuples(st.just("zombie flushes"), st.none()),
)


class Game:
    """A cluster, the worker that owns its partitions, and those that only think they do."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.worker, self.client = start(cluster, Fate())
        self.zombies: list[Worker] = []

    def produce(self, messages: Sequence[tuple[int, Sent]]) -> None:
        log = self.cluster.log
        for partition, sent in messages:
            log.offsets.setdefault(partition, []).append(self.cluster.end(partition))
            log.messages[partition].append(sent)

    def read(self, what: tuple[int, int]) -> None:
        messages = self.client.take(*what)
        if messages:
            self.worker._take(messages)

    def leave_out(self, what: tuple[int, int]) -> None:
        if self.cluster.spacing == 1:  # where holes are usual, nobody can tell
            self.client.leave_out(*what)

    def give_again(self, what: tuple[int, int]) -> None:
        self.client.give_again(*what)

    def flush(self, _: None) -> None:
        try:
            self.worker._flush_or_rewind()
        except (Killed, KafkaException):  # dead; a supervisor starts another
            self.worker, self.client = start(self.cluster, Fate())

    def take_over(self, fate: tuple[int | None, int | None]) -> None:
        self.zombies.append(self.worker)
        self.worker, self.client = start(self.cluster, Fate(0, *fate))

    def wake(self, _: None) -> None:
        if self.zombies:
            # What it has done until it is refused or dies is what counts.
            with contextlib.suppress(Killed, KafkaException):
                self.zombies.pop()._flush()


def play(script: Sequence[tuple[str, Any]], cluster: Cluster) -> Report:
    """All steps; then a worker that nobody harms reads the rest; then everything is checked."""
    game = Game(cluster)
    acts: dict[str, Callable[[Any], None]] = {
        "produce": game.produce,
        "read": game.read,
        "flush": game.flush,
        "leave out": game.leave_out,
        "give again": game.give_again,
        "take over": game.take_over,
        "zombie flushes": game.wake,
    }
    for name, what in script:
        acts[name](what)
    game.worker, game.client = start(cluster, Fate())
    while any(game.client.positions[p] < cluster.end(p) - cluster.spacing + 1 for p in PLACES):
        for partition in PLACES:
            game.read((partition, 10**6))
        game.flush(None)
    return checked(cluster)


def checked(cluster: Cluster) -> Report:
    report = Report()
    expected = cluster.log.expected()
    found = merged(value for _, value in cluster.records.get(SUMMARIES, ()))
    events = Counter(
        {
            (model, version, pane): summaries.events
            for (model, version, _, segment, pane), summaries in found.items()
            if segment == ALL
        }
    )
    report.compare("pane", expected.events, events)
    rows = [
        row for _, value in cluster.records.get(INTAKE, ()) for row in json.loads(value)["rows"]
    ]
    ends = {p: cluster.end(p) for p in cluster.log.messages}
    check_ledger(report, expected, ends, rows, TOPIC, gaps=cluster.spacing > 1)
    letters = [Read(0, 0, key, value) for key, value in cluster.records.get(DEADLETTERS, ())]
    check_dead_letters(report, expected, letters, TOPIC)
    return report


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Refusals are logged hundreds of times here, and nobody reads them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


PHASES = (Phase.explicit, Phase.generate)
PLACES = range(PARTITIONS)


@pytest.mark.parametrize("spacing", [1, 2], ids=["each offset a message", "marks between them"])
@settings(max_examples=150, phases=PHASES)
@given(st.lists(steps, max_size=25))
def test_whatever_happens_to_workers_every_message_counts_once(
    spacing: int, script: list[tuple[str, Any]]
) -> None:
    report = play(script, Cluster(spacing=spacing))
    assert not report.broken, report.examples


SENT = Sent(b'{"ts": 1700000000000, "model": "m", "version": "1"}', ((BASE_MS, "m", "1"),))


@pytest.mark.parametrize("before", [0, 2], ids=["at the start", "in the middle"])
def test_what_a_client_leaves_out_is_read_again(before: int) -> None:
    script = [
        ("produce", [(0, SENT)] * 6),
        ("read", (0, before)),
        ("flush", None),
        ("leave out", (0, 2)),
        ("read", (0, 10)),
        ("flush", None),
    ]
    assert not play(script, Cluster()).broken
    report = play(script, Cluster(believing=True))
    # The ledger's ranges have no gap: they go on where the last flush ended.
    assert (report.broken["lost"], report.broken["gap"]) == (2, 0)


def test_what_a_client_gives_twice_is_counted_once() -> None:
    script = [
        ("produce", [(0, SENT)] * 6),
        ("read", (0, 4)),
        ("flush", None),
        ("give again", (0, 2)),
        ("read", (0, 10)),
        ("flush", None),
    ]
    assert not play(script, Cluster()).broken
    report = play(script, Cluster(believing=True))
    assert report.broken["duplicate"] == 2


def test_without_transactions_the_same_machine_finds_what_is_counted_twice() -> None:
    """The guard removed: records are out before the offsets are refused."""
    script = [
        ("produce", [(0, SENT)]),
        ("read", (0, 5)),
        ("take over", (None, None)),
        ("zombie flushes", None),
    ]
    assert not play(script, Cluster()).broken
    assert play(script, Cluster(plain=True)).broken["duplicate"] == 1

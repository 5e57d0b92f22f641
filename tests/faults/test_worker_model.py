"""A15: any order of produce, read, flush, kill, takeover, refusal and waking up, against a model.

The Worker of summarize runs here as it does in its role, on a Kafka made of lists that keeps what a
real one promises: a transaction is all or nothing, and offsets of an old generation are refused.
What it refuses and when, who dies where and who takes over is Hypothesis's choice.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import confluent_kafka
import pytest
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from detectors.release import ALL
from streams.cardinality import Limits
from streams.inputs import InputSettings
from streams.internal_topics import DEADLETTERS, INTAKE, SUMMARIES
from streams.sampling import SampleSettings
from streams.summarize import Worker
from streams.summarizer import Summarizer, SummarizeSettings
from streams.timeline import TimeSettings
from tests.faults.checker import Report, check_dead_letters, check_ledger, merged
from tests.faults.topic_reading import Read
from tests.faults.traffic import LATENESS_MS, OUT_OF_ORDERNESS_MS, PANE_MS, ProducerLog, Sent

TOPIC = "predictions"
BASE_MS = 1_700_000_000_000
PARTITIONS = 2
TIME = TimeSettings(
    pane_ms=PANE_MS,
    windows_ms=(5 * PANE_MS,),
    out_of_orderness_ms=OUT_OF_ORDERNESS_MS,
    allowed_lateness_ms=LATENESS_MS,
)


class Killed(BaseException):
    """SIGKILL: nothing that stands after it is run."""


@dataclass
class Cluster:
    """What survives everybody: input, output, committed offsets, and who owns the group."""

    log: ProducerLog = field(default_factory=ProducerLog)
    records: dict[str, list[tuple[bytes | None, bytes]]] = field(default_factory=dict)
    committed: dict[tuple[str, int], TopicPartition] = field(default_factory=dict)
    generation: int = 0
    plain: bool = False

    def messages(self, partition: int) -> list[Sent]:
        return self.log.messages[partition]


@dataclass
class Fate:
    """What happens to one worker: at which of its calls of the broker it is killed, or refused."""

    calls: int = 0
    dies_at: int | None = None
    refused_at: int | None = None

    def call(self) -> None:
        self.calls += 1
        if self.calls == self.dies_at:
            raise Killed
        if self.calls == self.refused_at:
            raise KafkaException(_refusal())


def _refusal() -> KafkaError:
    """As a transactional producer gets it: the transaction must be aborted."""
    return KafkaError(KafkaError.ILLEGAL_GENERATION, "refused", False, False, True)


class Client:
    """A consumer and a transactional producer of one worker, as far as the Worker uses them."""

    def __init__(self, cluster: Cluster, fate: Fate) -> None:
        self.cluster, self.fate = cluster, fate
        self.generation = cluster.generation = cluster.generation + 1
        self.positions: dict[int, int] = {}
        self.open: list[tuple[str, bytes | None, bytes]] = []
        self.offsets: list[TopicPartition] = []

    # --- consumer
    def committed(self, places: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        found = []
        for place in places:
            known = self.cluster.committed.get((place.topic, place.partition))
            found.append(known or TopicPartition(place.topic, place.partition, -1001))
        return found

    def assign(self, places: Sequence[TopicPartition]) -> None:
        for place in places:
            self.seek(place)

    def seek(self, place: TopicPartition) -> None:
        self.positions[place.partition] = max(place.offset, 0)

    def list_topics(self, topic: str, timeout: float) -> Any:
        listed: Any = type("Listed", (), {})()
        listed.partitions = dict.fromkeys(range(PARTITIONS))
        metadata: Any = type("Metadata", (), {})()
        metadata.topics = {topic: listed}
        return metadata

    def get_watermark_offsets(
        self, place: TopicPartition, timeout: float = 0, cached: bool = False
    ) -> tuple[int, int]:
        return 0, len(self.cluster.messages(place.partition))

    def consumer_group_metadata(self) -> int:
        return self.generation

    def take(self, partition: int, count: int) -> list[Message]:
        at = self.positions[partition]
        some = self.cluster.messages(partition)[at : at + count]
        self.positions[partition] = at + len(some)
        return [Message(TOPIC, partition, at + i, value=sent.body) for i, sent in enumerate(some)]

    # --- producer
    def init_transactions(self, timeout: float) -> None:
        """Nothing is left open here: a dead worker's records are in its own list."""

    def begin_transaction(self) -> None:
        self.fate.call()
        self.open, self.offsets = [], []

    def produce(
        self, topic: str, value: bytes, key: bytes | None, partition: int, delivered: Any
    ) -> None:
        if self.cluster.plain:
            self.cluster.records.setdefault(topic, []).append((key, value))
        else:
            self.open.append((topic, key, value))

    def send_offsets_to_transaction(
        self, offsets: list[TopicPartition], group: int, timeout: float
    ) -> None:
        self.fate.call()
        if group != self.cluster.generation:
            raise KafkaException(_refusal())
        self.offsets = offsets

    def commit_transaction(self, timeout: float) -> None:
        self.fate.call()
        for topic, key, value in self.open:
            self.cluster.records.setdefault(topic, []).append((key, value))
        for place in self.offsets:
            self.cluster.committed[place.topic, place.partition] = place
        self.fate.call()  # it is committed, and the worker may never hear of it

    def abort_transaction(self, timeout: float) -> None:
        self.open, self.offsets = [], []


def start(cluster: Cluster, fate: Fate) -> tuple[Worker, Client]:
    """A worker that has just been given all partitions."""
    client = Client(cluster, fate)
    summarizer = Summarizer(
        (InputSettings(TOPIC),),
        TIME,
        SummarizeSettings(),
        Limits(),
        SampleSettings(),
        lambda _: None,
        1,
        f"worker-{cluster.generation}",
    )
    worker = Worker(
        summarizer,
        SummarizeSettings(),
        cast("confluent_kafka.Consumer", client),
        lambda: cast("confluent_kafka.Producer", client),
        True,
        [TOPIC],
        lambda name: name,
        clock_ms=lambda: BASE_MS + 3_600_000,
    )
    worker._on_assign(
        cast("confluent_kafka.Consumer", client),
        [TopicPartition(TOPIC, p) for p in range(PARTITIONS)],
    )
    return worker, client


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
            log.offsets.setdefault(partition, []).append(len(log.messages[partition]))
            log.messages[partition].append(sent)

    def read(self, what: tuple[int, int]) -> None:
        messages = self.client.take(*what)
        if messages:
            self.worker._take(messages)

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
        "take over": game.take_over,
        "zombie flushes": game.wake,
    }
    for name, what in script:
        acts[name](what)
    game.worker, game.client = start(cluster, Fate())
    for partition in range(PARTITIONS):
        game.read((partition, 10**6))
    game.worker._flush()
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
    ends = {p: len(messages) for p, messages in cluster.log.messages.items()}
    check_ledger(report, expected, ends, rows, TOPIC)
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


@settings(max_examples=200, phases=PHASES)
@given(st.lists(steps, max_size=25))
def test_whatever_happens_to_workers_every_message_counts_once(
    script: list[tuple[str, Any]],
) -> None:
    report = play(script, Cluster())
    assert not report.broken, report.examples


def test_without_transactions_the_same_machine_finds_what_is_counted_twice() -> None:
    """The guard removed: records are out before the offsets are refused."""
    sent = Sent(b'{"ts": 1700000000000, "model": "m", "version": "1"}', ((BASE_MS, "m", "1"),))
    script = [
        ("produce", [(0, sent)]),
        ("read", (0, 5)),
        ("take over", (None, None)),
        ("zombie flushes", None),
    ]
    assert not play(script, Cluster()).broken
    assert play(script, Cluster(plain=True)).broken["duplicate"] == 1

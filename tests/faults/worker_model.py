"""The Worker of summarize as it runs in its role, on a Kafka made of lists.

It keeps what a real one promises: a transaction is all or nothing, and offsets of an old generation
are refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from streams.cardinality import Limits
from streams.epochs import NO_EPOCHS, Answer, EpochSource, Noted
from streams.holes import HasRead, Holes
from streams.inputs import InputSettings
from streams.internal_topics import EPOCHS
from streams.sampling import SampleSettings
from streams.summarize import Worker
from streams.summarizer import Summarizer, SummarizeSettings
from streams.timeline import TimeSettings
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
    believing: bool = False
    """Workers believe at once that no message has an offset that none came for."""
    spacing: int = 1
    """Of the offsets of messages: with 2 a mark of a transaction stands behind each."""
    topic_id: str = "one"

    def ask(self, topics: Collection[str]) -> Answer:
        return lambda: dict.fromkeys(topics, self.topic_id)

    def noted(self, _: Callable[[], bool]) -> Noted:
        """What the topic ``epochs`` says."""
        found = [json.loads(value) for _, value in self.records.get(EPOCHS, ())]
        return {(each["topic"], each["partition"]): each["id"] for each in found}

    def messages(self, partition: int) -> list[Sent]:
        return self.log.messages[partition]

    def end(self, partition: int) -> int:
        return self.spacing * len(self.messages(partition))


class _Believing(Holes):
    """Looks at nothing twice."""

    def must_look_again(self, places: Mapping[tuple[str, int], HasRead]) -> bool:
        return False


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
        return 0, self.cluster.end(place.partition)

    def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(p.topic, p.partition, self.positions[p.partition]) for p in places]

    def consumer_group_metadata(self) -> int:
        return self.generation

    def take(self, partition: int, count: int) -> list[Message]:
        spacing = self.cluster.spacing
        at = -(-self.positions[partition] // spacing)
        some = self.cluster.messages(partition)[at : at + count]
        offsets = [spacing * (at + i) for i in range(len(some))]
        if offsets:
            self.positions[partition] = offsets[-1] + 1
        return [
            Message(TOPIC, partition, offset, value=sent.body)
            for offset, sent in zip(offsets, some, strict=True)
        ]

    def leave_out(self, partition: int, count: int) -> None:
        """The next messages never come, unless they are asked for anew."""
        ahead = self.positions[partition] + count * self.cluster.spacing
        self.positions[partition] = min(ahead, self.cluster.end(partition))

    def give_again(self, partition: int, count: int) -> None:
        """The last messages come once more."""
        back = self.positions[partition] - count * self.cluster.spacing
        self.positions[partition] = max(back, 0)

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


def start(cluster: Cluster, fate: Fate, ids: bool = True) -> tuple[Worker, Client]:
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
        epochs=EpochSource(cluster.ask, cluster.noted) if ids else NO_EPOCHS,
        holes=_Believing() if cluster.believing else Holes(),
    )
    worker._on_assign(
        cast("confluent_kafka.Consumer", client),
        [TopicPartition(TOPIC, p) for p in range(PARTITIONS)],
    )
    return worker, client

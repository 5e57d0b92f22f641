"""The same verdicts again, from the records that led to them: what an auditor can check by himself.

Records of ``summaries`` say all that the judge knew, its clocks included, so judging them anew with
the same configuration and references gives the same verdicts to the last bit. Here the stored ones
are held against those. It needs every record since the model was first heard of: where Kafka has
deleted some and something differs, the answer is that it cannot be said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from detectors.reference import Reference
from detectors.verdict import Verdict
from streams.errors import UnavailableError, UserError
from streams.internal_topics import REFERENCES, SUMMARIES
from streams.judge import ModelJudge
from streams.judge_state import note_clocks, numbered, steps, times_remade
from streams.judged_by import JudgedBy
from streams.kafka import whole_topic_consumer
from streams.model_state import ModelState
from streams.pair_delta import PairDelta, decode_summaries
from streams.reference_book import ReferenceBook
from streams.timeline import PartitionTime
from streams.wire import UNCOUNTED, Delta, Unreadable, partition_for, verdict_row

if TYPE_CHECKING:
    from streams.config import Config

COMPARED: Final = (
    "as_of",
    "status",
    "reason",
    "window_start",
    "window_ms",
    "baseline_version",
    "events",
    "upstream",
    "offset",
)
MOST_SHOWN: Final = 5
SHORT_HASH: Final = 12
"""Digits of a hash that are shown to people; the files have all of them."""
_PATIENCE_S: Final = 30.0

Read = Iterable[tuple[int, bytes | None]]
"""Numbers (streams.judge_state) and values of the records of one partition of ``summaries``."""
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recomputed:
    """``verdicts`` were made anew from records ``first`` to ``last``. ``differences``: where what
    is stored is not what came out, in words; ``lost``: offsets that Kafka had deleted before,
    UNCOUNTED where the topic was made again since the model was first heard of.
    ``configuration`` is the hash of the settings used now; ``others`` how many of the stored
    verdicts name which other one ("" for verdicts of versions that did not write it down)."""

    verdicts: int
    compared: int
    first: int
    last: int
    lost: int
    differences: tuple[str, ...]
    configuration: str = ""
    others: tuple[tuple[str, int], ...] = ()

    @property
    def equal(self) -> bool:
        # With the count of all events among what is compared, nothing equal can be by chance.
        return bool(self.compared) and not self.differences


@dataclass(slots=True)
class _Model:
    """One model, judged from its first record on."""

    config: Config
    model: str
    reference_by_id: Callable[[str], Reference | None]
    learnt: dict[str, Reference] = field(default_factory=dict)
    times: dict[tuple[str, int], PartitionTime] = field(default_factory=dict)
    judges: dict[str, ModelJudge] = field(default_factory=dict)

    def take(self, offset: int, value: bytes | None) -> Iterator[Verdict]:
        """The verdicts that one record leads to."""
        try:
            record = decode_summaries(value)
        except Unreadable:
            return  # the judge passed it over as well
        if isinstance(record, Delta | PairDelta):
            if record.model != self.model:
                return
            if self.model not in self.judges:
                self.judges[self.model] = self._new()
            if isinstance(record, Delta) and record.reference and not self._known(record.reference):
                raise UserError(
                    f"reference {record.reference} is not in the topic any more",
                    REFERENCES,
                    "publish its file again (driftline references publish), then the one in force",
                )
        else:
            note_clocks(self.times, record)
        for _, outputs in steps(self.judges, record, self.times, offset):
            for reference in outputs.learnt:
                self.learnt[reference.id] = reference
            yield from outputs.verdicts

    def _new(self) -> ModelJudge:
        settings = JudgedBy(self.config).settings(self.model)
        return ModelJudge(ModelState(self.model), {}, settings, self._known, {})

    def _known(self, reference: str) -> Reference | None:
        return self.learnt.get(reference) or self.reference_by_id(reference)


def recompute(
    config: Config,
    model: str,
    version: str,
    stored: Sequence[Row],
    records: Read,
    reference_by_id: Callable[[str], Reference | None],
    lost: int = 0,
) -> Recomputed:
    """Judge ``records`` anew and hold ``stored`` (rows of the table ``verdicts`` of this version)
    against what comes out. Pure but for reading ``records``, which end at the newest stored
    verdict. ``lost``: how many offsets before the first of them are gone."""
    again = _Model(config, model, reference_by_id)
    until = max((int(row["offset"]) for row in stored), default=-1)
    made: dict[tuple[str, int], Row] = {}
    first, last = -1, -1
    for offset, value in records:
        if offset > until:
            break
        first = offset if first < 0 else first
        last = offset
        for verdict in again.take(offset, value):
            if verdict.release.version == version:
                anew: Row = verdict_row(verdict)
                made[anew["role"], anew["sequence"]] = anew
    differences = []
    for row in stored:
        other = made.get((row["role"], row["sequence"]))
        where = f"{row['role']} at offset {row['offset']}"
        if other is None:
            differences.append(f"{where}: no such verdict comes out")
        else:
            # Versions before wrote down neither configuration nor reference.
            compared = (*COMPARED, "reference") if row["configuration"] else COMPARED
            unlike = [name for name in compared if _plain(row[name]) != _plain(other[name])]
            if unlike:
                differences.append(f"{where}: {', '.join(unlike)} differ")
    known = {(row["role"], row["sequence"]) for row in stored}
    oldest = min((int(row["sequence"]) for row in stored), default=0)
    missing = [key for key in made if key not in known and key[1] > oldest]
    differences += [f"{role}, sequence {n}: the store has no such verdict" for role, n in missing]
    present = JudgedBy(config).settings(model).configuration
    named = Counter(str(row["configuration"]) for row in stored)
    others = tuple(sorted((name, n) for name, n in named.items() if name != present))
    return Recomputed(
        len(made), len(stored), first, last, lost, tuple(differences), present, others
    )


def recompute_from_kafka(
    config: Config, model: str, version: str, stored: Sequence[Row]
) -> Recomputed:
    """`recompute` with the records and references that Kafka holds. Raises UnavailableError if they
    cannot be read."""
    kafka = config.kafka
    place = TopicPartition(kafka.topic(SUMMARIES), partition_for(model, kafka.partitions))
    properties = whole_topic_consumer(kafka, "recompute")

    def make_consumer() -> confluent_kafka.Consumer:
        return confluent_kafka.Consumer(properties)

    consumer = make_consumer()
    try:
        with ReferenceBook(make_consumer, kafka.topic(REFERENCES)) as book:
            book.wait_read()
            bounds = consumer.get_watermark_offsets(place, timeout=_PATIENCE_S)
            if bounds is None:
                raise UnavailableError("its offsets cannot be read", place.topic, "is Kafka up?")
            remade = times_remade(max((int(row["offset"]) for row in stored), default=0))
            read = _records(consumer, TopicPartition(place.topic, place.partition, bounds[0]))
            records = ((numbered(remade, offset), value) for offset, value in read)
            lost = UNCOUNTED if remade else bounds[0]
            return recompute(config, model, version, stored, records, book.by_id, lost)
    except KafkaException as error:
        raise UnavailableError(
            f"cannot be read ({type(error).__name__})", place.topic, "is Kafka up, with this topic?"
        ) from None
    finally:
        consumer.close()


def _records(consumer: confluent_kafka.Consumer, place: TopicPartition) -> Read:
    """All records of a partition to its present end."""
    consumer.assign([place])
    while True:
        message = consumer.poll(_PATIENCE_S)
        if message is None:
            raise UnavailableError("nothing more comes", place.topic, "is Kafka up?")
        error = message.error()
        if error is None:
            yield int(message.offset() or 0), message.value()
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
            return
        elif error.fatal() or not error.retriable():
            raise KafkaException(error)


def in_words(found: Recomputed) -> list[str]:
    """What came of it, for a terminal."""
    read = f"records {found.first} to {found.last}"
    if not found.compared:
        return ["no verdict is stored: there is nothing to recompute"]
    if found.equal:
        said = f"equal: {found.compared} stored verdicts come out of {read} again"
        return [said, *(f"  {each}" for each in _judged_otherwise(found))]
    if found.lost:
        gone = "those" if found.lost == UNCOUNTED else f"the {found.lost}"
        return [
            f"cannot be said: {len(found.differences)} of {found.compared} stored verdicts do not"
            f" come out of {read}, and Kafka has deleted {gone} before; keep"
            " driftline.summaries for as long as verdicts must be recomputed",
            *(f"  {each}" for each in _judged_otherwise(found)),
        ]
    shown = [f"  {each}" for each in found.differences[:MOST_SHOWN]]
    unlike = f"{len(found.differences)} of {found.compared} stored verdicts, from {read}"
    if found.others:
        return [
            f"cannot be said: {unlike}, do not come out, but the configuration is another one",
            *(f"  {each}" for each in _judged_otherwise(found)),
            "  run this again with --config naming the file of those settings, which is written"
            " beside the page if the store has it",
            *shown,
        ]
    return [
        f"unequal: {unlike}, though they were judged with the present configuration"
        f" ({found.configuration[:SHORT_HASH]})",
        *shown,
    ]


def _judged_otherwise(found: Recomputed) -> list[str]:
    """Which verdicts name another configuration than the one that is used now."""
    return [
        f"{count} were judged with configuration {name[:SHORT_HASH]}, the present one is"
        f" {found.configuration[:SHORT_HASH]}"
        if name
        else f"{count} do not say which configuration they were judged with"
        for name, count in found.others
    ]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value

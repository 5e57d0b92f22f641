"""All models of the partitions that this process judges: loaded from the changelogs, changed by
records, written back in the order that makes a crash harmless.

Order of writing, for each record and model: findings and verdicts are published and acknowledged;
then the intervals; then the model's state, which names the record. If a crash comes between, the
record is processed again, publishes the same rows again (every reader keeps them by key) and skips
what is in the intervals already; see :mod:`streams.model_state`. Last of all, now and then, a
checkpoint of the evidence; see :mod:`streams.evidence`.

Most records are deltas whose panes are still open. Such a one is stored as it came, and nothing
else: what it changed in the state is taken from it again after a crash. It is dropped when all its
panes are written as intervals, one record late.

Records are known by number: their offset, and above it how often ``summaries`` was made again since
the state began. So one of a topic that was made again is never taken for one of the old topic with
that offset, here or by a reader of results, which keeps the newest. The number of the topic is
written with its id before anything is taken from it (:meth:`JudgeState.begin`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from detectors.layout import Kind, Layout
from detectors.reference import Reference, layout_for
from streams.changelog import Changelog, acknowledged
from streams.evidence_entry import (
    BUDGET_KEY,
    Entry,
    EvidenceKey,
    decode_entry,
    decode_evidence_key,
    encode_entry,
    encode_evidence_key,
)
from streams.evidence_kernels import EvidenceKernels, no_kernels
from streams.failpoints import reached
from streams.gaps import interrupt
from streams.judge import ModelJudge, ModelSettings
from streams.model_state import (
    Interval,
    IntervalKey,
    ModelState,
    decode_delta_key,
    decode_interval,
    decode_key,
    decode_state,
    encode_delta_key,
    encode_interval,
    encode_key,
    encode_state,
)
from streams.outputs import Outputs
from streams.pair_delta import PairDelta
from streams.timeline import PartitionTime
from streams.wire import Delta, Progress, Unreadable, decode, encode, partition_for

StateRecord = Delta | PairDelta | Progress
"""What changes a model's state."""


_OFFSET_BITS: Final = 40
"""Of a record's number: no partition comes to 10^12 records, and numbers stay exact in JSON."""


def numbered(remade: int, offset: int) -> int:
    """The number of a record of a topic that was made again so often."""
    return remade << _OFFSET_BITS | offset


def times_remade(number: int) -> int:
    """How often the topic had been made again from which a record of this number came."""
    return number >> _OFFSET_BITS


class ReferenceUnknownError(LookupError):
    """A record stands on a reference that this process has not read (yet)."""


@dataclass(slots=True)
class _Times:
    """Clocks after the record ``applied``; ``moved`` since they were written. ``topic_id``: of the
    topic that the state is of, "" if nobody has said; ``remade``: how often it was made again."""

    applied: int
    of: dict[tuple[str, int], PartitionTime]
    moved: bool = False
    topic_id: str = ""
    remade: int = 0


class _Clocks(msgspec.Struct, array_like=True):
    """As they are stored: topic, partition, newest event time, idle, partitions of the topic."""

    applied: int
    entries: list[tuple[str, int, int, bool, int]]
    topic_id: str = ""
    remade: int = 0


class JudgeState:
    """The models and clocks of the assigned partitions."""

    def __init__(
        self,
        models: Changelog,
        intervals: Changelog,
        deltas: Changelog,
        evidence: Changelog,
        clocks: Changelog,
        partitions: int,
        settings_of: Callable[[str], ModelSettings],
        reference_by_id: Callable[[str], Reference | None],
        kernels: Callable[[], EvidenceKernels | None] = no_kernels,
    ) -> None:
        self._models = models
        self._intervals = intervals
        self._deltas = deltas
        self._evidence = evidence
        self._clocks = clocks
        self._partitions = partitions
        self._settings_of = settings_of
        self._reference_by_id = reference_by_id
        self._kernels = kernels
        self._judges: dict[int, dict[str, ModelJudge]] = {}
        self._times: dict[int, _Times] = {}

    def forget(self) -> None:
        """Partitions came or went: what is kept in memory is loaded again from the changelogs."""
        self._judges.clear()
        self._times.clear()

    def judges(self, partition: int) -> dict[str, ModelJudge]:
        """The models of one partition."""
        loaded = self._judges.get(partition)
        if loaded is None:
            loaded = self._judges[partition] = self._load(partition)
        return loaded

    def judge(self, partition: int, model: str) -> ModelJudge:
        judges = self.judges(partition)
        if model not in judges:
            judges[model] = self._new(ModelState(model), {}, {})
        return judges[model]

    def times(self, partition: int) -> _Times:
        """The clocks of all input partitions, as told on one partition of ``summaries``."""
        if partition not in self._times:
            stored = self._clocks.get(str(partition).encode())
            record = msgspec.msgpack.decode(stored, type=_Clocks) if stored else _Clocks(-1, [])
            self._times[partition] = _Times(
                record.applied,
                {
                    (topic, p): PartitionTime(newest, idle, total)
                    for topic, p, newest, idle, total in record.entries
                },
                topic_id=record.topic_id,
                remade=record.remade,
            )
        return self._times[partition]

    def number(self, partition: int, offset: int) -> int:
        """By which a record is known in the state, and in what comes of it."""
        return numbered(self.times(partition).remade, offset)

    async def begin(self, partition: int, topic: str, topic_id: str) -> bool:
        """Before a record is taken: it is of the topic with this id ("" where nobody says). Whether
        that is another one than the state is of. Then records are numbered anew, above all that
        were; and since nobody knows what of the old topic was not read, each model has a gap.
        ``topic``: its name, which verdicts give as the reason."""
        times = self.times(partition)
        if topic_id in ("", times.topic_id):
            return False
        again = bool(times.topic_id)
        if again:
            for model, judge in self.judges(partition).items():
                interrupt(judge.state.gaps, judge.state.topics, times.of, topic)
                state = encode_state(judge.state, judge.standings.packed())
                await acknowledged([self._models.put(partition, model.encode(), state)])
            times.remade += 1
        times.topic_id = topic_id
        await self._put_times(partition, times)
        return again

    def note_times(self, partition: int, progress: Progress, offset: int) -> bool:
        """Take in a worker's clocks; False if that has been done before (then the process died),
        and all models have had this record as well. A clock never goes back: a worker that was
        replaced may still report."""
        times = self.times(partition)
        if offset <= times.applied:
            return False
        times.moved |= note_clocks(times.of, progress)
        return True

    async def write_times(self, partition: int, offset: int) -> None:
        """After all models have had the record: so a record that is processed again meets the
        clocks as they were when it was processed first."""
        times = self.times(partition)
        if not times.moved:
            return
        times.moved, times.applied = False, offset
        await self._put_times(partition, times)

    async def _put_times(self, partition: int, times: _Times) -> None:
        entries = [(t, p, c.newest_ms, c.idle, c.partitions) for (t, p), c in times.of.items()]
        record = _Clocks(times.applied, sorted(entries), times.topic_id, times.remade)
        value = msgspec.msgpack.encode(record)
        await acknowledged([self._clocks.put(partition, str(partition).encode(), value)])

    async def write(
        self, partition: int, judge: ModelJudge, offset: int, record: StateRecord, value: bytes
    ) -> None:
        """Deltas and intervals first, the state last; the state names the record. Kafka keeps no
        order between topics, so the state goes out when the others have been acknowledged.
        ``value``: the record as it came."""
        model, intervals = judge.state.model, judge.intervals
        pending = []
        if judge.kept is not None:
            kept = value if judge.kept is record else encode(judge.kept)
            pending.append(self._deltas.put(partition, encode_delta_key(model, offset), kept))
        for key in sorted(intervals.changed):
            stored = encode_interval(intervals.held[key])
            pending.append(self._intervals.put(partition, encode_key(model, key), stored))
            intervals.held[key].rest(stored)
        pending += [
            self._intervals.remove(partition, encode_key(model, key))
            for key in sorted(intervals.removed)
        ]
        pending += [
            self._deltas.remove(partition, encode_delta_key(model, at)) for at in intervals.finished
        ]
        await acknowledged(pending)
        reached("judge.intervals")
        judge.state.applied = offset
        if judge.touched:
            state = encode_state(judge.state, judge.standings.packed())
            await acknowledged([self._models.put(partition, model.encode(), state)])
        if judge.evidence.due():
            await self._write_evidence(partition, judge)

    async def _write_evidence(self, partition: int, judge: ModelJudge) -> None:
        model = judge.state.model
        entries, removed = judge.evidence.checkpoint()
        budget = entries.pop(BUDGET_KEY, None)
        pending = [
            self._evidence.put(partition, encode_evidence_key(model, key), encode_entry(entry))
            for key, entry in entries.items()
        ]
        pending += [
            self._evidence.remove(partition, encode_evidence_key(model, key))
            for key in sorted(removed)
        ]
        await acknowledged(pending)
        if budget is not None:
            key = encode_evidence_key(model, BUDGET_KEY)
            await acknowledged([self._evidence.put(partition, key, encode_entry(budget))])

    def _load(self, partition: int) -> dict[str, ModelJudge]:
        states = {}
        for key, value in self._models.items():
            model = key.decode()
            if partition_for(model, self._partitions) == partition:
                states[model] = decode_state(value)
        intervals: dict[str, dict[IntervalKey, Interval]] = {model: {} for model in states}
        for raw, value in self._intervals.items():
            model, key_ = decode_key(raw)
            if partition_for(model, self._partitions) == partition:
                # An interval whose model has no state yet: a crash came between the two writes.
                states.setdefault(model, ModelState(model))
                interval = decode_interval(value, self._layout)
                intervals.setdefault(model, {})[key_] = interval
        deltas: dict[str, dict[int, bytes]] = {}
        for raw, value in self._deltas.items():
            model, offset = decode_delta_key(raw)
            if partition_for(model, self._partitions) == partition:
                states.setdefault(model, ModelState(model))
                deltas.setdefault(model, {})[offset] = value
        evidence: dict[str, dict[EvidenceKey, Entry]] = {model: {} for model in states}
        for raw, value in self._evidence.items():
            model, part = decode_evidence_key(raw)
            if model in evidence:
                evidence[model][part] = decode_entry(value)
        judges = {
            model: self._new(state, intervals.get(model, {}), evidence[model])
            for model, state in states.items()
        }
        for model, kept in deltas.items():
            for offset, value in sorted(kept.items()):
                record = self._known_delta(value)
                judges[model].restore(record, offset)
        return judges

    def _new(
        self,
        state: ModelState,
        intervals: dict[IntervalKey, Interval],
        evidence: Mapping[EvidenceKey, Entry],
    ) -> ModelJudge:
        settings = self._settings_of(state.model)
        return ModelJudge(
            state, intervals, settings, self._reference_by_id, evidence, self._kernels
        )

    def _known_delta(self, value: bytes) -> Delta:
        record = decode(value)
        if not isinstance(record, Delta):
            raise Unreadable("a kept record is no delta")
        if record.reference and self._reference_by_id(record.reference) is None:
            raise ReferenceUnknownError(record.reference)
        return record

    def _layout(self, reference: str, columns: Iterable[tuple[str, Kind]]) -> Layout:
        known = self._reference_by_id(reference) if reference else None
        if reference and known is None:
            raise ReferenceUnknownError(reference)
        return layout_for(known, columns)


def note_clocks(times: dict[tuple[str, int], PartitionTime], progress: Progress) -> bool:
    """Enter a worker's clocks in ``times``; whether one moved. None ever goes back."""
    moved = False
    for entry in progress.partitions:
        place = (entry.topic, entry.partition)
        known = times.get(place)
        newest = max(entry.newest_ms, known.newest_ms) if known else entry.newest_ms
        clock = PartitionTime(newest, entry.idle, entry.partitions)
        moved |= clock != known
        times[place] = clock
    return moved


def steps(
    judges: Mapping[str, ModelJudge],
    record: StateRecord,
    times: Mapping[tuple[str, int], PartitionTime],
    offset: int,
) -> Iterator[tuple[ModelJudge, Outputs]]:
    """Give a record to the models it concerns: deltas to their own, a clock to all. A model that
    has taken the record in before (then the process died) passes it over."""
    if isinstance(record, Delta):
        judge = judges[record.model]
        if judge.state.applied < offset:
            judge.begin()
            yield judge, judge.delta(record, offset)
        return
    if isinstance(record, PairDelta):
        judge = judges[record.model]
        if judge.state.applied < offset:
            judge.begin()
            yield judge, judge.pairs(record)
        return
    for model in sorted(judges):
        judge = judges[model]
        if judge.state.applied < offset:
            judge.begin()
            yield judge, judge.progress(record, times, offset)

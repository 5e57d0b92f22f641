"""All models of the partitions that this process judges: loaded from the changelogs, changed by
records, written back in the order that makes a crash harmless.

Order of writing, for each record and model: findings and verdicts are published and acknowledged;
then the intervals; then the model's state, which names the record. If a crash comes between, the
record is processed again, publishes the same rows again (every reader keeps them by key) and skips
what is in the intervals already; see :mod:`streams.model_state`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from detectors.layout import Kind, Layout
from detectors.reference import Reference, layout_for
from streams.changelog import Changelog, acknowledged
from streams.judge import ModelJudge, ModelSettings, Outputs
from streams.model_state import (
    Interval,
    IntervalKey,
    ModelState,
    decode_interval,
    decode_key,
    decode_state,
    encode_interval,
    encode_key,
    encode_state,
)
from streams.timeline import PartitionTime
from streams.wire import Delta, Progress, partition_for


class ReferenceUnknownError(LookupError):
    """A record stands on a reference that this process has not read (yet)."""


@dataclass(frozen=True, slots=True)
class References:
    """How the judge asks for references: the one in force for a model, and any by its id."""

    of: Callable[[str], Reference | None]
    by_id: Callable[[str], Reference | None]


class JudgeState:
    """The models and clocks of the assigned partitions."""

    def __init__(
        self,
        models: Changelog,
        intervals: Changelog,
        clocks: Changelog,
        partitions: int,
        settings_of: Callable[[str], ModelSettings],
        references: References,
    ) -> None:
        self._models = models
        self._intervals = intervals
        self._clocks = clocks
        self._partitions = partitions
        self._settings_of = settings_of
        self._references = references
        self._judges: dict[int, dict[str, ModelJudge]] = {}
        self._times: dict[int, dict[tuple[str, int], PartitionTime]] = {}

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
            judges[model] = self._new(ModelState(model), {})
        return judges[model]

    def times(self, partition: int) -> dict[tuple[str, int], PartitionTime]:
        """The clocks of all input partitions, as told on one partition of ``summaries``."""
        if partition not in self._times:
            stored = self._clocks.get(str(partition).encode())
            entries = msgspec.msgpack.decode(stored, type=_Clocks) if stored else []
            self._times[partition] = {
                (topic, p): PartitionTime(newest, idle, total)
                for topic, p, newest, idle, total in entries
            }
        return self._times[partition]

    async def note_times(
        self, partition: int, progress: Progress
    ) -> Mapping[tuple[str, int], PartitionTime]:
        """Take in a worker's clocks. A clock never goes back: a worker that was replaced may still
        report."""
        times = self.times(partition)
        before = dict(times)
        for entry in progress.partitions:
            place = (entry.topic, entry.partition)
            known = times.get(place)
            newest = max(entry.newest_ms, known.newest_ms) if known else entry.newest_ms
            times[place] = PartitionTime(newest, entry.idle, entry.partitions)
        if times != before:
            value = msgspec.msgpack.encode(
                [(t, p, c.newest_ms, c.idle, c.partitions) for (t, p), c in sorted(times.items())]
            )
            await acknowledged([self._clocks.put(partition, str(partition).encode(), value)])
        return times

    async def write(self, partition: int, judge: ModelJudge, offset: int) -> None:
        """Intervals first, the state last; the state names the record."""
        model = judge.state.model
        for key in sorted(judge.changed):
            value = encode_interval(judge.intervals[key])
            self._intervals.put(partition, encode_key(model, key), value)
        for key in sorted(judge.removed):
            self._intervals.remove(partition, encode_key(model, key))
        judge.state.applied = offset
        await acknowledged([self._models.put(partition, model.encode(), encode_state(judge.state))])

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
        return {model: self._new(state, intervals[model]) for model, state in states.items()}

    def _new(self, state: ModelState, intervals: dict[IntervalKey, Interval]) -> ModelJudge:
        return ModelJudge(
            state,
            intervals,
            self._settings_of(state.model),
            self._references.of,
            self._references.by_id,
        )

    def _layout(self, reference: str, columns: Iterable[tuple[str, Kind]]) -> Layout:
        known = self._references.by_id(reference) if reference else None
        if reference and known is None:
            raise ReferenceUnknownError(reference)
        return layout_for(known, columns)


def steps(
    judges: Mapping[str, ModelJudge],
    record: Delta | Progress,
    times: Mapping[tuple[str, int], PartitionTime],
    offset: int,
) -> Iterator[tuple[ModelJudge, Outputs]]:
    """Give a record to the models it concerns: a delta to its own, a clock to all. A model that has
    taken the record in before (then the process died) passes it over."""
    if isinstance(record, Delta):
        judge = judges[record.model]
        if judge.state.applied < offset:
            judge.begin()
            yield judge, judge.delta(record, offset)
        return
    for model in sorted(judges):
        judge = judges[model]
        if judge.state.applied < offset:
            judge.begin()
            yield judge, judge.progress(record, times, offset)


_Clocks = list[tuple[str, int, int, bool, int]]

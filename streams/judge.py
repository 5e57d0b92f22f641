"""The judge of one model: deltas in, windows, findings and verdicts out. Pure: no Kafka, no clock.

Everything it does follows from the records of driftline.summaries in their order, the references
and the settings; so replaying the same records gives the same findings and verdicts, bit for bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from detectors.budget import Stream
from detectors.reference import Reference, layout_for
from detectors.release import ALL, OTHER, Role
from detectors.summary import Summaries
from detectors.thresholds import Place, ThresholdSettings, judge_columns
from streams.comparing import comparisons, main_production, shown_block
from streams.evidence import Entry, Evidence, EvidenceKey, EvidenceSettings
from streams.figures import window_rows
from streams.learning import LEARNING_MS, learn, learning_key, teaches
from streams.model_state import Interval, IntervalKey, ModelState, ReleaseTrack
from streams.outputs import Outputs
from streams.pair_delta import PairDelta
from streams.paired import Pairs
from streams.standing import JudgeSettings, Standings, observe
from streams.timeline import PartitionTime, TimeSettings, aligned, watermark
from streams.verdicts import decide_all, retire
from streams.wire import Delta, Progress, unpack

MAX_RELEASES = 200
"""Of one model; further ones are folded into the version ``__other__``."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """All that shapes the judgement of one model."""

    time: TimeSettings
    thresholds: ThresholdSettings
    judge: JudgeSettings
    evidence: EvidenceSettings = field(default_factory=EvidenceSettings)


class ModelJudge:
    """Holds the state of one model between records.

    ``changed`` and ``removed`` name the intervals that the last record touched: the caller writes
    them to the changelog, then the state; ``touched`` says whether there is anything to write.
    The reference in force is the one that the workers' deltas stand on: so it changes at a record,
    and a replay changes it at the same one. ``evidence`` is written after the state, and may lag:
    what was stored of it (``entries``) is brought up to the state from the panes.
    """

    def __init__(
        self,
        state: ModelState,
        intervals: dict[IntervalKey, Interval],
        settings: ModelSettings,
        reference_by_id: Callable[[str], Reference | None],
        entries: Mapping[EvidenceKey, Entry],
    ) -> None:
        self.state = state
        self.intervals = intervals
        self.changed: set[IntervalKey] = set()
        self.removed: set[IntervalKey] = set()
        self.touched = False
        self._swept: tuple[int, int, bool] | None = None
        self._settings = settings
        self._reference_by_id = reference_by_id
        self._standings = Standings(state.standings, settings.judge, settings.time.windows_ms[0])
        self._pairs = Pairs(state, settings.evidence.paired, settings.time.pane_ms)
        # A pane that is a window too can still be corrected: then nothing may be folded later.
        time = settings.time
        every_ms = 0 if time.pane_ms in time.windows_ms else time.windows_ms[0]
        self.evidence = Evidence(
            entries, settings.evidence, reference_by_id, time.pane_ms, every_ms
        )
        self._fold(self._panes(self.evidence.upto_ms, state.closed_ms), state.closed_ms)

    # --- records -----------------------------------------------------------------------------

    def begin(self) -> None:
        """Before each record: forget what the last one touched, and drop what was finished by it.

        Finished intervals go one record late, so that a record processed twice (after a crash)
        still finds everything it found the first time.
        """
        self.changed.clear()
        self.touched = False
        # What is finished depends on these alone, and few records change any of them.
        swept = (self.state.closed_ms, self.evidence.saved_ms, self.state.learnt)
        self.removed = set()
        if swept != self._swept:
            self._swept = swept
            self.removed = {key for key in self.intervals if self._finished(key)}
        for key in self.removed:
            del self.intervals[key]
        self.state.revisions = {
            (length, start): n
            for (length, start), n in self.state.revisions.items()
            if start + length + self._time.allowed_lateness_ms > self.state.closed_ms
        }

    def delta(self, delta: Delta, offset: int) -> Outputs:
        """Merge what a worker added."""
        outputs = Outputs()
        self.state.topics = sorted({*self.state.topics, *delta.topics})
        self.state.wall_ms = max(self.state.wall_ms, delta.wall_ms)
        self.state.moved_ms = self.state.moved_ms or delta.wall_ms
        self.state.reference = delta.reference
        self.touched = True
        layout = layout_for(self._known(delta.reference), delta.columns)
        for group in delta.groups:
            summaries = unpack(group.summaries, layout)
            version, role = self._admit(group.version, group.role)
            if group.segment == ALL:
                track = self._track(version, role, group.pane_ms, delta.wall_ms)
                track.events += summaries.events
            self._add_group(group.pane_ms, version, role, group.segment, summaries, offset, outputs)
        self.state.late += outputs.late
        return outputs

    def pairs(self, delta: PairDelta) -> Outputs:
        """Take in pairs of shadows and production that a worker joined. They wait for their pane,
        and are told of when a window closes."""
        self._pairs.enter(delta)
        self.touched = True
        return Outputs()

    def progress(
        self,
        progress: Progress,
        partitions: Mapping[tuple[str, int], PartitionTime],
        offset: int,
    ) -> Outputs:
        """Advance the watermark; close panes and windows that it passed; decide."""
        outputs = Outputs()
        mark = max(watermark(self.state.topics, partitions, self._time), self.state.closed_ms)
        before = self.state.closed_ms
        if aligned(mark, self._time.pane_ms) > aligned(before, self._time.pane_ms):
            self._close(before, mark, offset, outputs)
            self.state.closed_ms = mark
            self.state.moved_ms = max(progress.wall_ms, self.state.moved_ms)
            self.touched = True
        if retire(self.state, self._settings.judge, progress.wall_ms, self._forget):
            self.touched = True
        decide_all(
            self.state,
            self._settings.judge,
            self._standings,
            self.evidence,
            self._time.pane_ms,
            progress.wall_ms,
            offset,
            outputs,
        )
        self.evidence.rest()
        self.touched |= bool(self.changed or self.removed or outputs.verdicts)
        return outputs

    # --- panes and windows -------------------------------------------------------------------

    @property
    def _time(self) -> TimeSettings:
        return self._settings.time

    def _known(self, reference: str) -> Reference | None:
        if not reference:
            return None
        found = self._reference_by_id(reference)
        if found is None:
            raise LookupError(f"reference {reference} of {self.state.model!r} is not known here")
        return found

    def _admit(self, version: str, role: Role) -> tuple[str, Role]:
        if (version, role) in self.state.releases or len(self.state.releases) < MAX_RELEASES:
            return version, role
        return OTHER, role

    def _track(self, version: str, role: Role, pane_ms: int, wall_ms: int) -> ReleaseTrack:
        track = self.state.releases.get((version, role))
        if track is None:
            track = ReleaseTrack(pane_ms, pane_ms, wall_ms)
            self.state.releases[version, role] = track
        track.first_ms = min(track.first_ms, pane_ms)
        track.last_ms = max(track.last_ms, pane_ms + self._time.pane_ms)
        track.wall_ms = max(track.wall_ms, wall_ms)
        return track

    def _add_group(
        self,
        pane_ms: int,
        version: str,
        role: Role,
        segment: str,
        summaries: Summaries,
        offset: int,
        outputs: Outputs,
    ) -> None:
        pane = IntervalKey(self._time.pane_ms, pane_ms, version, role, segment)
        if pane.end_ms > self.state.closed_ms:
            self._add(pane, [summaries], offset)
            return
        shortest = self._time.windows_ms[0]
        if self._expired(aligned(pane_ms, shortest) + shortest):
            if segment == ALL:
                outputs.late += summaries.events
            return
        for length in self._time.windows_ms:
            start = aligned(pane_ms, length)
            self._add(IntervalKey(length, start, version, role, segment), [summaries], offset)
            closed = start + length <= self.state.closed_ms
            if closed and (length, start) not in self.state.corrected:
                self.state.corrected.append((length, start))

    def _add(self, key: IntervalKey, blocks: Iterable[Summaries], offset: int) -> None:
        interval = self.intervals.get(key)
        if interval is None:
            interval = self.intervals[key] = Interval()
        elif interval.applied >= offset and key not in self.changed:
            return  # this record is being processed again, and the entry already has it
        for block in blocks:
            interval.add(block)
        interval.applied = offset
        self.changed.add(key)
        self.removed.discard(key)

    def _expired(self, end_ms: int) -> bool:
        return end_ms + self._time.allowed_lateness_ms <= self.state.closed_ms

    def _finished(self, key: IntervalKey) -> bool:
        if key.length_ms == LEARNING_MS:
            return self.state.learnt
        if key.length_ms == self._time.pane_ms and key.length_ms not in self._time.windows_ms:
            return key.end_ms <= min(self.state.closed_ms, self.evidence.saved_ms)
        return self._expired(key.end_ms)

    def _panes(self, after_ms: int, upto_ms: int) -> deque[IntervalKey]:
        """Those that end in (after_ms, upto_ms], in the order of time."""
        return deque(
            sorted(
                key
                for key in self.intervals
                if key.length_ms == self._time.pane_ms and after_ms < key.end_ms <= upto_ms
            )
        )

    def _close(self, before: int, mark: int, offset: int, outputs: Outputs) -> None:
        """Close panes and windows in the order of time, so that what a window shows of the
        evidence is what its panes and those before them add up to."""
        panes = self._panes(before, mark)
        for pane in panes:
            blocks = list(self.intervals[pane].blocks.values())
            for length in self._time.windows_ms:
                if length != self._time.pane_ms:
                    start = aligned(pane.start_ms, length)
                    window = IntervalKey(length, start, pane.version, pane.role, pane.segment)
                    self._add(window, blocks, offset)
        ends: dict[tuple[int, int], list[IntervalKey]] = {}
        for key in self.intervals:
            if key.length_ms in self._time.windows_ms and key.end_ms <= mark:
                ends.setdefault((key.length_ms, key.start_ms), []).append(key)
        corrected = set(self.state.corrected)
        self.state.corrected = []
        for (length, start), keys in sorted(ends.items(), key=lambda item: (sum(item[0]), item[0])):
            if (length, start) in corrected:
                revision = self.state.revisions.get((length, start), 0) + 1
                self.state.revisions[length, start] = revision
            elif start + length > before:
                revision = 0
            else:
                continue
            self._fold(panes, start + length)
            self._pairs.fold(start + length)
            self._evaluate(length, start, sorted(keys), revision, offset, outputs)
        self._fold(panes, mark)
        self._pairs.fold(mark)

    def _fold(self, panes: deque[IntervalKey], upto_ms: int) -> None:
        """Take panes that end by ``upto_ms`` into the evidence, and out of the queue."""
        while panes and panes[0].end_ms <= upto_ms:
            start_ms = panes[0].start_ms
            together = []
            while panes and panes[0].start_ms == start_ms:
                together.append(panes.popleft())
            self.evidence.fold(
                start_ms,
                {Stream(k.version, k.role, k.segment): self.intervals[k] for k in together},
                main_production(together, self.intervals),
            )

    # --- judging -----------------------------------------------------------------------------

    def _evaluate(
        self,
        length: int,
        start: int,
        keys: list[IntervalKey],
        revision: int,
        offset: int,
        outputs: Outputs,
    ) -> None:
        reference = self._known(self.state.reference)
        production = main_production(keys, self.intervals)
        for key in keys:
            release = self.state.release(key.version, key.role)
            shown = shown_block(self.intervals[key], reference)
            # A row for each reference in the window: together they hold every event.
            for _, block in sorted(self.intervals[key].blocks.items()):
                outputs.windows += window_rows(release, key, block, revision, offset)
            place = Place(release, key.segment, length, start, revision)
            for comparison in comparisons(key, self.intervals, reference, production):
                findings = judge_columns(self._settings.thresholds, comparison, place)
                outputs.findings += findings
                self._standings.enter(findings)
            track = self.state.releases.get((key.version, key.role))
            if track is not None:
                observe(track, key, shown)
            if length == self._time.windows_ms[0] and revision == 0:
                self._show_evidence(key, place, production, outputs)
        if length == self._time.windows_ms[0] and revision == 0:
            self._learn(keys, reference, offset, outputs)

    def _show_evidence(
        self, key: IntervalKey, place: Place, production: str | None, outputs: Outputs
    ) -> None:
        """The evidence as of the end of a window, as findings."""
        release = place.release
        drift = self.evidence.drift_findings(release, key.segment, self.intervals[key], place)
        outputs.findings += drift
        self._standings.enter(drift)
        stream = Stream(key.version, key.role, key.segment)
        online = self.evidence.online_findings(stream, self.intervals[key], place)
        outputs.findings += online
        self._standings.enter(online)
        if key.segment == ALL and key.version != OTHER:
            self.evidence.canary_verdict(key.version, key.role)
            outputs.findings += self.evidence.canary_findings(key.version, key.role, place)
        if key.segment == ALL and key.role is Role.SHADOW and production is not None:
            pairs = self._pairs.findings(place, production)
            outputs.findings += pairs
            self._standings.enter(pairs)

    def _learn(
        self,
        keys: Iterable[IntervalKey],
        reference: Reference | None,
        offset: int,
        outputs: Outputs,
    ) -> None:
        """Without a reference, the first production events become one."""
        wanted = self._settings.judge.learn_events
        if reference is not None or self.state.learnt or wanted == 0 or self.state.model == OTHER:
            return
        shortest = self._time.windows_ms[0]
        for key in keys:
            block = self.intervals[key].blocks.get("")
            if not teaches(key) or key.version == OTHER or block is None:
                continue
            self._add(learning_key(key, self.intervals), [block], offset)
            learnt = learn(
                self.state.model,
                key.version,
                self.intervals,
                shortest,
                wanted,
                self._settings.evidence.drift,
                self._settings.evidence.canary,
            )
            if learnt is not None:
                outputs.learnt.append(learnt)
                self.state.learnt = True
                return

    def _forget(self, version: str, role: Role) -> None:
        self._standings.forget(version, role)
        self.evidence.forget(version, role)

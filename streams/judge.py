"""The judge of one model: deltas in, windows, findings and verdicts out. Pure: no Kafka, no clock.

Everything it does follows from the records of driftline.summaries in their order, the references
and the settings; so replaying the same records gives the same findings and verdicts, bit for bit.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from detectors.budget import Stream
from detectors.layout import Layout
from detectors.reference import Reference, layout_for
from detectors.release import ALL, OTHER, Role
from detectors.thresholds import Asked, Place, ThresholdSettings, judge_all
from streams.comparing import comparisons, main_production, shown_block
from streams.evidence import Evidence, EvidenceSettings
from streams.evidence_entry import Entry, EvidenceKey
from streams.evidence_kernels import EvidenceKernels, no_kernels
from streams.figures import window_rows
from streams.gaps import enter, passed
from streams.intervals import Intervals
from streams.learning import learn, learning_key, teaches
from streams.model_state import Interval, IntervalKey, ModelState, ReleaseTrack
from streams.outputs import Outputs
from streams.pair_delta import PairDelta
from streams.paired import Pairs
from streams.standing import JudgeSettings, Standings, observe
from streams.timeline import FOREVER, PartitionTime, TimeSettings, aligned, watermark
from streams.verdicts import decide_all, retire
from streams.wire import Delta, Group, Packed, Progress, check, events_of

MAX_RELEASES = 200
"""Of one model; further ones are folded into the version ``__other__``."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """All that shapes the judgement of one model, and the name of it all that its verdicts carry
    (:mod:`streams.judged_by`)."""

    time: TimeSettings
    thresholds: ThresholdSettings
    judge: JudgeSettings
    evidence: EvidenceSettings = field(default_factory=EvidenceSettings)
    configuration: str = ""


class ModelJudge:
    """Holds the state of one model between records.

    What the last record did and must be written down: ``kept``, a delta whose panes are open, which
    is stored as it came; ``changed``, ``removed`` and ``finished`` of ``intervals``; ``touched``,
    whether the state has changed by more than what ``kept`` tells (see :meth:`restore`).
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
        kernels: Callable[[], EvidenceKernels | None] = no_kernels,
    ) -> None:
        self.state = state
        self.intervals = Intervals(state, intervals, settings.time, kernels)
        self.kept: Delta | None = None
        self.touched = False
        self._settings = settings
        self._reference_by_id = reference_by_id
        self._kernels = kernels
        self.standings = Standings(state.standings, settings.judge, settings.time.windows_ms[0])
        self._pairs = Pairs(state, settings.evidence.paired, settings.time.pane_ms)
        # A pane that is a window too can still be corrected: then nothing may be folded later.
        time = settings.time
        every_ms = 0 if time.pane_ms in time.windows_ms else time.windows_ms[0]
        self.evidence = Evidence(
            entries, settings.evidence, reference_by_id, time.pane_ms, every_ms, kernels
        )
        self._fold(self.intervals.panes(self.evidence.upto_ms, state.closed_ms), state.closed_ms)

    # --- records -----------------------------------------------------------------------------

    def begin(self) -> None:
        """Before each record: forget what the last one touched, and drop what was finished."""
        self.kept = None
        self.touched = False
        self.intervals.begin(self.evidence.saved_ms)

    @property
    def unwritten(self) -> bool:
        """Whether the last record left anything to write down."""
        done = self.intervals.removed or self.intervals.finished
        return self.touched or self.kept is not None or bool(done)

    def delta(self, delta: Delta, offset: int) -> Outputs:
        """Take in what a worker added. It waits for its panes to close; rows that come after that
        correct windows at once."""
        outputs = Outputs()
        layout = self._layout(delta)
        admitted = self._note(delta)
        for pane, packed in self._wait(admitted, layout, offset):
            late = self.intervals.late(pane, layout, packed, offset)
            outputs.late += late if pane.segment == ALL else 0
            self.touched = True
        self.state.late += outputs.late
        if self.intervals.pending.full():
            self.intervals.settle(FOREVER, offset)
            self.state.settled = offset
            self.touched = True
        elif offset in self.intervals.pending.records:
            self.kept = admitted
        else:
            self.touched = True
        return outputs

    def restore(self, delta: Delta, offset: int) -> None:
        """Take in a delta that was ``kept``, after a restart; all of them in their order.

        Where the state has not had it, this process is to have it now. But if some of its rows
        were late, windows that they correct may not have been written: then the record comes again.
        """
        layout = self._layout(delta)
        ends = [group.pane_ms + self._time.pane_ms for group in delta.groups]
        self.intervals.pending.records[offset] = max(ends)
        if offset <= self.state.applied:
            self._wait(delta, layout, offset)
        elif min(ends) > self.state.closed_ms:
            self._wait(self._note(delta), layout, offset)
            self.state.applied = offset

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
        if enter(self.state.gaps, self.state.topics, progress, self.state.closed_ms):
            self.touched = True
        if retire(self.state, self._settings.judge, progress.wall_ms, self._forget):
            self.touched = True
        decide_all(
            self.state,
            self._settings.judge,
            self.standings,
            self.evidence,
            self._time.pane_ms,
            progress.wall_ms,
            offset,
            outputs,
            self._settings.configuration,
        )
        # After the verdicts: however much was read at once, each gap is told of.
        self._drop_gaps()
        self.evidence.rest()
        self.touched |= bool(self.intervals.changed or outputs.verdicts)
        return outputs

    def _drop_gaps(self) -> None:
        shortest, closed_ms = self._time.windows_ms[0], self.state.closed_ms
        left = [gap for gap in self.state.gaps if not passed(gap, closed_ms, shortest)]
        self.touched |= len(left) < len(self.state.gaps)
        self.state.gaps = left

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

    def _layout(self, delta: Delta) -> Layout:
        layout = layout_for(self._known(delta.reference), delta.columns)
        check((group.summaries for group in delta.groups), layout)
        return layout

    def _note(self, delta: Delta) -> Delta:
        """Note what was heard of which releases. Returns the delta as it is admitted: what is
        beyond the cap on releases stands under one name."""
        state = self.state
        if not set(delta.topics).issubset(state.topics):
            state.topics = sorted({*state.topics, *delta.topics})
        state.wall_ms = max(state.wall_ms, delta.wall_ms)
        state.moved_ms = state.moved_ms or delta.wall_ms
        state.reference = delta.reference
        groups = []
        for given in delta.groups:
            release = given.version, given.role
            track = state.releases.get(release)
            group = given if track is not None else self._admit(given)
            groups.append(group)
            if group.segment == ALL:
                self._seen(group, track, delta.wall_ms)
        if all(map(operator.is_, groups, delta.groups)):
            return delta
        return msgspec.structs.replace(delta, groups=tuple(groups))

    def _admit(self, group: Group) -> Group:
        """Of a release that is not known yet."""
        if len(self.state.releases) < MAX_RELEASES:
            return group
        return msgspec.structs.replace(group, version=OTHER)

    def _seen(self, group: Group, track: ReleaseTrack | None, wall_ms: int) -> None:
        """``track``: of the release that the group came with, if that is known."""
        pane_ms = group.pane_ms
        if track is None:
            track = self.state.releases.setdefault(
                (group.version, group.role), ReleaseTrack(pane_ms, pane_ms, wall_ms)
            )
        # Every delta comes here, with each of its releases: min and max would cost a call each.
        if pane_ms < track.first_ms:
            track.first_ms = pane_ms
        end_ms = pane_ms + self._settings.time.pane_ms
        if end_ms > track.last_ms:
            track.last_ms = end_ms
        if wall_ms > track.wall_ms:
            track.wall_ms = wall_ms
        track.events += events_of(group.summaries)

    def _wait(self, delta: Delta, layout: Layout, offset: int) -> list[tuple[IntervalKey, Packed]]:
        """Let what has come wait for its pane to close. Returns what is of panes that have."""
        pending, closed_ms = self.intervals.pending, self.state.closed_ms
        pane_ms = self._time.pane_ms
        waits = offset > self.state.settled
        newest_ms = closed_ms
        closed = []
        for group in delta.groups:
            start_ms = group.pane_ms
            end_ms = start_ms + pane_ms
            pane = IntervalKey(pane_ms, start_ms, group.version, group.role, group.segment)
            if end_ms <= closed_ms:
                closed.append((pane, group.summaries))
            elif waits:
                pending.add(pane, layout, group.summaries)
                if end_ms > newest_ms:
                    newest_ms = end_ms
        if newest_ms > closed_ms:
            pending.records[offset] = newest_ms
        return closed

    def _close(self, before: int, mark: int, offset: int, outputs: Outputs) -> None:
        """Close panes and windows in the order of time, so that what a window shows of the
        evidence is what its panes and those before them add up to."""
        self.intervals.settle(mark, offset)
        panes = self.intervals.panes(before, mark)
        self.intervals.gather(mark, offset)
        for keys, revision in self.intervals.closing(before, mark):
            self._fold(panes, keys[0].end_ms)
            self._pairs.fold(keys[0].end_ms)
            self._evaluate(keys, revision, offset, outputs)
        self._fold(panes, mark)
        self._pairs.fold(mark)

    def _fold(self, panes: deque[IntervalKey], upto_ms: int) -> None:
        """Take panes that end by ``upto_ms`` into the evidence, and out of the queue."""
        held = self.intervals.held
        while panes and panes[0].end_ms <= upto_ms:
            start_ms = panes[0].start_ms
            together = []
            while panes and panes[0].start_ms == start_ms:
                together.append(panes.popleft())
            self.evidence.fold(
                start_ms,
                {Stream(k.version, k.role, k.segment): held[k] for k in together},
                main_production(together, held),
            )

    # --- judging -----------------------------------------------------------------------------

    def _evaluate(
        self, keys: list[IntervalKey], revision: int, offset: int, outputs: Outputs
    ) -> None:
        """Judge one window of every (release, segment)."""
        length, start = keys[0].length_ms, keys[0].start_ms
        reference = self._known(self.state.reference)
        held = self.intervals.held
        production = main_production(keys, held)
        places = {
            key: Place(
                self.state.release(key.version, key.role), key.segment, length, start, revision
            )
            for key in keys
        }
        asked = [
            Asked(comparison, places[key])
            for key in keys
            for comparison in comparisons(key, held, reference, production)
        ]
        thresholds, made = self._settings.thresholds, self._kernels()
        for findings in judge_all(thresholds, asked, made.windows if made else None):
            outputs.findings += findings
            if thresholds.limits:
                self.standings.enter(findings)
        for key, place in places.items():
            shown = shown_block(held[key], reference)
            # A row for each reference in the window: together they hold every event.
            for _, block in sorted(held[key].blocks.items()):
                outputs.windows += window_rows(place.release, key, block, revision, offset)
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
        window = self.intervals.held[key]
        drift = self.evidence.drift_findings(place.release, key.segment, window, place)
        outputs.findings += drift
        self.standings.enter(drift)
        stream = Stream(key.version, key.role, key.segment)
        online = self.evidence.online_findings(stream, window, place)
        outputs.findings += online
        self.standings.enter(online)
        if key.segment == ALL and key.version != OTHER:
            self.evidence.canary_verdict(key.version, key.role)
            told = self.evidence.canary_findings(key.version, key.role, place)
            outputs.findings += told
            outputs.told.setdefault(place.release, []).extend(told)
        if key.segment == ALL and key.role is Role.SHADOW and production is not None:
            pairs = self._pairs.findings(place, production)
            outputs.findings += pairs
            self.standings.enter(pairs)

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
        shortest, held = self._time.windows_ms[0], self.intervals.held
        for key in keys:
            block = held[key].blocks.get("")
            if not teaches(key) or key.version == OTHER or block is None:
                continue
            self.intervals.add(learning_key(key, held), [block], offset)
            learnt = learn(
                self.state.model,
                key.version,
                held,
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
        self.standings.forget(version, role)
        self.evidence.forget(version, role)

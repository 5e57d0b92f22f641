"""The summaries of one model, from the records that wait for their pane to the longest window.

Four forms follow one another, and each is merged into the next for all releases at once:

- *records* wait as they came while their panes are open (:mod:`streams.pending`);
- a *pane* is put together when it closes;
- panes go into the shortest windows when those close, or once a minute where they are long;
- a window that closes goes into the next longer one that is a multiple of it.

So an event is added four times or so, however many records a pane has and however many panes a
day. Rows that come after their pane has closed go straight into whatever has been put together
already. Sums are exact, so the result is the same whichever way an event came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from detectors.layout import Layout
from detectors.merging import merge_alike
from detectors.summary import Summaries
from streams.evidence_kernels import EvidenceKernels, no_kernels
from streams.learning import LEARNING_MS
from streams.model_state import Interval, IntervalKey, ModelState
from streams.pending import Pending, merge_packed
from streams.timeline import FOREVER, MINUTE, NEVER, TimeSettings, aligned, feeder
from streams.wire import Packed, unpack


class Intervals:
    """Of one model. ``held`` has panes and windows; what the last record did to them is in
    ``changed`` and ``removed``, and ``finished`` names the records that nothing waits of any more.

    ``state.settled``: the record up to which all that waited was merged although panes were open;
    ``state.gathered_ms``: up to here, panes and windows are in the windows that they go into.
    """

    def __init__(
        self,
        state: ModelState,
        held: dict[IntervalKey, Interval],
        time: TimeSettings,
        kernels: Callable[[], EvidenceKernels | None] = no_kernels,
    ) -> None:
        self.held = held
        self.changed: set[IntervalKey] = set()
        self.removed: set[IntervalKey] = set()
        self.finished: list[int] = []
        self.pending = Pending(kernels)
        self._state = state
        self._kernels = kernels
        self._time = time
        self._feeders = {
            length: feeder(length, time) for length in time.windows_ms if length != time.pane_ms
        }
        self._swept: tuple[int, int, int, int, bool] | None = None

    def begin(self, saved_ms: int) -> None:
        """Before each record: forget what the last one touched, and drop what was finished by it.

        What is finished goes one record late, so that a record processed twice (after a crash)
        still finds everything it found the first time. ``saved_ms``: up to here, panes are in a
        checkpoint of the evidence.
        """
        self.changed.clear()
        self.removed, self.finished = set(), []
        state = self._state
        # What is finished depends on these alone, and few records change any of them.
        swept = (state.closed_ms, saved_ms, state.gathered_ms, state.settled, state.learnt)
        if swept == self._swept:
            return
        self._swept = swept
        self.removed = self._done(saved_ms)
        for key in self.removed:
            del self.held[key]
        state.revisions = {
            (length, start): n
            for (length, start), n in state.revisions.items()
            if not self.expired(start + length)
        }
        self.finished = list(self.pending.finished(state.closed_ms, state.settled))

    def add(self, key: IntervalKey, blocks: Iterable[Summaries], offset: int) -> None:
        """Merge into one interval, unless it has had the record at ``offset`` before."""
        self.add_all([(key, list(blocks))], offset)

    def add_all(
        self, parts: Iterable[tuple[IntervalKey, Sequence[Summaries]]], offset: int
    ) -> None:
        """As :meth:`add` for many intervals, which costs little more than for one."""
        places: list[tuple[Interval, str]] = []
        runs: list[list[Summaries]] = []
        for key, blocks in parts:
            interval = self.held.get(key)
            if interval is None:
                interval = self.held[key] = Interval()
            elif interval.applied >= offset and key not in self.changed:
                continue  # this record is being processed again, and the entry already has it
            by_reference: dict[str, list[Summaries]] = {}
            for block in blocks:
                by_reference.setdefault(block.layout.reference, []).append(block)
            for reference, some in by_reference.items():
                known = interval.blocks.get(reference)
                places.append((interval, reference))
                runs.append([known, *some] if known is not None else some)
            interval.applied = offset
            self.changed.add(key)
            self.removed.discard(key)
        made = self._kernels()
        whole = merge_alike(runs, made.merging if made is not None else None)
        for (interval, reference), merged in zip(places, whole, strict=True):
            interval.blocks[reference] = merged

    def late(self, pane: IntervalKey, layout: Layout, packed: Packed, offset: int) -> int:
        """Rows whose pane has closed: they correct the windows that have taken it in. Those that
        wait for a shorter window to close get them with it. Returns how many rows came too late
        for any."""
        summaries = unpack(packed, layout)
        shortest = self._time.windows_ms[0]
        if self.expired(aligned(pane.start_ms, shortest) + shortest):
            return summaries.events
        state = self._state
        for length in self._time.windows_ms:
            own = self._feeders.get(length, self._time.pane_ms)
            with_feeder = aligned(pane.start_ms, own) + own > state.gathered_ms
            if own in self._time.windows_ms and length != own and with_feeder:
                continue
            window = _over(pane, length)
            self.add(window, [summaries], offset)
            place = (length, window.start_ms)
            if window.end_ms <= state.closed_ms and place not in state.corrected:
                state.corrected.append(place)
        return 0

    def settle(self, upto_ms: int, offset: int) -> None:
        """Put together the panes that end by then."""
        self.add_all(self.pending.merged(upto_ms), offset)

    def gather(self, mark: int, offset: int) -> None:
        """Put panes and windows that end by ``mark`` into longer windows, if one of those closes
        or there is a minute of them."""
        after = self._state.gathered_ms
        closing = any(aligned(mark, length) > after for length in self._time.windows_ms)
        if not closing and mark - after < MINUTE:
            return
        for length, own in self._feeders.items():
            at_hand: dict[IntervalKey, list[Summaries]] = {}
            resting: dict[IntervalKey, dict[Layout, list[Packed]]] = {}
            for key, interval in self.held.items():
                if key.length_ms != own or not after < key.end_ms <= mark:
                    continue
                window = _over(key, length)
                blocks = at_hand.setdefault(window, [])
                packed = interval.packed()
                if packed is None:
                    blocks.extend(interval.blocks.values())
                    continue
                for layout, block in packed:
                    resting.setdefault(window, {}).setdefault(layout, []).append(block)
            # What rests goes on resting: nobody asks for it one by one.
            merged = merge_packed(resting, self._kernels())
            self.add_all(
                ((window, [*merged.get(window, ()), *some]) for window, some in at_hand.items()),
                offset,
            )
        self._state.gathered_ms = mark

    def panes(self, after_ms: int, upto_ms: int) -> deque[IntervalKey]:
        """Those that end in (after_ms, upto_ms], in the order of time."""
        pane_ms = self._time.pane_ms
        first_ms, last_ms = after_ms - pane_ms, upto_ms - pane_ms
        return deque(
            sorted(
                key
                for key in self.held
                if key.length_ms == pane_ms and first_ms < key.start_ms <= last_ms
            )
        )

    def closing(self, before: int, mark: int) -> Iterator[tuple[list[IntervalKey], int]]:
        """The windows that close or were corrected, in the order of their ends and lengths: the
        intervals of each, and its revision."""
        state = self._state
        passed = any(aligned(mark, length) > before for length in self._time.windows_ms)
        if not passed and not state.corrected:
            return
        ends: dict[tuple[int, int], list[IntervalKey]] = {}
        for key in self.held:
            if key.length_ms in self._time.windows_ms and key.end_ms <= mark:
                ends.setdefault((key.length_ms, key.start_ms), []).append(key)
        corrected = set(state.corrected)
        state.corrected = []
        for place, keys in sorted(ends.items(), key=lambda item: (sum(item[0]), item[0])):
            if place in corrected:
                revision = state.revisions.get(place, 0) + 1
                state.revisions[place] = revision
            elif sum(place) > before:
                revision = 0
            else:
                continue
            yield sorted(keys), revision

    def expired(self, end_ms: int) -> bool:
        """Whether an interval that ends then can change no more."""
        return end_ms + self._time.allowed_lateness_ms <= self._state.closed_ms

    def _done(self, saved_ms: int) -> set[IntervalKey]:
        """Those that nothing can change any more, or that have been taken in wherever they go."""
        state, time = self._state, self._time
        expired = state.closed_ms - time.allowed_lateness_ms
        by_length = {LEARNING_MS: FOREVER if state.learnt else NEVER}
        if time.pane_ms not in time.windows_ms:
            by_length[time.pane_ms] = min(state.closed_ms, state.gathered_ms, saved_ms)
        # All that is held is gone through at every pane: so without a call for each.
        return {
            key
            for key in self.held
            if key.start_ms + key.length_ms <= by_length.get(key.length_ms, expired)
        }


def _over(key: IntervalKey, length_ms: int) -> IntervalKey:
    """The interval of that length around the start of another."""
    start_ms = aligned(key.start_ms, length_ms)
    return IntervalKey(length_ms, start_ms, key.version, key.role, key.segment)

"""What came for panes that are still open, as it came: merged when a pane closes, of all releases
and all records at once.

One record adds a second or so to every release of a model, and merging it costs some array
operations a release whatever it holds; a pane's ten together cost hardly more than one. So records
wait, and are kept in the changelog as they came, which costs no packing either.

**Bounded.** Blocks that wait are at most ``MOST_BLOCKS`` a release, segment and pane on average:
then all are merged, however many workers write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from detectors.layout import Layout
from detectors.merging import merge_runs
from detectors.summary import Summaries
from streams.evidence_kernels import EvidenceKernels, no_kernels
from streams.model_state import IntervalKey
from streams.wire import Packed, unpack_all

MOST_BLOCKS = 16


class Pending:
    """Of one model. ``records``: by offset, the end of the newest pane that a kept record has
    something for; ``kernels``: see :mod:`streams.evidence_kernels`."""

    def __init__(self, kernels: Callable[[], EvidenceKernels | None] = no_kernels) -> None:
        self._kernels = kernels
        self.records: dict[int, int] = {}
        self._panes: dict[IntervalKey, dict[Layout, list[Packed]]] = {}
        self._blocks = 0

    def add(self, pane: IntervalKey, layout: Layout, packed: Packed) -> None:
        """``packed`` fits ``layout``."""
        waiting = self._panes.get(pane)
        if waiting is None:
            waiting = self._panes[pane] = {}
        alike = waiting.get(layout)
        if alike is None:
            alike = waiting[layout] = []
        alike.append(packed)
        self._blocks += 1

    def full(self) -> bool:
        """Whether it is time to merge although no pane closes."""
        return self._blocks > MOST_BLOCKS * len(self._panes)

    def merged(self, upto_ms: int) -> list[tuple[IntervalKey, list[Summaries]]]:
        """All panes that end by then, each with a block for every layout; they wait no longer."""
        taken = [key for key in self._panes if key.end_ms <= upto_ms]
        panes = {key: self._panes.pop(key) for key in taken}
        self._blocks -= sum(len(alike) for pane in panes.values() for alike in pane.values())
        return list(merge_packed(panes, self._kernels()).items())

    def finished(self, closed_ms: int, settled: int) -> Iterator[int]:
        """Records that nothing waits of any more; they are forgotten here."""
        done = [at for at, end_ms in self.records.items() if end_ms <= closed_ms or at <= settled]
        for offset in done:
            del self.records[offset]
            yield offset


def merge_packed(
    parts: Mapping[IntervalKey, Mapping[Layout, Sequence[Packed]]], made: EvidenceKernels | None
) -> dict[IntervalKey, list[Summaries]]:
    """A block for every layout of each interval; ``parts`` fit the layouts under which they are
    given. In one step for all that have the same, and read in the same one."""
    together: dict[Layout, dict[IntervalKey, Sequence[Packed]]] = {}
    for key, by_layout in parts.items():
        for layout, alike in by_layout.items():
            together.setdefault(layout, {})[key] = alike
    found: dict[IntervalKey, list[Summaries]] = {key: [] for key in parts}
    unpack, merging = (made.unpack, made.merging) if made is not None else (None, None)
    for layout, runs in together.items():
        blocks = unpack_all([packed for run in runs.values() for packed in run], layout, unpack)
        merged = merge_runs(blocks, [len(run) for run in runs.values()], merging)
        for key, whole in zip(runs, merged, strict=True):
            found[key].append(whole)
    return found

"""What came for panes that are still open, as it came: merged when a pane closes, of all releases
and all records at once.

One record adds a second or so to every release of a model, and merging it costs some array
operations a release whatever it holds; a pane's ten together cost hardly more than one. So records
wait, and are kept in the changelog as they came, which costs no packing either.

**Bounded.** Blocks that wait are at most ``MOST_BLOCKS`` a release, segment and pane on average:
then all are merged, however many workers write.
"""

from __future__ import annotations

from collections.abc import Iterator

from detectors.layout import Layout
from detectors.merging import merge_runs
from detectors.summary import Summaries
from streams.model_state import IntervalKey
from streams.wire import Packed, unpack_all

MOST_BLOCKS = 16


class Pending:
    """Of one model. ``records``: by offset, the end of the newest pane that a kept record has
    something for."""

    def __init__(self) -> None:
        self.records: dict[int, int] = {}
        self._panes: dict[IntervalKey, dict[Layout, list[Packed]]] = {}
        self._blocks = 0

    def add(self, pane: IntervalKey, layout: Layout, packed: Packed, offset: int) -> None:
        """``packed`` fits ``layout``; it came with the record at ``offset``."""
        self._panes.setdefault(pane, {}).setdefault(layout, []).append(packed)
        self._blocks += 1
        self.records[offset] = max(self.records.get(offset, pane.end_ms), pane.end_ms)

    @property
    def full(self) -> bool:
        """Whether it is time to merge although no pane closes."""
        return self._blocks > MOST_BLOCKS * len(self._panes)

    def merged(self, upto_ms: int) -> list[tuple[IntervalKey, list[Summaries]]]:
        """All panes that end by then, each with a block for every layout; they wait no longer."""
        taken = {k: by for k, by in self._panes.items() if k.end_ms <= upto_ms}
        together: dict[Layout, list[IntervalKey]] = {}
        for key, by_layout in taken.items():
            del self._panes[key]
            for layout, waiting in by_layout.items():
                self._blocks -= len(waiting)
                together.setdefault(layout, []).append(key)
        found: dict[IntervalKey, list[Summaries]] = {key: [] for key in taken}
        for layout, keys in together.items():
            runs = [taken[key][layout] for key in keys]
            blocks = unpack_all([packed for run in runs for packed in run], layout)
            merged = merge_runs(blocks, [len(run) for run in runs])
            for key, whole in zip(keys, merged, strict=True):
                found[key].append(whole)
        return list(found.items())

    def finished(self, closed_ms: int, settled: int) -> Iterator[int]:
        """Records that nothing waits of any more; they are forgotten here."""
        done = [at for at, end_ms in self.records.items() if end_ms <= closed_ms or at <= settled]
        for offset in done:
            del self.records[offset]
            yield offset

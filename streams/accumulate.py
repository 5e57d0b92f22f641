"""From decoded columns to deltas: rows wait here until the next flush, then each model's rows
become one table (streams/model_table.py) and are summarised at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.kernels import Workshop
from detectors.layout import Layout
from detectors.reference import Reference, layout_for
from detectors.release import OTHER
from streams.cardinality import Limits, Names
from streams.codecs.speculative.loading import Kernels, ready
from streams.group_parts import in_parts
from streams.kept_rows import Kept, ModelRows
from streams.model_table import ModelTable
from streams.timeline import TimeSettings
from streams.wire import Delta, Group

MAX_DELTA_BYTES = 400_000
"""A delta is cut into several below this, so that no record nears the broker's limit of 1 MB."""


class Accumulator:
    """Buffers rows by model; :meth:`drain` turns them into deltas."""

    def __init__(
        self,
        time: TimeSettings,
        limits: Limits,
        reference_of: Callable[[str], Reference | None],
        kernels: Callable[[], Kernels | None] = ready,
    ) -> None:
        """``kernels``: asked at every flush; without them the deltas are the same."""
        self._kernels = kernels
        self._workshop: Workshop | None = None
        self._time = time
        self._limits = limits
        self._reference_of = reference_of
        self._models = Names(limits.models, limits.always_models)
        self._rows: dict[str, ModelRows] = {}
        self.buffered = 0
        self.columns = 0
        """Columns of all batches that wait, once for each key of segments as well: what draining
        costs where names are many."""

    def add(self, kept: Kept) -> NDArray[np.bool_] | None:
        """Keep rows until the next flush. Returns which of them are beyond the cap on models or
        versions (they are still counted, under ``__other__``), None if no row is."""
        model = kept.batch.model
        if not self._models.admit(model) and self._reference_of(model) is None:
            model = OTHER
        rows = self._rows.get(model)
        if rows is None:
            rows = self._rows[model] = ModelRows(model, self._limits)
        rows.parts.append(kept)
        self.buffered += len(kept)
        columns = len(kept.batch.numeric) + len(kept.batch.categorical)
        keys = min(len(kept.batch.segments), self._limits.segments_per_model)
        self.columns += columns * (1 + keys)
        if model == OTHER:
            return np.ones(len(kept), np.bool_)
        folded = [
            index
            for index, (version, _) in enumerate(kept.batch.releases)
            if not rows.versions.admit(version)
        ]
        if not folded:
            return None
        beyond: NDArray[np.bool_] = np.isin(kept.batch.release[kept.pick], folded)
        return beyond

    def turned_away(self) -> dict[str, int]:
        """How often a name was beyond its cap since the start, by what it is a name of."""
        rows = self._rows.values()
        return {
            "model": self._models.turned_away,
            "version": sum(each.versions.turned_away for each in rows),
            "segment": sum(each.segments.turned_away for each in rows),
            "column": sum(each.columns.turned_away for each in rows),
        }

    def waiting(self) -> Iterator[tuple[str, ModelRows]]:
        """The models with rows that wait for :meth:`drain`, and these rows."""
        return ((model, rows) for model, rows in self._rows.items() if rows.parts)

    def drain(self, worker: str, wall_ms: int) -> Iterator[Delta]:
        """One delta a model (several if it is large) for all rows added since the last call."""
        kernels = self._kernels()
        if kernels is not None and self._workshop is None:
            self._workshop = Workshop(kernels.columns)
        for model, rows in self._rows.items():
            if rows.parts:
                yield from self._deltas(model, rows, worker, wall_ms)
                rows.parts = []
        self.buffered = 0
        self.columns = 0

    def _deltas(self, model: str, rows: ModelRows, worker: str, wall_ms: int) -> Iterator[Delta]:
        reference = None if model == OTHER else self._reference_of(model)
        table = ModelTable.of(rows, self._time.pane_ms)
        layout = layout_for(reference, table.keys())
        topics = tuple(sorted({part.topic for part in rows.parts}))
        groups: list[Group] = []
        size = 0
        for whole in table.groups(layout, self._workshop):
            for group, packed in in_parts(whole, layout, MAX_DELTA_BYTES):
                if groups and size + packed > MAX_DELTA_BYTES:
                    yield self._delta(model, layout, topics, worker, wall_ms, groups)
                    groups, size = [], 0
                groups.append(group)
                size += packed
        yield self._delta(model, layout, topics, worker, wall_ms, groups)

    @staticmethod
    def _delta(
        model: str,
        layout: Layout,
        topics: tuple[str, ...],
        worker: str,
        wall_ms: int,
        groups: Sequence[Group],
    ) -> Delta:
        columns = tuple(spec.key for spec in layout.columns)
        return Delta(worker, model, layout.reference, columns, topics, wall_ms, tuple(groups))

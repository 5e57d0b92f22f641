"""Which of the rows that wait for a flush become halves, and what of them is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from detectors.pairs import HalfCounts, HalfKey
from detectors.release import OTHER, Role
from streams.cardinality import Names
from streams.event import EventKind
from streams.halves import HalfRows, ReleaseKey, score_rows
from streams.kept_rows import Kept, ModelRows
from streams.pair_settings import PairSettings
from streams.request_hash import request_hashes, salted, text_hash

LABEL = "prediction.label"
_SCORES = "scores."


def measured(column: str, settings: PairSettings) -> bool:
    return any(fnmatchcase(column, pattern) for pattern in settings.measures)


class HalfMaker:
    """Makes the halves of one model from the rows that wait for a flush."""

    def __init__(self, model: str, settings: PairSettings) -> None:
        self._model = model
        self._settings = settings
        self._measures = Names(settings.max_measures)
        self._below = np.uint64(min(int(settings.share * 2**64), 2**64 - 1))

    def make(
        self, rows: ModelRows, pane_ms: int
    ) -> tuple[list[HalfRows], dict[HalfKey, HalfCounts]]:
        """The halves of production and of shadows: those of answers, and those of each score that
        came as events of its own. And counts of what has no request id. Batches decoded without ids
        give nothing."""
        releases: dict[ReleaseKey, int] = {}
        without: dict[HalfKey, HalfCounts] = {}
        parts: dict[str, list[HalfRows]] = {}
        for kept in rows.parts:
            if kept.batch.kind not in (EventKind.PREDICTION, EventKind.SCORE):
                continue
            some = self._identified(kept, rows.versions.fold, pane_ms, releases)
            if some is None:
                continue
            if kept.batch.kind is EventKind.PREDICTION:
                made = [self._answers(kept, some, without)]
            else:
                made = self._score_events(kept, some, without)
            for part in made:
                if len(part):
                    parts.setdefault(part.score, []).append(part)
        together = tuple(releases)
        return [_concatenated(together, parts[score]) for score in sorted(parts)], without

    def _identified(
        self,
        kept: Kept,
        fold: Callable[[str], str],
        pane_ms: int,
        releases: dict[ReleaseKey, int],
    ) -> _Identified | None:
        batch = kept.batch
        if batch.request_ids is None:
            return None
        folded = [(fold(version), role) for version, role in batch.releases]
        paired = np.array(
            [
                role in (Role.PRODUCTION, Role.SHADOW) and version != OTHER
                for version, role in folded
            ]
        )
        rows = kept.rows[paired[batch.release[kept.rows]]]
        if not len(rows):
            return None
        code = np.array(
            [
                releases.setdefault(release, len(releases)) if is_paired else 0
                for release, is_paired in zip(folded, paired.tolist(), strict=True)
            ],
            np.uint16,
        )
        ids = [batch.request_ids[row] for row in rows.tolist()]
        has_id = np.array([text is not None for text in ids])
        hashes = np.zeros(len(rows), np.uint64)
        hashes[has_id] = request_hashes(self._model, [text for text in ids if text is not None])
        return _Identified(
            tuple(releases),
            rows,
            code[batch.release[rows]],
            batch.ts_ms[rows] - batch.ts_ms[rows] % pane_ms,
            hashes,
            has_id,
            has_id & (hashes <= self._below),
        )

    def _answers(
        self, kept: Kept, some: _Identified, without: dict[HalfKey, HalfCounts]
    ) -> HalfRows:
        some.count_without_id("", np.ones(len(some.rows), np.bool_), without)
        batch, chosen = kept.batch, some.chosen
        rows = some.rows[chosen]
        return HalfRows(
            (),
            some.hashes[chosen],
            some.release[chosen],
            some.pane_ms[chosen],
            _labels(kept, rows),
            batch.failed[rows].astype(np.uint8),
            {
                name: values[rows]
                for name, values in batch.numeric.items()
                if measured(name, self._settings) and self._measures.admit(name)
            },
        )

    def _score_events(
        self, kept: Kept, some: _Identified, without: dict[HalfKey, HalfCounts]
    ) -> list[HalfRows]:
        made = []
        for name, values in kept.batch.numeric.items():
            if not (name.startswith(_SCORES) and measured(name, self._settings)):
                continue
            has_value = np.isfinite(values[some.rows])
            if not has_value.any() or not self._measures.admit(name):
                continue
            some.count_without_id(name, has_value, without)
            chosen = some.chosen & has_value
            made.append(
                score_rows(
                    name,
                    (),
                    salted(some.hashes[chosen], name),
                    some.release[chosen],
                    some.pane_ms[chosen],
                    values[some.rows[chosen]],
                )
            )
        return made


@dataclass(frozen=True, slots=True, eq=False)
class _Identified:
    """Rows of production and of shadows in one batch, as arrays of one length: ``rows`` their
    indices, ``release`` into ``releases``, ``hashes`` of their requests (0 without an id), and
    ``chosen``: those with an id that belong to the share that is paired."""

    releases: tuple[ReleaseKey, ...]
    rows: NDArray[np.int64]
    release: NDArray[np.uint16]
    pane_ms: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    has_id: NDArray[np.bool_]
    chosen: NDArray[np.bool_]

    def count_without_id(
        self, score: str, marks: NDArray[np.bool_], without: dict[HalfKey, HalfCounts]
    ) -> None:
        """Enter the marked rows that have no request id."""
        lone = marks & ~self.has_id
        pairs = zip(self.release[lone].tolist(), self.pane_ms[lone].tolist(), strict=True)
        for release, pane in pairs:
            key = self.releases[release], pane, score
            without[key] = without.get(key, HalfCounts()).merge(HalfCounts(without_id=1))


def _concatenated(releases: tuple[ReleaseKey, ...], parts: Sequence[HalfRows]) -> HalfRows:
    names = sorted({name for part in parts for name in part.measures})
    return HalfRows(
        releases,
        np.concatenate([part.key for part in parts]),
        np.concatenate([part.release for part in parts]),
        np.concatenate([part.pane_ms for part in parts]),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.failed for part in parts]),
        {
            name: np.concatenate(
                [part.measures.get(name, np.full(len(part), np.nan)) for part in parts]
            )
            for name in names
        },
        score=parts[0].score,
    )


def _labels(kept: Kept, rows: NDArray[np.int64]) -> NDArray[np.uint32]:
    column = kept.batch.categorical.get(LABEL)
    if column is None:
        return np.zeros(len(rows), np.uint32)
    hashes = [text_hash(name, 4) or 1 for name in column.categories]
    return np.array([*hashes, 0], np.uint32)[column.codes[rows]]  # code -1 finds the last: none

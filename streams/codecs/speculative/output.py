"""What the kernels wrote, as batches of events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from streams.codecs.columns import STATUS, WRONG, column_of_errors, has_failed
from streams.codecs.placing import NO_VALUE
from streams.codecs.speculative.arrays import MODEL, NO_TS, ROLE, VERSION, Out
from streams.codecs.speculative.templates import Templates
from streams.event import Bounds, Categorical, EventBatch, EventKind

_KINDS = tuple(EventKind)


def new_output(templates: Templates, rows: int, *, keep_ids: bool) -> Out:
    """Room for ``rows`` rows, none of them read."""
    bounds = templates.bounds
    return Out(
        numbers=np.full((max(1, len(templates.numbers)), rows), np.nan),
        codes=np.full((len(templates.texts), rows), NO_VALUE, dtype=np.int32),
        ts_ms=np.full(rows, NO_TS, dtype=np.int64),
        template=np.full(rows, -1, dtype=np.int32),
        source=np.zeros(rows, dtype=np.int64),
        span=np.zeros((rows, 2), dtype=np.int64),
        ids=np.full((rows if keep_ids else 1, 2), -1, dtype=np.int64),
        hits=np.zeros(len(templates.known), dtype=np.int64),
        bounds=np.array([bounds.min_ts_ms, bounds.max_ts_ms], dtype=np.int64),
        keep_ids=np.array([keep_ids], dtype=np.int64),
    )


class Harvest:
    """The rows of one call that were read; ``unread``: the positions of all others, in order."""

    def __init__(
        self,
        out: Out,
        rows: int,
        templates: Templates,
        bounds: Bounds,
        kafka_ts_ms: NDArray[np.int64] | None,
    ) -> None:
        """``kafka_ts_ms``: by row. ``bounds`` give the range of times."""
        templates.vocabulary.absorb()
        self._out = out
        self._rows = rows
        self._templates = templates
        columns = templates.vocabulary.columns
        self._model, self._version, self._role = (
            columns[c].table()[out.codes[c, :rows]] for c in (MODEL, VERSION, ROLE)
        )
        # A row that no template fits has no model either.
        ok = (self._model >= 0) & (self._version != WRONG) & (self._role != WRONG)
        if not all(template.has_ts for template in templates.known):
            ok &= self._put_kafka_times(bounds, kafka_ts_ms)
        self._whole = bool(ok.all())
        self._read = np.flatnonzero(ok)
        self.unread: NDArray[np.int64] = np.flatnonzero(~ok)

    def _put_kafka_times(
        self, bounds: Bounds, kafka_ts_ms: NDArray[np.int64] | None
    ) -> NDArray[np.bool_]:
        ts_ms = self._out.ts_ms[: self._rows]
        if kafka_ts_ms is not None:
            ts_ms[:] = np.where(ts_ms == NO_TS, kafka_ts_ms, ts_ms)
        in_range: NDArray[np.bool_] = (ts_ms >= bounds.min_ts_ms) & (ts_ms <= bounds.max_ts_ms)
        in_range &= ts_ms != NO_TS
        return in_range

    def batches(self, request_ids: Sequence[str | None] | None) -> Iterator[EventBatch]:
        """By model and kind; ``source`` holds positions. ``request_ids``: by row."""
        if not len(self._read):
            return
        kinds = np.array([_KINDS.index(t.kind) for t in self._templates.known], dtype=np.int64)
        keys = self._model.astype(np.int64) * len(_KINDS)
        keys += kinds[self._out.template[: self._rows]]
        keys = keys[self._read]
        if (keys == keys[0]).all():
            yield self._batch(int(keys[0]), self._read, request_ids, whole=self._whole)
            return
        for key in np.unique(keys).tolist():
            yield self._batch(key, self._read[keys == key], request_ids, whole=False)

    def _batch(
        self,
        key: int,
        at: NDArray[np.int64],
        request_ids: Sequence[str | None] | None,
        *,
        whole: bool,
    ) -> EventBatch:
        pick: slice | NDArray[np.int64] = slice(0, self._rows) if whole else at
        model, kind = divmod(key, len(_KINDS))
        release, releases = self._templates.releases.column(self._version[pick], self._role[pick])
        categorical: dict[str, Categorical] = {}
        segments: dict[str, Categorical] = {}
        errors: dict[str, NDArray[np.int64]] = {}
        for where, column in self._templates.text_order:
            segment = where.place == "segments"
            codes = self._out.codes[column, pick]
            texts, wrong = self._templates.vocabulary.columns[column].column(codes)
            if texts is not None:
                (segments if segment else categorical)[where.name] = texts
            if wrong is not None:
                errors[column_of_errors(where.name, segment=segment)] = wrong
        failed = np.zeros(len(at), dtype=np.bool_)
        if _KINDS[kind] is EventKind.PREDICTION:
            failed = has_failed(len(at), categorical.get(STATUS), errors.get(STATUS))
        return EventBatch(
            model=self._templates.vocabulary.columns[MODEL].name(model),
            kind=_KINDS[kind],
            rows=len(at),
            ts_ms=self._out.ts_ms[pick],
            source=at,
            releases=releases,
            release=release,
            failed=failed,
            segments=segments,
            numeric=self._numeric(pick),
            categorical=categorical,
            errors=dict(sorted(errors.items())),
            request_ids=None if request_ids is None else tuple(request_ids[i] for i in at.tolist()),
        )

    def _numeric(self, pick: slice | NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        block = self._out.numbers[:, pick]
        first_absent = np.isnan(block[:, 0]).tolist()
        return {
            name: block[column]
            for name, column in self._templates.number_order
            if not first_absent[column] or not np.isnan(block[column]).all()
        }

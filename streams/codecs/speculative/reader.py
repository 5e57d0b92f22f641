"""Reading messages or lines speculatively: buffers, kernels, learning, and what is left over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors.release import OTHER
from streams.codecs.speculative.arrays import PAD, Out
from streams.codecs.speculative.loading import Kernels
from streams.codecs.speculative.output import Harvest, new_output
from streams.codecs.speculative.template import learn
from streams.codecs.speculative.templates import Templates
from streams.codecs.speculative.vocabulary import text_of
from streams.codecs.text import readable
from streams.event import Bounds, EventBatch

_BUFFER_BYTES = 1 << 20
"""Messages are joined up to this size, so that what was just copied is still in a near cache."""

_FREE_LESSONS = 32
_ROWS_PER_LESSON = 128
_LESSONS_PER_CALL = 4
"""A lesson costs as much as a hundred rows or more. So that messages that are never alike cannot
make learning the main work, lessons are earned by rows."""

_POOR_SHARE = 16
_POOR_ROWS = 4_000
_PAUSE_ROWS = 40_000
"""Where fewer than one row in so many fits, for so many rows, trying is given up for a while."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was read. ``batches`` by model and kind, their ``source`` holds positions of rows;
    ``unread``: positions of the rows that the exact path must read; ``source``: message of every
    row; ``rows``: rows of every message (where these are lines)."""

    batches: tuple[EventBatch, ...]
    unread: NDArray[np.int64]
    raw: Callable[[int], bytes]
    source: NDArray[np.int64]
    rows: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Buffer:
    """Joined messages. ``first``: number of the first one."""

    raw: bytes
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    first: int


@dataclass(frozen=True, slots=True, eq=False)
class _Pass:
    """The kernels' work on one call. ``row_of``: first row of every buffer."""

    out: Out
    rows: int
    unread: int
    row_of: tuple[int, ...]


class SpeculativeReader:
    """Keeps what it learnt of the messages of one topic, and nothing else."""

    def __init__(self, kernels: Callable[[], Kernels | None], *, keep_request_ids: bool) -> None:
        self._kernels = kernels
        self._keep_ids = keep_request_ids
        self._templates: Templates | None = None
        self._lessons = float(_FREE_LESSONS)
        self._poor_rows = 0
        self._pause_rows = 0

    def messages(
        self, values: Sequence[bytes], kafka_ts_ms: NDArray[np.int64] | None, bounds: Bounds
    ) -> Found | None:
        """Every message is a row. None if there is nothing to read them with."""
        kernels = self._ready(len(values))
        if kernels is None or not values:
            return None
        return self._read(kernels, values, len(values), kafka_ts_ms, bounds, lines=False)

    def lines(
        self,
        values: Sequence[bytes],
        most_rows: int,
        kafka_ts_ms: NDArray[np.int64] | None,
        bounds: Bounds,
    ) -> Found | None:
        """Every line that is not blank is a row; there are at most ``most_rows``."""
        kernels = self._ready(most_rows)
        if kernels is None or not values:
            return None
        return self._read(kernels, values, most_rows, kafka_ts_ms, bounds, lines=True)

    def _read(
        self,
        kernels: Kernels,
        values: Sequence[bytes],
        most_rows: int,
        kafka_ts_ms: NDArray[np.int64] | None,
        bounds: Bounds,
        *,
        lines: bool,
    ) -> Found:
        buffers = list(_joined(values))
        rows_of = np.zeros(len(values), dtype=np.int64)

        def run(templates: Templates) -> _Pass:
            out = new_output(templates, most_rows, keep_ids=self._keep_ids)
            row = unread = 0
            row_of = []
            for buffer in buffers:
                row_of.append(row)
                row, unread_here = kernels.read_rows(
                    np.frombuffer(buffer.raw, dtype=np.uint8),
                    buffer.starts,
                    buffer.sizes,
                    lines,
                    buffer.first,
                    row,
                    templates.plan,
                    templates.vocabulary.words,
                    out,
                    rows_of,
                )
                unread += unread_here
            return _Pass(out, row, unread, tuple(row_of))

        return self._found(run, buffers, kafka_ts_ms, bounds, rows_of)

    def _ready(self, rows: int) -> Kernels | None:
        if self._pause_rows > 0:
            self._pause_rows -= rows
            return None
        return self._kernels()

    def _found(
        self,
        run: Callable[[Templates], _Pass],
        buffers: Sequence[_Buffer],
        kafka_ts_ms: NDArray[np.int64] | None,
        bounds: Bounds,
        rows_of: NDArray[np.int64],
    ) -> Found:
        templates = self._begin(bounds)
        done = run(templates)
        self._lessons += done.rows / _ROWS_PER_LESSON
        lessons_here = _LESSONS_PER_CALL
        while done.unread and lessons_here > 0 and self._lessons >= 1:
            unread = np.flatnonzero(done.out.template[: done.rows] < 0)
            changed = False
            # From both ends: templates that share a call then are learnt from both at once.
            for row in dict.fromkeys((int(unread[0]), int(unread[-1]))):
                lessons_here -= 1
                self._lessons -= 1
                template = learn(_raw(done, buffers, row), bounds)
                changed |= template is not None and templates.add(template)
            if not changed:
                break
            done = run(templates)  # all rows, for a lesson changes the columns of the plan
        source = done.out.source[: done.rows]
        templates.used(done.out.hits)
        times = None if kafka_ts_ms is None else kafka_ts_ms[source]
        harvest = Harvest(done.out, done.rows, templates, bounds, times)
        self._judge(done.rows, len(harvest.unread))
        return Found(
            tuple(harvest.batches(self._request_ids(done, buffers, bounds))),
            harvest.unread,
            lambda row: _raw(done, buffers, row),
            source,
            rows_of,
        )

    def _begin(self, bounds: Bounds) -> Templates:
        templates = self._templates
        if templates is None or not _alike(templates.bounds, bounds):
            templates = self._templates = Templates(bounds)
        templates.bounds = bounds
        templates.vocabulary.begin()
        return templates

    def _judge(self, rows: int, unread: int) -> None:
        if (rows - unread) * _POOR_SHARE >= rows:
            self._poor_rows = 0
            return
        self._poor_rows += rows
        if self._poor_rows >= _POOR_ROWS:
            self._poor_rows = 0
            self._pause_rows = _PAUSE_ROWS

    def _request_ids(
        self, done: _Pass, buffers: Sequence[_Buffer], bounds: Bounds
    ) -> list[str | None] | None:
        if not self._keep_ids:
            return None
        ids: list[str | None] = []
        for buffer, first, stop in zip(
            buffers, done.row_of, (*done.row_of[1:], done.rows), strict=True
        ):
            ids += _texts(buffer.raw, done.out.ids[first:stop], bounds.max_name_chars)
        return ids


def _texts(raw: bytes, spans: NDArray[np.int64], limit: int) -> Sequence[str | None]:
    """The request ids at these places. Most are plain: those are looked at all at once."""
    sizes = spans[:, 1] - spans[:, 0]
    plain = raw.isascii() and b"\\" not in raw
    if plain and len(spans) and spans.min() >= 0 and 1 <= sizes.min() <= sizes.max() <= limit:
        text = raw.decode("ascii")
        ids = [text[start:end] for start, end in spans.tolist()]
        together = "".join(ids)
        if together.isprintable() and " " not in together and OTHER not in together:
            return ids
    return [
        readable("" if start < 0 else text_of(raw[start:end]), limit)
        for start, end in spans.tolist()
    ]


def _alike(a: Bounds, b: Bounds) -> bool:
    """Whether templates do not depend on the difference."""
    return replace(a, min_ts_ms=0, max_ts_ms=0) == replace(b, min_ts_ms=0, max_ts_ms=0)


def _joined(values: Sequence[bytes]) -> Iterator[_Buffer]:
    sizes = np.fromiter(map(len, values), dtype=np.int64, count=len(values))
    ends = np.cumsum(sizes + 1)
    first = 0
    while first < len(values):
        before = int(ends[first - 1]) if first else 0
        stop = int(np.searchsorted(ends, before + _BUFFER_BYTES, side="right"))
        stop = max(stop, first + 1)
        starts = ends[first:stop] - before - sizes[first:stop] - 1
        raw = b"\n".join([*values[first:stop], PAD])
        yield _Buffer(raw, starts, sizes[first:stop], first)
        first = stop


def _raw(done: _Pass, buffers: Sequence[_Buffer], row: int) -> bytes:
    place = int(np.searchsorted(done.row_of, row, side="right")) - 1
    start, end = done.out.span[row].tolist()
    return buffers[place].raw[start:end]

"""Halves of pairs: what is sent of an answer so that it can be compared with another one's.

Two answers to one request may come through different partitions and workers, so the worker that
reads an answer sends its half through the topic ``pairs``, to the partition that the request's hash
names. A half is a row of columns: 17 bytes and 8 a measure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass
from fnmatch import fnmatchcase

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.pairs import HalfCounts
from detectors.release import OTHER, Role
from streams.cardinality import Names
from streams.event import EventKind
from streams.kept_rows import Kept, ModelRows
from streams.pair_settings import PairSettings
from streams.request_hash import request_hashes, text_hash
from streams.wire import VERSION, Unreadable

LABEL = "prediction.label"
MAX_RECORD_BYTES = 400_000
"""Of columns; so that no record nears the broker's limit of 1 MB."""

ReleaseKey = tuple[str, Role]
PaneKey = tuple[ReleaseKey, int]
"""A release and the start of a pane."""


class Halves(msgspec.Struct, array_like=True, frozen=True, tag="halves"):
    """A record of the topic ``pairs``: halves of one model in the order in which they were read.

    Columns are little-endian bytes of one length: ``key`` uint64, the hash of the request;
    ``release`` and ``pane`` uint16, indices into ``releases`` and ``panes``; ``label`` uint32, a
    hash, 0 for none; ``failed`` uint8; ``measures`` float64, NaN for no value. ``wall_ms``: when
    they were sent.
    """

    model: str
    wall_ms: int
    releases: tuple[ReleaseKey, ...]
    panes: tuple[int, ...]
    key: bytes
    release: bytes
    pane: bytes
    label: bytes
    failed: bytes
    measures: dict[str, bytes]


@dataclass(frozen=True, slots=True, eq=False)
class HalfRows:
    """Halves as arrays of one length; see :class:`Halves`. ``pane_ms``: start of the pane."""

    releases: tuple[ReleaseKey, ...]
    key: NDArray[np.uint64]
    release: NDArray[np.uint16]
    pane_ms: NDArray[np.int64]
    label: NDArray[np.uint32]
    failed: NDArray[np.uint8]
    measures: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.key)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Halves)


def decode_halves(value: bytes | None) -> tuple[Halves, HalfRows]:
    """A record and its columns (views of ``value``); :class:`Unreadable` if it is not one."""
    if not value or value[0] != VERSION:
        raise Unreadable("not halves of this version of driftline")
    try:
        halves = _decoder.decode(memoryview(value)[1:])
        rows = HalfRows(
            halves.releases,
            np.frombuffer(halves.key, "<u8"),
            np.frombuffer(halves.release, "<u2"),
            np.array(halves.panes, np.int64)[np.frombuffer(halves.pane, "<u2")],
            np.frombuffer(halves.label, "<u4"),
            np.frombuffer(halves.failed, "u1"),
            {name: np.frombuffer(column, "<f8") for name, column in halves.measures.items()},
        )
    except (
        msgspec.DecodeError,
        IndexError,
        OverflowError,
        RecursionError,
        ValueError,
    ) as error:
        raise Unreadable(f"not halves: {type(error).__name__}") from error
    heads: tuple[Sized, ...] = (rows.release, rows.pane_ms, rows.label, rows.failed)
    columns = (*heads, *rows.measures.values())
    if any(len(column) != len(rows) for column in columns):
        raise Unreadable("halves whose columns have unlike lengths")
    if len(rows) and int(rows.release.max()) >= len(rows.releases):
        raise Unreadable("halves of a release that they do not name")
    return halves, rows


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
    ) -> tuple[HalfRows | None, dict[PaneKey, HalfCounts]]:
        """The halves of predictions of production and of shadows, and counts of those that have no
        request id. Batches decoded without ids give nothing."""
        releases: dict[ReleaseKey, int] = {}
        without: dict[PaneKey, HalfCounts] = {}
        parts = [
            part
            for kept in rows.parts
            if (part := self._part(kept, rows.versions.fold, pane_ms, releases, without))
        ]
        if not parts:
            return None, without
        names = sorted({name for part in parts for name in part.measures})
        together = HalfRows(
            tuple(releases),
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
        )
        return together, without

    def _part(
        self,
        kept: Kept,
        fold: Callable[[str], str],
        pane_ms: int,
        releases: dict[ReleaseKey, int],
        without: dict[PaneKey, HalfCounts],
    ) -> HalfRows | None:
        batch = kept.batch
        if batch.kind is not EventKind.PREDICTION or batch.request_ids is None:
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
        start = batch.ts_ms[rows] - batch.ts_ms[rows] % pane_ms
        ids = [batch.request_ids[row] for row in rows.tolist()]
        if None in ids:
            has_id = np.array([text is not None for text in ids])
            for row, pane in zip(rows[~has_id].tolist(), start[~has_id].tolist(), strict=True):
                key = folded[batch.release[row]], pane
                without[key] = without.get(key, HalfCounts()).merge(HalfCounts(without_id=1))
            rows, start = rows[has_id], start[has_id]
        hashes = request_hashes(self._model, [text for text in ids if text is not None])
        chosen = hashes <= self._below
        if not chosen.all():
            rows, start, hashes = rows[chosen], start[chosen], hashes[chosen]
        if not len(rows):
            return None
        return HalfRows(
            (),
            hashes,
            code[batch.release[rows]],
            start,
            _labels(kept, rows),
            batch.failed[rows].astype(np.uint8),
            {
                name: values[rows]
                for name, values in batch.numeric.items()
                if measured(name, self._settings) and self._measures.admit(name)
            },
        )


def _labels(kept: Kept, rows: NDArray[np.int64]) -> NDArray[np.uint32]:
    column = kept.batch.categorical.get(LABEL)
    if column is None:
        return np.zeros(len(rows), np.uint32)
    hashes = [text_hash(name, 4) or 1 for name in column.categories]
    return np.array([*hashes, 0], np.uint32)[column.codes[rows]]  # code -1 finds the last: none


def split_halves(
    model: str, wall_ms: int, rows: HalfRows, partitions: int
) -> Iterator[tuple[int, bytes]]:
    """Records of the topic ``pairs`` and the partitions they go to; in a partition the halves keep
    their order."""
    partition = rows.key % np.uint64(partitions)
    order = np.argsort(partition, kind="stable")
    ends = np.searchsorted(partition[order], np.arange(1, partitions + 1).astype(np.uint64))
    most = max(MAX_RECORD_BYTES // (17 + 8 * len(rows.measures)), 1)
    at = 0
    for number, end in enumerate(ends.tolist()):
        while at < end:
            some = order[at : min(end, at + most)]
            at += len(some)
            panes, pane = np.unique(rows.pane_ms[some], return_inverse=True)
            halves = Halves(
                model,
                wall_ms,
                rows.releases,
                tuple(panes.tolist()),
                rows.key[some].astype("<u8").tobytes(),
                rows.release[some].astype("<u2").tobytes(),
                pane.astype("<u2").tobytes(),
                rows.label[some].astype("<u4").tobytes(),
                rows.failed[some].tobytes(),
                {name: v[some].astype("<f8").tobytes() for name, v in rows.measures.items()},
            )
            yield number, bytes((VERSION,)) + _encoder.encode(halves)

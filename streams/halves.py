"""Halves of pairs: what is sent of an answer so that it can be compared with another one's.

Two answers to one request may come through different partitions and workers, so the worker that
reads an answer sends its half through the topic ``pairs``, to the partition that the request's hash
names. A half is a row of columns: 17 bytes and 8 a measure.

A score that comes as an event of its own is a half of its own, 20 bytes: its hash is salted by the
score's name, so that it meets the same score of the other side and nothing else, whatever scores
an event holds and in how many events they come.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.release import Role
from streams.wire import VERSION, Unreadable

MAX_RECORD_BYTES = 400_000
"""Of columns; so that no record nears the broker's limit of 1 MB."""

ReleaseKey = tuple[str, Role]


class Halves(msgspec.Struct, array_like=True, frozen=True, tag="halves"):
    """A record of the topic ``pairs``: answers of one model in the order in which they were read.

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


class ScoreHalves(msgspec.Struct, array_like=True, frozen=True, tag="scores"):
    """A record of the topic ``pairs``: the values of one ``score`` that came as events of their
    own; ``value`` float64, the rest as in :class:`Halves`, but ``key`` is salted by the score. A
    worker that does not know this kind of record refuses it, and so never counts it as answers."""

    model: str
    wall_ms: int
    releases: tuple[ReleaseKey, ...]
    panes: tuple[int, ...]
    score: str
    key: bytes
    release: bytes
    pane: bytes
    value: bytes


@dataclass(frozen=True, slots=True, eq=False)
class HalfRows:
    """Halves as arrays of one length; see :class:`Halves`. ``pane_ms``: start of the pane;
    ``score``: the one that came as events of its own, which then is the only measure; "" for
    answers."""

    releases: tuple[ReleaseKey, ...]
    key: NDArray[np.uint64]
    release: NDArray[np.uint16]
    pane_ms: NDArray[np.int64]
    label: NDArray[np.uint32]
    failed: NDArray[np.uint8]
    measures: Mapping[str, NDArray[np.float64]]
    score: str = ""

    def __len__(self) -> int:
        return len(self.key)


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Halves | ScoreHalves] = msgspec.msgpack.Decoder(
    Halves | ScoreHalves
)


def decode_halves(value: bytes | None) -> tuple[Halves | ScoreHalves, HalfRows]:
    """A record and its columns (views of ``value``); :class:`Unreadable` if it is not one."""
    if not value or value[0] != VERSION:
        raise Unreadable("not halves of this version of driftline")
    try:
        halves = _decoder.decode(memoryview(value)[1:])
        key = np.frombuffer(halves.key, "<u8")
        release = np.frombuffer(halves.release, "<u2")
        pane_ms = np.array(halves.panes, np.int64)[np.frombuffer(halves.pane, "<u2")]
        if isinstance(halves, ScoreHalves):
            values = np.frombuffer(halves.value, "<f8")
            rows = score_rows(halves.score, halves.releases, key, release, pane_ms, values)
        else:
            rows = HalfRows(
                halves.releases,
                key,
                release,
                pane_ms,
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


def score_rows(
    score: str,
    releases: tuple[ReleaseKey, ...],
    key: NDArray[np.uint64],
    release: NDArray[np.uint16],
    pane_ms: NDArray[np.int64],
    values: NDArray[np.float64],
) -> HalfRows:
    """Halves of one score that came as events of its own: they have no label and did not fail."""
    no_label, not_failed = np.zeros(len(key), np.uint32), np.zeros(len(key), np.uint8)
    return HalfRows(
        releases, key, release, pane_ms, no_label, not_failed, {score: values}, score=score
    )


def split_halves(
    model: str, wall_ms: int, rows: HalfRows, partitions: int
) -> Iterator[tuple[int, bytes]]:
    """Records of the topic ``pairs`` and the partitions they go to; in a partition the halves keep
    their order."""
    partition = rows.key % np.uint64(partitions)
    order = np.argsort(partition, kind="stable")
    ends = np.searchsorted(partition[order], np.arange(1, partitions + 1).astype(np.uint64))
    width = 20 if rows.score else 17 + 8 * len(rows.measures)
    most = max(MAX_RECORD_BYTES // width, 1)
    at = 0
    for number, end in enumerate(ends.tolist()):
        while at < end:
            some = order[at : min(end, at + most)]
            at += len(some)
            yield number, bytes((VERSION,)) + _encoder.encode(_packed(model, wall_ms, rows, some))


def _packed(
    model: str, wall_ms: int, rows: HalfRows, some: NDArray[np.int64]
) -> Halves | ScoreHalves:
    panes, pane = np.unique(rows.pane_ms[some], return_inverse=True)
    key = rows.key[some].astype("<u8").tobytes()
    release = rows.release[some].astype("<u2").tobytes()
    pane_index = pane.astype("<u2").tobytes()
    measures = {name: v[some].astype("<f8").tobytes() for name, v in rows.measures.items()}
    if rows.score:
        return ScoreHalves(
            model,
            wall_ms,
            rows.releases,
            tuple(panes.tolist()),
            rows.score,
            key,
            release,
            pane_index,
            measures[rows.score],
        )
    return Halves(
        model,
        wall_ms,
        rows.releases,
        tuple(panes.tolist()),
        key,
        release,
        pane_index,
        rows.label[some].astype("<u4").tobytes(),
        rows.failed[some].tobytes(),
        measures,
    )

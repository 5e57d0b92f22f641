"""A canary's state as bytes: the same state gives the same bytes, on any machine.

Who is judged changes rarely and is equal for many releases: it is written and read once and then
remembered. What changes with every pane is arrays, written as they are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.canary import CanaryState
from detectors.canary_cast import TAIL_CELLS, Basis, Cast, Part, cast_of
from detectors.canary_ledger import Ledger, Tallies
from detectors.canary_rows import Row
from detectors.canary_rules import Measure
from detectors.canary_sequences import Sequences
from detectors.canary_wealth import Wealth
from detectors.dispersion import Dispersion
from detectors.sample_ratio import SampleRatio

FORMAT = 2


class UnreadableState(ValueError):
    """The bytes are not a canary's state of this format: replay the panes to rebuild it."""


class _Part(msgspec.Struct, array_like=True):
    column: str
    measure: Measure
    alpha: float
    # As bytes: an array of numbers would take one byte more for each.
    shares: bytes | None
    edges: bytes = b""
    categories: tuple[str, ...] = ()
    shrink: float = 1.0


class _State(msgspec.Struct, array_like=True):
    format: int
    cast: bytes
    bets: tuple[int, ...]
    # Many bets began to win at the same few times.
    onsets: tuple[int, ...]
    onset_of: bytes
    arrays: tuple[bytes, ...]
    split: SampleRatio
    panes: int
    one_sided: int
    late: int


def to_bytes(state: CanaryState) -> bytes:
    """The state; :func:`from_bytes` reads it back bit for bit."""
    ledger = state.ledger
    onsets, onset_of = np.unique(ledger.wealth.onset_ms, return_inverse=True)
    record = _State(
        FORMAT,
        _cast_bytes(ledger.cast),
        tuple(ledger.bets.tolist()),
        tuple(onsets.tolist()),
        onset_of.astype(_index_type(len(onsets))).tobytes(),
        tuple(array.astype(kind).tobytes() for array, kind, _ in _arrays(ledger)),
        state.split,
        state.panes,
        state.one_sided,
        state.late,
    )
    return msgspec.msgpack.encode(record)


def from_bytes(data: bytes) -> CanaryState:
    """The inverse of :func:`to_bytes`; raises :class:`UnreadableState`."""
    try:
        record = msgspec.msgpack.decode(data, type=_State)
        if record.format != FORMAT:
            raise UnreadableState(f"format {record.format}, {FORMAT} is read here")
        ledger = _ledger(record, _cast(record.cast))
    except (msgspec.MsgspecError, ValueError, IndexError, OverflowError) as error:
        raise UnreadableState(f"a canary's state cannot be read: {error}") from error
    return CanaryState(Row(ledger), record.split, record.panes, record.one_sided, record.late)


_KINDS = {np.dtype(np.int64): "<i8", np.dtype(np.float64): "<f8"}


def _arrays(ledger: Ledger) -> list[tuple[NDArray[Any], str, str]]:
    """All arrays but the onsets of bets, how they are written, and what they are long as."""
    wealth = ledger.wealth
    by_part: list[NDArray[Any]] = [
        wealth.panes,
        wealth.evidence,
        wealth.peak,
        wealth.peak_onset_ms,
        ledger.learnt,
        *(getattr(ledger.dispersion, one.name) for one in fields(Dispersion)),
        *(getattr(ledger.tallies, one.name) for one in fields(Tallies)),
        *(getattr(ledger.sequences, one.name) for one in fields(Sequences)),
    ]
    return [
        (array, _KINDS[array.dtype], size)
        for size, arrays in (
            ("bets", [wealth.log_wealth]),
            ("parts", by_part),
            ("shares", [ledger.cases, ledger.usual]),
        )
        for array in arrays
    ]


_WRITTEN = tuple((kind, size) for _, kind, size in _arrays(CanaryState().ledger))


def _ledger(record: _State, cast: Cast) -> Ledger:
    bets = np.array(record.bets, np.int64)
    if (bets < 0).any():
        raise UnreadableState("a measure has less than no bets")
    sizes = {
        "bets": int(bets.sum()),
        "parts": len(cast.parts),
        "shares": len(cast.held_owner),
    }
    onset_of = np.frombuffer(record.onset_of, _index_type(len(record.onsets)))
    expected = [sizes[size] for _, size in _WRITTEN]
    found = [np.frombuffer(data, "<i8") for data in record.arrays]
    if expected != [len(one) for one in found] or len(onset_of) != sizes["bets"]:
        raise UnreadableState("its arrays have unlike lengths")
    if len(bets) != len(cast.parts):
        raise UnreadableState("it has bets on unknown measures")
    onset_ms = np.array(record.onsets, np.int64)[onset_of]
    arrays: Iterator[NDArray[Any]] = iter(
        [
            np.frombuffer(data, kind).astype(np.int64 if kind == "<i8" else np.float64)
            for data, (kind, _) in zip(record.arrays, _WRITTEN, strict=True)
        ]
    )
    log_wealth = next(arrays)
    wealth = Wealth(log_wealth, onset_ms, next(arrays), next(arrays), next(arrays), next(arrays))
    learnt = next(arrays)
    return Ledger(
        cast,
        bets,
        wealth,
        Dispersion(*(next(arrays) for _ in fields(Dispersion))),
        learnt,
        Tallies(*(next(arrays) for _ in fields(Tallies))),
        Sequences(*(next(arrays) for _ in fields(Sequences))),
        next(arrays),
        next(arrays),
    )


def _index_type(different: int) -> str:
    return "<u1" if different <= 1 << 8 else "<u2" if different <= 1 << 16 else "<u4"


@lru_cache(maxsize=512)
def _cast_bytes(cast: Cast) -> bytes:
    return msgspec.msgpack.encode(
        [
            _Part(part.column, part.measure, part.alpha, None)
            if part.basis is None
            else _Part(
                part.column,
                part.measure,
                part.alpha,
                _packed(part.basis.shares),
                _packed(part.basis.edges),
                part.basis.categories,
                part.basis.shrink,
            )
            for part in cast.parts
        ]
    )


@lru_cache(maxsize=512)
def _cast(data: bytes) -> Cast:
    """Remembered by its bytes: equal casts are one object."""
    parts = tuple(
        Part(
            one.column,
            one.measure,
            one.alpha,
            None
            if one.shares is None
            else Basis(_unpacked(one.shares), _unpacked(one.edges), one.categories, one.shrink),
        )
        for one in msgspec.msgpack.decode(data, type=list[_Part])
    )
    if any(part.basis is not None and not part.basis.shares for part in parts):
        raise UnreadableState("a measure has no cells")
    if any(
        part.measure is Measure.TAIL and part.basis is not None and part.cells != TAIL_CELLS
        for part in parts
    ):
        raise UnreadableState(f"a tail does not have the {TAIL_CELLS} cells that are counted here")
    return cast_of(parts)


def _packed(numbers: tuple[float, ...]) -> bytes:
    return np.array(numbers, "<f8").tobytes()


def _unpacked(data: bytes) -> tuple[float, ...]:
    return tuple(np.frombuffer(data, "<f8").tolist())

"""A canary's state as bytes: the same state gives the same bytes, on any machine."""

from __future__ import annotations

import msgspec
import numpy as np

from detectors.canary import CanaryState
from detectors.canary_cells import Basis
from detectors.canary_metric import CanaryMetric, Tally
from detectors.canary_rules import Measure
from detectors.confidence_sequence import DifferenceSequence
from detectors.dispersion import Dispersion
from detectors.e_process import EProcess
from detectors.sample_ratio import SampleRatio

FORMAT = 1


class UnreadableState(ValueError):
    """The bytes are not a canary's state of this format: replay the panes to rebuild it."""


class _Wealth(msgspec.Struct, array_like=True):
    log_part: bytes
    log_wealth: bytes
    onset_ms: bytes
    panes: int
    # As bytes too: minus infinity has no JSON-like form everywhere, and bits must survive.
    numbers: bytes
    peak_onset_ms: int


class _Metric(msgspec.Struct, array_like=True):
    column: str
    measure: Measure
    alpha: float
    basis: Basis | None
    wealth: _Wealth
    dispersion: Dispersion
    shown: DifferenceSequence
    held: tuple[DifferenceSequence, ...]
    tally: Tally
    unmatched: int
    first_ms: int
    last_ms: int


class _State(msgspec.Struct, array_like=True):
    format: int
    metrics: tuple[_Metric, ...]
    split: SampleRatio
    panes: int
    one_sided: int
    late: int


def to_bytes(state: CanaryState) -> bytes:
    """The state; :func:`from_bytes` reads it back bit for bit."""
    metrics = tuple(
        _Metric(
            one.column,
            one.measure,
            one.alpha,
            one.basis,
            _packed(one.wealth),
            one.dispersion,
            one.shown,
            one.held,
            one.tally,
            one.unmatched,
            one.first_ms,
            one.last_ms,
        )
        for one in state.metrics
    )
    record = _State(FORMAT, metrics, state.split, state.panes, state.one_sided, state.late)
    return msgspec.msgpack.encode(record)


def from_bytes(data: bytes) -> CanaryState:
    """The inverse of :func:`to_bytes`; raises :class:`UnreadableState`."""
    try:
        record = msgspec.msgpack.decode(data, type=_State)
        if record.format != FORMAT:
            raise UnreadableState(f"format {record.format}, {FORMAT} is read here")
        metrics = tuple(
            CanaryMetric(
                one.column,
                one.measure,
                one.alpha,
                one.basis,
                _unpacked(one.wealth),
                one.dispersion,
                one.shown,
                one.held,
                one.tally,
                one.unmatched,
                one.first_ms,
                one.last_ms,
            )
            for one in record.metrics
        )
    except (msgspec.MsgspecError, ValueError) as error:
        raise UnreadableState(f"a canary's state cannot be read: {error}") from error
    return CanaryState(metrics, record.split, record.panes, record.one_sided, record.late)


def _packed(wealth: EProcess) -> _Wealth:
    return _Wealth(
        wealth.log_part.astype("<f8").tobytes(),
        wealth.log_wealth.astype("<f8").tobytes(),
        wealth.onset_ms.astype("<i8").tobytes(),
        wealth.panes,
        np.array((wealth.evidence, wealth.peak), dtype="<f8").tobytes(),
        wealth.peak_onset_ms,
    )


def _unpacked(packed: _Wealth) -> EProcess:
    evidence, peak = np.frombuffer(packed.numbers, "<f8").tolist()
    log_part = np.frombuffer(packed.log_part, "<f8").astype(np.float64)
    log_wealth = np.frombuffer(packed.log_wealth, "<f8").astype(np.float64)
    onset_ms = np.frombuffer(packed.onset_ms, "<i8").astype(np.int64)
    if not len(log_part) == len(log_wealth) == len(onset_ms):
        raise UnreadableState("its bets have unlike lengths")
    return EProcess(
        log_part, log_wealth, onset_ms, packed.panes, evidence, peak, packed.peak_onset_ms
    )

"""Laws of drift detection, whatever is counted."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.budget import Budget, Stream, observe, weights
from detectors.cells import Aspect, Cells, Family, Watch
from detectors.drift import step
from detectors.drift_settings import BurstBound, DriftSettings, FalseAlarms
from detectors.drift_state import empty_state, from_bytes, masses, to_bytes
from detectors.layout import Kind
from detectors.payoffs import Payoffs, dictionary_of, normal_without_panes, payoffs
from detectors.release import ALL, Role

PANE = 10_000
SIZES = {Family.ORDERED: 6, Family.TAILED: 20, Family.NAMED: 5, Family.RATES: 3}
WATCHES = tuple(
    Watch(
        family.value,
        Kind.NUMERIC,
        Aspect.VALUES,
        family,
        size,
        tuple(map(str, range(size))) if family in (Family.NAMED, Family.RATES) else (),
    )
    for family, size in SIZES.items()
)
WIDTH = sum(SIZES.values())
DICTIONARY = dictionary_of(Cells.of("", WATCHES, ()))
COUNT = st.one_of(st.just(0), st.integers(0, 50), st.integers(0, 10**6), st.just(2**53))
COUNTS = st.lists(COUNT, min_size=WIDTH, max_size=WIDTH).map(lambda c: np.array(c, np.float64))
LOOSE = DriftSettings(FalseAlarms(1, 10**7), min_reference_rows=1)


def paid_for(reference: NDArray[np.float64], chosen: DriftSettings = LOOSE) -> Payoffs:
    return payoffs(normal_without_panes(DICTIONARY, reference), 0, chosen)


@given(reference=COUNTS, panes=st.lists(COUNTS, max_size=4), weight=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_masses_stay_finite_and_below_the_alarm(
    reference: NDArray[np.float64], panes: list[NDArray[np.float64]], weight: float
) -> None:
    paid, state = paid_for(reference), empty_state(DICTIONARY)
    for at, counts in enumerate(panes):
        state = step(state, paid, counts, weight, at * PANE, PANE, LOOSE).state
        assert np.isfinite(state.mass).all()
        assert (state.mass >= 0).all()
        assert (masses(state, DICTIONARY) < LOOSE.false_alarms.between_ms).all()


@given(
    reference=COUNTS,
    pull=st.lists(st.floats(-1, 1), min_size=WIDTH, max_size=WIDTH),
    effect=st.floats(0, 0.3),
)
@settings(max_examples=60, deadline=None)
def test_no_bet_gains_under_any_law_within_the_minimum_effect(
    reference: NDArray[np.float64], pull: list[float], effect: float
) -> None:
    paid = paid_for(
        reference, DriftSettings(minimum_effect=effect, tolerance=0.0, min_reference_rows=1)
    )
    starts = DICTIONARY.cells.starts
    for w, start in enumerate(starts[:-1].tolist()):
        law = paid.law[start : starts[w + 1]]
        towards = np.array(pull[start : starts[w + 1]])
        towards = towards - (towards * law).sum()
        size = np.sqrt((towards * towards * law).sum())
        if size > 0:
            # A law at a chi-square distance of effect**2, or nearer where a share would go below 0.
            scale = min(effect / size, 1 / max(-towards.min(), 1e-300))
            law = law * (1 + scale * towards)
            law = law / law.sum()
        for bets, logs in own_bets(paid, w):
            assert bets
            assert (np.exp(logs) @ law).max() <= 1 + 1e-9


def own_bets(paid: Payoffs, w: int) -> list[tuple[int, NDArray[np.float64]]]:
    """The bets of one watch as ``ln w``, float64 [bets, cells]."""
    starts = DICTIONARY.cells.starts
    size = int(starts[w + 1] - starts[w])
    found: list[tuple[int, NDArray[np.float64]]] = []
    for (_, members, _), (_, logs) in zip(DICTIONARY.blocks, paid.blocks, strict=True):
        mine = np.flatnonzero(members == w).tolist()
        found += [(logs.shape[2], logs[i, :size].T) for i in mine]
    span = slice(DICTIONARY.named, DICTIONARY.experts)
    own = np.flatnonzero(DICTIONARY.watch_of[span] == w)
    if len(own):
        cells = DICTIONARY.cell_of[span][own] - starts[w]
        on_cells = np.repeat(paid.miss[own][:, None], size, axis=1)
        on_cells[np.arange(len(own)), cells] = paid.hit[own]
        found.append((len(own), on_cells))
    return found


@given(reference=COUNTS, panes=st.lists(COUNTS, min_size=2, max_size=5), cut=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_replay_equals_live_through_a_restart(
    reference: NDArray[np.float64], panes: list[NDArray[np.float64]], cut: int
) -> None:
    paid = paid_for(reference)
    live = restarted = empty_state(DICTIONARY)
    for at, counts in enumerate(panes):
        if at == cut:
            restarted = from_bytes(to_bytes(restarted, DICTIONARY), DICTIONARY)
            again = paid_for(reference)
        else:
            again = paid
        live = step(live, paid, counts, 0.7, at * PANE, PANE, LOOSE).state
        restarted = step(restarted, again, counts, 0.7, at * PANE, PANE, LOOSE).state
    assert to_bytes(live, DICTIONARY) == to_bytes(restarted, DICTIONARY)


@given(reference=COUNTS, counts=COUNTS)
@settings(max_examples=30, deadline=None)
def test_a_bounded_pane_brings_at_most_half_of_what_an_alarm_takes(
    reference: NDArray[np.float64], counts: NDArray[np.float64]
) -> None:
    bounded = DriftSettings(FalseAlarms(1, 10**9), burst_bound=BurstBound.ALWAYS)
    paid = paid_for(reference, bounded)
    took = step(empty_state(DICTIONARY), paid, counts, 1.0, 0, PANE, bounded)
    assert not took.alarms


PLACES = st.builds(
    Stream,
    st.sampled_from(["1", "2", "3"]),
    st.sampled_from(Role),
    st.sampled_from([ALL, "a=1", "a=2", "b=1"]),
)


@given(st.lists(st.tuples(st.integers(0, 100), st.lists(PLACES, max_size=6)), max_size=20))
def test_weights_are_set_before_the_pane_and_sum_to_at_most_one(
    panes: list[tuple[int, list[Stream]]],
) -> None:
    budget = Budget()
    for start, streams in panes:
        shares = weights(budget, start, idle_after_ms=30)
        assert sum(shares.values()) <= 1 + 1e-12
        assert all(share > 0 for share in shares.values())
        budget = observe(budget, streams, start + 1, idle_after_ms=30)
        assert weights(budget, start, idle_after_ms=30).keys() <= shares.keys()

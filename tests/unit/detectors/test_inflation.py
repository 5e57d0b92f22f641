"""What the reference's panes teach: slots, inflation, and whether a column may be armed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detectors.cells import Aspect, Cells, Family, Watch
from detectors.drift import step
from detectors.drift_settings import DriftSettings, FalseAlarms
from detectors.drift_state import empty_state
from detectors.inflation import Panes, learn, measure, replay
from detectors.layout import Kind
from detectors.payoffs import Basis, dictionary_of, payoffs
from detectors.season import Season

PANE = 3_600_000
LAW = np.full(10, 0.1)
WATCHES = (
    Watch("steady", Kind.NUMERIC, Aspect.VALUES, Family.ORDERED, 10),
    Watch("rate", Kind.NUMERIC, Aspect.PRESENCE, Family.RATES, 2, ("present", "missing")),
)
DICTIONARY = dictionary_of(Cells.of("", WATCHES, ()))
SETTINGS = DriftSettings(min_reference_rows=100)


def shifted(by: float) -> NDArray[np.float64]:
    law = LAW * np.exp(by * np.linspace(-1.5, 1.5, 10))
    return np.asarray(law / law.sum())


def panes(scatter: float, rows: int = 200, number: int = 400, seed: int = 1) -> Panes:
    """Panes whose law wanders, each for itself, by ``scatter`` standard deviations."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((number, 12))
    for at in range(number):
        counts[at, :10] = rng.multinomial(rows, shifted(scatter * rng.normal()))
        counts[at, 10:] = rng.multinomial(rows, [0.95, 0.05])
    return Panes(counts, np.arange(number, dtype=np.int64) * PANE, PANE)


def test_independent_rows_are_recognised_and_keep_the_theorem() -> None:
    normal = learn(DICTIONARY, panes(0.0), SETTINGS)
    assert normal.basis == (Basis.THEOREM, Basis.THEOREM)
    assert (normal.inflation == 1).all()
    assert normal.unarmed == (False, False)


def test_panes_that_lean_together_deflate_the_evidence_of_their_own_column_only() -> None:
    normal = learn(DICTIONARY, panes(0.3), SETTINGS)
    assert normal.basis == (Basis.REPLAY, Basis.THEOREM)
    steady = normal.inflation[DICTIONARY.watch_of == 0]
    assert steady.max() > 10  # 1 + 200 rows * .3**2
    assert (normal.inflation[DICTIONARY.watch_of == 1] == 1).all()


def test_slow_waves_are_seen_although_each_pane_looks_independent_of_the_next() -> None:
    quiet = panes(0.0, number=800)
    counts = quiet.counts.copy()
    rng = np.random.default_rng(5)
    for at in range(800):
        counts[at, :10] = rng.multinomial(200, shifted(0.12 * np.sin(at / 15)))
    normal = measure(DICTIONARY, replace(quiet, counts=counts), SETTINGS)
    # One pane alone varies by 1 + 200 * .12**2 / 2, about 2.4; batches show far more.
    assert normal.inflation[DICTIONARY.watch_of == 0].max() > 10


def test_inflation_grows_with_the_rows_of_a_pane() -> None:
    normal = measure(DICTIONARY, panes(0.3), SETTINGS)
    paid = payoffs(normal, 0, replace(SETTINGS, false_alarms=FalseAlarms(1, 10**13)))
    rng = np.random.default_rng(2)
    wandering = [rng.multinomial(20_000, shifted(0.3 * rng.normal())) for _ in range(300)]
    state, alarms = empty_state(DICTIONARY), 0
    for at, drawn in enumerate(wandering):
        counts = np.concatenate((drawn, [19_000, 1_000])).astype(np.float64)
        took = step(state, paid, counts, 1.0, at * PANE, PANE, SETTINGS)
        state, alarms = took.state, alarms + len(took.alarms)
    assert alarms <= 1


def test_with_few_panes_independence_stays_unchecked() -> None:
    normal = learn(DICTIONARY, panes(0.0, number=20), SETTINGS)
    assert normal.basis == (Basis.UNCHECKED, Basis.UNCHECKED)
    assert (normal.inflation == 1).all()


def test_seasons_become_slots_and_no_drift() -> None:
    settings = replace(SETTINGS, season=Season.HOUR_OF_DAY, false_alarms=FalseAlarms(1, 300 * PANE))
    rng = np.random.default_rng(3)

    def day(at: int) -> NDArray[np.float64]:
        law = shifted(0.8 if at % 24 < 12 else -0.8)
        drawn = (rng.multinomial(500, law), rng.multinomial(500, [0.95, 0.05]))
        return np.concatenate(drawn).astype(np.float64)

    past = Panes(np.stack([day(at) for at in range(720)]), np.arange(720) * PANE, PANE)
    normal = learn(DICTIONARY, past, settings)
    assert normal.counts.shape[0] == 24
    paid = [payoffs(normal, slot, settings) for slot in range(24)]
    state, alarms = empty_state(DICTIONARY), 0
    for at in range(720, 1020):
        took = step(state, paid[at % 24], day(at), 1.0, at * PANE, PANE, settings)
        state, alarms = took.state, alarms + len(took.alarms)
    assert alarms == 0
    # The law of the day, shown at night, is drift: slots are what makes the difference.
    for at in range(1020, 1080):
        took = step(state, paid[(at + 12) % 24], day(at), 1.0, at * PANE, PANE, settings)
        state, alarms = took.state, alarms + len(took.alarms)
    assert alarms > 0


def test_halves_that_differ_are_not_armed_or_are_deflated_until_calm() -> None:
    early, late = panes(0.0, number=100), panes(0.0, number=100, seed=2)
    counts = np.concatenate((early.counts, late.counts))
    counts[100:, 10:] = [20.0, 180.0]
    broken = Panes(counts, np.arange(200, dtype=np.int64) * PANE, PANE)
    factors, unarmed = replay(DICTIONARY, broken, replace(SETTINGS, replay_rounds=1))
    assert factors[0] == 1
    assert factors[1] > 1
    assert unarmed.tolist() == [False, True]
    normal = learn(DICTIONARY, broken, replace(SETTINGS, replay_rounds=1))
    assert payoffs(normal, 0, SETTINGS).reasons[1].startswith("a replay of the reference")


def test_panes_without_rows_teach_nothing_and_raise_nothing() -> None:
    empty = Panes(np.zeros((100, 12)), np.arange(100, dtype=np.int64) * PANE, PANE)
    normal = learn(DICTIONARY, empty, SETTINGS)
    assert normal.basis == (Basis.UNCHECKED, Basis.UNCHECKED)
    assert all("0 rows" in reason for reason in payoffs(normal, 0, SETTINGS).reasons)

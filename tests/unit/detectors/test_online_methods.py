"""The methods written out here against the library that people know them from, value by value."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from river import drift
from river.drift import binary
from scipy import stats

from detectors.online_adwin import Memory, readable, update
from detectors.online_bounds import _largest_gap, _steps_needed, hddm_a, hddm_w, kswin
from detectors.online_charts import ddm, eddm, page_hinkley
from detectors.online_rules import ALGORITHMS, Method

Update = Callable[[Memory, float, dict[str, float]], tuple[Memory, bool, float]]

ADWIN = dict(ALGORITHMS[Method.ADWIN].defaults)


def numbers(rng: random.Random, count: int) -> list[float]:
    return [rng.gauss(0, 1) + (0.7 if at > count // 2 else 0.0) for at in range(count)]


def bits(rng: random.Random, count: int) -> list[float]:
    return [float(rng.random() < (0.3 if at > count // 2 else 0.1)) for at in range(count)]


def rates(rng: random.Random, count: int) -> list[float]:
    chances = (0.7 if at > count // 2 else 0.1 for at in range(count))
    return [sum(rng.random() < chance for _ in range(20)) / 20 for chance in chances]


def alarms_of_river(detector: Any, values: list[float]) -> list[int]:
    found = []
    for at, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected:
            found.append(at)
    return found


def alarms(method: Update, values: list[float], parameters: dict[str, float]) -> list[int]:
    found = []
    memory: Memory = ()
    for at, value in enumerate(values):
        memory, raised, way = method(memory, value, parameters)
        assert way >= 0
        assert not raised or (memory == () and way >= 1)
        if raised:
            found.append(at)
    return found


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("draw", [numbers, bits])
def test_adwin_alarms_where_river_does(
    seed: int, draw: Callable[[random.Random, int], list[float]]
) -> None:
    rng = random.Random(seed)
    parameters = {
        "delta": rng.choice([0.002, 0.05, 0.3]),
        "clock": rng.choice([1, 4, 32]),
        "max_buckets": rng.choice([2, 5, 7]),
        "min_window_length": rng.choice([1, 5, 10]),
        "grace_period": 10,
    }
    values = draw(rng, 1500)
    make: Callable[..., Any] = drift.ADWIN
    theirs = alarms_of_river(make(**parameters), values)
    assert alarms(update, values, parameters) == theirs
    assert theirs


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("draw", [bits, rates])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("theirs", "ours", "own"),
    [
        (binary.HDDMA, hddm_a, {"drift_confidence": 0.001}),
        (binary.HDDMW, hddm_w, {"drift_confidence": 0.001, "lambda_val": 0.05}),
    ],
)
def test_hddm_alarms_where_river_does(
    theirs: Callable[..., Any],
    ours: Update,
    own: dict[str, float],
    seed: int,
    draw: Callable[[random.Random, int], list[float]],
    two_sided: bool,
) -> None:
    values = draw(random.Random(seed), 1500)
    values += values[:750]
    found = alarms_of_river(theirs(**own, two_sided_test=two_sided), values)
    assert alarms(ours, values, own | {"two_sided_test": float(two_sided)}) == found
    assert found


@pytest.mark.parametrize("seed", range(6))
def test_ddm_eddm_and_page_hinkley_alarm_where_river_does(seed: int) -> None:
    rng = random.Random(seed)
    errors, some, shifted = bits(rng, 1500), rates(rng, 1500), numbers(rng, 1500)
    found = alarms_of_river(binary.DDM(), errors) + alarms_of_river(binary.DDM(), some)
    parameters = {"warm_start": 30.0, "drift_threshold": 3.0}
    assert alarms(ddm, errors, parameters) + alarms(ddm, some, parameters) == found
    assert found
    found = alarms_of_river(binary.EDDM(), errors)
    assert alarms(eddm, errors, {"warm_start": 30.0, "beta": 0.9}) == found
    assert found
    found = alarms_of_river(drift.PageHinkley(threshold=20.0), shifted)
    slack = {"min_instances": 30.0, "delta": 0.005, "threshold": 20.0, "alpha": 0.9999}
    assert alarms(page_hinkley, shifted, slack) == found
    assert found


def test_kswin_alarms_where_river_does_when_nothing_is_left_to_chance() -> None:
    values = numbers(random.Random(3), 700)
    found = alarms_of_river(drift.KSWIN(alpha=0.005, window_size=60, stat_size=30, seed=1), values)
    ours = alarms(kswin, values, {"alpha": 0.005, "window_size": 60.0, "stat_size": 30.0})
    assert ours == found
    assert found


@pytest.mark.parametrize("size", [5, 30, 50])
@pytest.mark.parametrize("alpha", [0.2, 0.005, 1e-9])
def test_the_distance_kswin_needs_is_the_exact_one(size: int, alpha: float) -> None:
    needed = _steps_needed(size, alpha)
    p_values = [
        stats.ks_2samp(range(size), [x + steps for x in range(size)], method="exact").pvalue
        for steps in range(2, size)
    ]
    first = next((at for at, p in enumerate(p_values, start=2) if p <= alpha), size)
    assert min(needed, size) == first


def test_the_largest_gap_is_the_kolmogorov_smirnov_statistic() -> None:
    rng = random.Random(4)
    for _ in range(20):
        first = sorted(rng.choice([1.0, 2.0, 3.0, rng.random()]) for _ in range(12))
        second = sorted(rng.choice([1.0, 2.0, 3.0, rng.random()]) for _ in range(12))
        assert _largest_gap(first, second) == round(stats.ks_2samp(first, second).statistic * 12)


def test_memories_stay_small_and_readable_however_long_the_stream_is() -> None:
    rng = random.Random(5)
    for algorithm in ALGORITHMS.values():
        memory: Memory = ()
        for _ in range(3000):
            value = float(rng.random() < 0.1) if algorithm.unit else rng.gauss(0, 1)
            memory, _, _ = algorithm.update(memory, value, algorithm.defaults)
            assert algorithm.readable(memory)
        assert len(memory) < 200


@pytest.mark.parametrize("value", [1e308, -1e308, 0.0, 5e-324])
def test_no_value_raises(value: float) -> None:
    for algorithm in ALGORITHMS.values():
        memory: Memory = ()
        for at in range(300):
            given = value if at % 3 else 0.0
            given = min(max(given, 0.0), 1.0) if algorithm.unit else given
            memory, _, _ = algorithm.update(memory, given, algorithm.defaults)


def test_what_adwin_cannot_have_remembered_is_not_readable() -> None:
    memory: Memory = ()
    for at in range(50):
        memory, _, _ = update(memory, float(at % 3), ADWIN)
    assert readable(memory)
    assert not readable(memory[:-1])
    assert not readable((*memory[:3], -1.0, *memory[4:]))
    assert not readable((*memory[:4], 1e9, *memory[5:]))
    assert not readable((memory[0], memory[1] + 1, *memory[2:]))
    assert not readable((*memory[:5], float("nan"), *memory[6:]))

"""What the detection benchmark compares with, and the days it makes of real streams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bench.drift_days import READERS, Values
from bench.drift_peers import allowed_by, chi_square, kolmogorov_smirnov, psi, thresholds
from bench.drift_river import alarms_of, available
from bench.drift_streams import NORMAL, RATE, Law
from detectors.cells import Family


def test_the_peers_statistics_are_the_usual_ones() -> None:
    now, then = np.array([[30.0, 50.0, 20.0]]), np.array([[400.0, 400.0, 200.0]])
    p, q = now[0] / 100, then[0] / 1000
    assert psi(now, then)[0] == pytest.approx(((p - q) * np.log(p / q)).sum())
    assert kolmogorov_smirnov(now, then)[0] == pytest.approx(0.1)
    expected = (then[0] + 0.5) / (then[0] + 0.5).sum() * 100
    assert chi_square(now, then)[0] == pytest.approx(stats.chisquare(now[0], expected).statistic)


def test_simulated_thresholds_are_exceeded_as_often_as_asked() -> None:
    rng = np.random.default_rng(1)
    limits = thresholds(RATE, 10**5, 1_000, 100.0, rng, RATE.mass)
    counts = rng.multinomial(1_000, RATE.mass, size=20_000).astype(np.float64)
    references = rng.multinomial(10**5, RATE.mass, size=20_000).astype(np.float64)
    share = (chi_square(counts, references) > limits["chi-square", 1]).mean()
    assert 0.005 < share < 0.015


def test_what_a_reference_still_allows_lies_three_standard_errors_up() -> None:
    allowed = allowed_by(RATE, 10**5)
    error = np.sqrt(0.01 * 0.99 / 10**5)
    assert allowed[1] == pytest.approx(0.01 + 3 * error, rel=0.01)
    assert allowed.sum() == pytest.approx(1.0)
    # The chance of seeing none among so many rows is that of three standard errors.
    unseen = Law("two", Family.NAMED, np.array([1 - 1e-7, 1e-7]))
    high = allowed_by(unseen, 10**4)[1]
    assert (1 - high) ** 10**4 == pytest.approx(stats.norm.sf(3.0), rel=0.01)
    assert np.array_equal(allowed_by(NORMAL, 10**5), NORMAL.mass)


def test_days_keep_their_own_values_in_any_order() -> None:
    values = Values(np.arange(6.0), np.array([0, 2, 2, 6]))
    assert values.of(np.array([2, 0])).tolist() == [2.0, 3.0, 4.0, 5.0, 0.0, 1.0]
    assert values.of(np.array([1], np.int64)).tolist() == []


@pytest.mark.parametrize("name", sorted(READERS.keys() - {"flights"}))
def test_a_data_set_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        READERS[name](tmp_path)
    assert Path(missing.value.filename).is_relative_to(tmp_path)
    assert missing.value.filename.endswith(".csv")


def test_the_library_of_online_detectors_is_there_and_counts_alarms() -> None:
    assert available()
    rng = np.random.default_rng(2)
    found = alarms_of(np.concatenate((rng.normal(size=600), rng.normal(5, 1, size=600))))
    assert found.keys() == {"ADWIN", "Page-Hinkley", "KSWIN"}
    assert all(count >= 1 and share == 1.0 for count, share in found.values())

"""Slots of the season, and what is normal in them."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.season import Season, law, slot_of, slots

HOUR = 3_600_000
STARTS = np.array([0, 2, 5])


def test_hours_of_the_week_count_from_monday() -> None:
    monday = 4 * 24 * HOUR  # 1970-01-05
    assert slot_of(Season.HOUR_OF_WEEK, monday) == 0
    assert slot_of(Season.HOUR_OF_WEEK, monday - 1) == 167


def test_an_offset_moves_midnight() -> None:
    assert slot_of(Season.HOUR_OF_DAY, 23 * HOUR, utc_offset_ms=2 * HOUR) == 1
    assert slot_of(Season.HOUR_OF_DAY, 0, utc_offset_ms=-HOUR) == 23


@pytest.mark.parametrize("season", Season)
def test_times_before_the_epoch_have_slots_too(season: Season) -> None:
    assert 0 <= slot_of(season, -(10**15) - 1) < slots(season)


def test_without_a_season_the_law_is_the_smoothed_reference() -> None:
    shares, rows = law(np.array([[99.0, 0.0, 1.0, 2.0, 3.0]]), STARTS, 0)
    assert shares[:2] == pytest.approx([99.5 / 100, 0.5 / 100])
    assert rows.tolist() == [99, 6]


def test_a_thin_slot_borrows_from_the_whole() -> None:
    counts = np.array([[1000.0, 0, 10, 10, 10], [0, 10.0, 0, 0, 0]])
    shares, rows = law(counts, STARTS, 1)
    assert rows.tolist() == [10, 0]
    assert 0.8 < shares[0] < 0.85  # 50 borrowed rows of 99% and 10 of its own
    assert shares[2:] == pytest.approx([1 / 3] * 3)


def test_laws_are_positive_and_sum_to_one_whatever_was_counted() -> None:
    for counts in (np.zeros((1, 5)), np.full((1, 5), 2.0**53), np.zeros((24, 5))):
        shares, rows = law(counts, STARTS, 0)
        assert (shares > 0).all()
        assert np.add.reduceat(shares, STARTS[:-1]) == pytest.approx([1, 1])
        assert (rows <= 1e12).all()

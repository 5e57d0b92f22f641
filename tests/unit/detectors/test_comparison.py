"""What is said when two columns are compared."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from detectors.categories import DEFAULT_CAP, CategoryCounts
from detectors.comparison import (
    MOST_CATEGORIES,
    MOST_DIRECTION_CHARS,
    ColumnStatistics,
    compare_columns,
    readable,
)
from detectors.layout import Kind
from detectors.table import compare, reference_of, summarize_table

RANDOM = np.random.default_rng(8)
NORMAL = RANDOM.standard_normal(20_000)
MOVES = {
    "up": NORMAL + 0.3,
    "down": NORMAL - 0.3,
    "wider": NORMAL * 1.5,
    "narrower": NORMAL * 0.6,
    "": RANDOM.standard_normal(20_000),
}


def only(found: list[ColumnStatistics]) -> ColumnStatistics:
    (column,) = found
    return column


def numeric(before: object, after: object, *, referenced: bool) -> ColumnStatistics:
    a = pa.table({"x": pa.array(before, pa.float64())})
    b = pa.table({"x": pa.array(after, pa.float64())})
    reference = reference_of(a) if referenced else None
    return only(compare(reference or summarize_table(a), summarize_table(b, reference)))


def text(
    before: Sequence[str | None], after: Sequence[str | None], *, referenced: bool
) -> ColumnStatistics:
    a = pa.table({"t": pa.array(before, pa.string())})
    b = pa.table({"t": pa.array(after, pa.string())})
    reference = reference_of(a) if referenced else None
    return only(compare(reference or summarize_table(a), summarize_table(b, reference)))


@pytest.mark.parametrize("referenced", [True, False])
@pytest.mark.parametrize("direction", MOVES)
def test_the_direction_of_a_number_is_told(direction: str, *, referenced: bool) -> None:
    assert numeric(NORMAL, MOVES[direction], referenced=referenced).direction == direction


@pytest.mark.parametrize("referenced", [True, False])
def test_everything_far_above_the_reference_went_up(*, referenced: bool) -> None:
    found = numeric(NORMAL, [1000.0] * 50, referenced=referenced)
    assert found.direction == "up"
    assert found.kolmogorov_smirnov == pytest.approx(1.0, abs=0.01)
    assert found.wasserstein == pytest.approx(1000 / NORMAL.std(), rel=0.02)


@pytest.mark.parametrize("referenced", [True, False])
@pytest.mark.parametrize(("after", "direction"), [([6.0] * 30, "up"), ([4.0] * 30, "down")])
def test_a_constant_that_changes_is_noticed(
    after: list[float], direction: str, *, referenced: bool
) -> None:
    found = numeric([5.0] * 30, after, referenced=referenced)
    assert found.direction == direction
    assert found.total_variation == 1.0
    assert math.isnan(found.wasserstein)
    assert found.mean_shift.p_value == 0.0


def test_numbers_without_bins_are_compared_in_the_deciles_of_both() -> None:
    after = NORMAL + 0.5
    found = numeric(NORMAL, after, referenced=False)
    assert found.cells == 10
    true = float(scipy_stats.ks_2samp(NORMAL, after).statistic)
    assert true - 0.01 <= found.kolmogorov_smirnov <= true + 1e-12
    assert found.wasserstein == pytest.approx(0.5 / NORMAL.std(), rel=0.02)


def test_a_number_with_bins_has_scipys_wasserstein_but_for_the_width_of_bins() -> None:
    found = numeric(NORMAL, NORMAL * 1.4, referenced=True)
    true = float(scipy_stats.wasserstein_distance(NORMAL, NORMAL * 1.4) / NORMAL.std())
    assert found.wasserstein == pytest.approx(true, abs=0.06)
    assert found.cells == 20


@pytest.mark.parametrize("referenced", [True, False])
def test_an_empty_side_has_no_statistics(*, referenced: bool) -> None:
    for before, after in (([1.0, 2.0], []), ([1.0, 2.0], [math.nan] * 3)):
        found = numeric(before, after, referenced=referenced)
        figures = (found.psi, found.hellinger, found.wasserstein, found.mean_shift.t, found.mean)
        assert all(map(math.isnan, figures))
        assert math.isnan(found.chi_square.p_value)
        assert found.direction == ""


def test_missing_values_are_a_rate_of_all_events() -> None:
    found = numeric([1.0] * 90 + [math.nan] * 10, [1.0] * 60 + [math.nan] * 40, referenced=True)
    assert (found.missing_rate_against, found.missing_rate) == (0.1, 0.4)
    assert found.missing.p_value < 1e-5


def test_a_column_that_vanished_is_missing_everywhere_rather_than_left_out() -> None:
    reference = reference_of(pa.table({"x": [1.0, 2.0] * 50, "y": [1.0, 2.0] * 50}))
    now = summarize_table(pa.table({"y": [1.0, 2.0] * 50}), reference)
    x, y = compare(reference, now)
    assert (x.column, x.n, x.missing_rate) == ("x", 0, 1.0)
    assert math.isnan(x.psi)
    assert (y.column, y.psi) == ("y", 0.0)


@pytest.mark.parametrize("referenced", [True, False])
def test_the_category_that_moved_most_is_named(*, referenced: bool) -> None:
    before: Sequence[str | None] = ["a"] * 500 + ["b"] * 300 + ["c"] * 200
    up = text(before, ["a"] * 500 + ["b"] * 100 + ["c"] * 400, referenced=referenced)
    assert up.direction == "c up"
    assert text(before, ["a"] * 900 + ["c"] * 100, referenced=referenced).direction == "a up"
    assert text(before, before, referenced=referenced).direction == ""
    new = text(before, ["a"] * 500 + ["b"] * 200 + ["new"] * 300, referenced=referenced)
    assert new.direction == "new category: new"
    assert new.psi > 1
    assert math.isnan(new.kolmogorov_smirnov)


@pytest.mark.parametrize("referenced", [True, False])
def test_a_new_category_with_an_ugly_name_is_shown_on_one_short_line(*, referenced: bool) -> None:
    name = "<b>\n\x1b[31m" + "long " * 30
    found = text(["a"] * 100, ["a"] * 50 + [name] * 50, referenced=referenced)
    assert found.direction.startswith("new category: <b> [31mlong long")
    assert len(found.direction) <= MOST_DIRECTION_CHARS
    assert found.direction.isprintable()


@given(st.text(max_size=300), st.integers(2, 60))
def test_a_readable_name_is_printable_and_short(name: str, most: int) -> None:
    shown = readable(name, most)
    assert len(shown) <= most
    assert shown.isprintable() or not shown


def test_a_category_that_only_one_side_folded_away_does_not_look_moved() -> None:
    names = [f"c{i}" for i in range(DEFAULT_CAP + 1)]
    kept = list(CategoryCounts.of(dict.fromkeys(names, 1)).counts)
    (folded,) = set(names) - set(kept)
    before = kept * 4 + [folded] * 256
    # One name fewer, so that nothing is folded on this side.
    after = kept[1:] * 4 + [folded] * 256
    seen_now = summarize_table(pa.table({"t": after})).categorical("t")
    assert seen_now is not None
    assert seen_now.counts()[folded] == 256
    found = text(before, after, referenced=False)
    assert found.total_variation < 0.02
    assert found.direction == ""
    assert found.cells <= MOST_CATEGORIES + 1


def test_a_hundred_categories_have_bins_and_the_rest_share_one_cell() -> None:
    before: Sequence[str | None] = [f"c{i:03}" for i in range(150) for _ in range(200 - i)]
    found = text(before, before, referenced=True)
    assert found.cells == 101
    assert found.psi == 0.0


def test_summaries_on_unlike_references_are_compared_by_their_sketches() -> None:
    a, b = pa.table({"latency_ms": NORMAL}), pa.table({"latency_ms": NORMAL + 1})
    one, other = reference_of(a), reference_of(b)
    assert one.id != other.id
    found = only(compare_columns(one.summaries, other.summaries))
    assert found.direction == "up"
    assert found.cells == 10


@given(st.lists(st.floats(), max_size=30), st.lists(st.floats(), max_size=30), st.booleans())
def test_no_numbers_make_a_comparison_raise_or_give_a_negative_distance(
    before: list[float], after: list[float], referenced: bool
) -> None:
    found = numeric(before or [1.0], after, referenced=referenced)
    assert found.kind is Kind.NUMERIC
    for field in dataclasses.fields(found):
        value = getattr(found, field.name)
        if isinstance(value, float) and not field.name.startswith(("mean", "sd")):
            assert math.isnan(value) or value >= 0

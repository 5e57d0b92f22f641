"""What a window's rows show of its columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from detectors.release import Release, Role
from detectors.summary import Summaries
from detectors.table import reference_of, summarize_table
from streams.figures import MOST_CATEGORIES, window_rows
from streams.model_state import IntervalKey
from streams.wire import Row, encode_rows

CANARY = Release("m", "2", Role.CANARY)
KEY = IntervalKey(60_000, 120_000, "2", Role.CANARY, "all")


def rows_of(summaries: Summaries) -> dict[str, Row]:
    return {row["column"]: row for row in window_rows(CANARY, KEY, summaries, 1, 7)}


def test_a_number_is_shown_by_its_moments_its_quantiles_and_its_histogram() -> None:
    values = np.random.default_rng(2).lognormal(3, 1, 4_000)
    table = pa.table({"latency_ms": values})
    row = rows_of(summarize_table(table, reference_of(table)))["latency_ms"]
    assert row["kind"] == "numeric"
    assert (row["n"], row["nulls"], row["errors"]) == (4_000, 0, 0)
    assert row["mean"] == pytest.approx(values.mean(), rel=1e-5)
    assert row["sd"] == pytest.approx(values.std(), rel=1e-5)
    assert (row["min"], row["max"]) == (values.min(), values.max())
    for name, rank in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)):
        wanted = np.quantile(values, rank, method="inverted_cdf")
        assert row[name] == pytest.approx(wanted, rel=0.01)
    assert sum(row["histogram"]) == 4_000
    assert row["categories"] == {}


def test_a_row_says_which_window_of_which_release_it_is_of() -> None:
    row = rows_of(summarize_table(pa.table({"features.x": [1.0]})))["features.x"]
    assert (row["model"], row["version"], row["role"], row["segment"]) == (
        "m",
        "2",
        "canary",
        "all",
    )
    assert (row["window_start"], row["window_end"], row["window_ms"]) == (120_000, 180_000, 60_000)
    assert (row["revision"], row["offset"], row["events"], row["reference"]) == (1, 7, 1, "")


def test_the_most_frequent_categories_come_first_and_equal_ones_by_name() -> None:
    table = pa.table({"features.t": ["b", "a", "c", "c", None]})
    for reference in (None, reference_of(pa.table({"features.t": ["a", "b"]}))):
        row = rows_of(summarize_table(table, reference))["features.t"]
        assert list(row["categories"].items()) == [("c", 2), ("a", 1), ("b", 1)]
        assert (row["n"], row["nulls"], row["mean"], row["p50"]) == (4, 1, None, None)


def test_of_many_categories_only_the_most_frequent_are_shown() -> None:
    names = [f"c{i:03}" for i in range(90) for _ in range(90 - i)]
    row = rows_of(
        summarize_table(
            pa.table({"features.t": names}), reference_of(pa.table({"features.t": names}))
        )
    )
    assert list(row["features.t"]["categories"]) == [f"c{i:03}" for i in range(MOST_CATEGORIES)]


def test_a_column_that_did_not_occur_has_no_row() -> None:
    table = pa.table({"features.x": [1.0], "features.y": pa.array([None], pa.float64())})
    reference = reference_of(pa.table({"features.x": [1.0], "features.y": [1.0]}))
    assert set(rows_of(summarize_table(table, reference))) == {"error", "features.x"}


def test_what_is_no_number_is_null() -> None:
    table = pa.table({"features.x": [1e308, -1e308]})
    row = rows_of(summarize_table(table))["features.x"]
    assert row["min"] == -1e308
    assert b"NaN" not in encode_rows([row])
    empty = rows_of(Summaries.empty(summarize_table(table).layout))
    assert empty["error"]["mean"] is None

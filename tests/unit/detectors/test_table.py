"""Summaries of whole tables: cut into pieces inside, and the same as if they were not."""

import math

import numpy as np
import pyarrow as pa
import pytest

from detectors.arrow_rows import read_columns
from detectors.compiled import compile_all
from detectors.kernels import Workshop, summarize
from detectors.summary import NumericSummary, Summaries
from detectors.table import reference_of, summarize_table

ROWS = 300_000


def table(rows: int = ROWS) -> pa.Table:
    """Numbers with nulls, NaN and infinities, and texts of which some are null or too long."""
    random = np.random.default_rng(7)
    numbers = random.normal(size=rows)
    numbers[::1_000] = math.inf
    numbers[1::1_000] = -math.inf
    numbers[2::1_000] = math.nan
    texts = pa.array(["red", "green", "blue", "x" * 300, None])
    codes = pa.array(random.integers(0, 5, rows).astype(np.int32))
    return pa.table(
        {
            "clean": random.gamma(2.0, size=rows),
            "dirty": pa.array(numbers, mask=np.arange(rows) % 1_000 == 3),
            "count": random.integers(0, 40, rows),
            "text": pa.DictionaryArray.from_arrays(codes, texts).cast(pa.string()),
            "code": pa.DictionaryArray.from_arrays(codes, pa.array(list("abcde"))),
        }
    )


def at_once(rows: pa.Table, like: Summaries) -> Summaries:
    return summarize(read_columns(rows).rows_of(), like.layout)[0]


def assert_equal(one: Summaries, other: Summaries) -> None:
    assert one.vector.tolist() == other.vector.tolist()
    assert one.extremes.tolist() == other.extremes.tolist()
    assert one.categories == other.categories
    assert one.sketches.keys() == other.sketches.keys()


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_a_long_table_is_summarised_as_if_it_were_not_cut(compiled: bool) -> None:
    rows = table()
    reference = reference_of(rows.slice(0, 5_000))
    workshop = Workshop(compile_all(cache=False)) if compiled else None
    found = summarize_table(rows, reference, workshop=workshop)
    assert_equal(found, at_once(rows, found))


def test_infinities_are_errors_and_nan_is_missing() -> None:
    column = summarize_table(table()).numeric("dirty")
    assert isinstance(column, NumericSummary)
    assert (column.errors, column.nulls) == (ROWS // 500, ROWS // 500)
    assert column.n == ROWS - ROWS // 250


def test_a_table_in_several_chunks_has_the_summaries_of_one() -> None:
    rows = table(6_000)
    reference = reference_of(rows)
    parts = pa.concat_tables([rows.slice(0, 1_000), rows.slice(1_000, 2), rows.slice(1_002)])
    assert_equal(summarize_table(parts, reference), summarize_table(rows, reference))


def test_a_table_without_rows_is_empty() -> None:
    rows = table(1_000)
    found = summarize_table(rows.slice(0, 0), reference_of(rows))
    assert found.events == 0
    assert not found.vector.any()

"""References: where bins lie, what reading refuses, what tables cannot be used."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.arrow_rows import MOST_TEXT_CHARS, UnusableColumn, kind_of, read_columns
from detectors.binning import categorical_spec, numeric_spec, sketched_spec
from detectors.kernels import summarize
from detectors.layout import ColumnSpec, Kind
from detectors.reference import (
    EmptyReference,
    from_json,
    layout_for,
    reference_from_summaries,
    reference_from_table,
    spec_for,
    to_json,
)
from detectors.reference_file import InvalidReference, content_id
from detectors.sketch import Sketch
from detectors.summary import Summaries
from detectors.table import arrow_table, reference_of, summarize_table

TABLE = pa.table(
    {
        "features.age": [float(i) for i in range(100)],
        "scores.quality": [0.0, 1.0] * 50,
        "features.plan": ["free", "pro", None, "free"] * 25,
        "features.empty": pa.nulls(100, pa.float64()),
    }
)
REFERENCE = reference_from_table("m", TABLE, "a test", ["features.plan"])


def test_the_id_of_known_content_never_changes() -> None:
    assert REFERENCE.id == "d9297b3ab3902b42fe4c1aa291e7c83d"


def test_the_file_is_json_with_one_line_for_each_column() -> None:
    data = to_json(REFERENCE)
    content = json.loads(data)
    assert content["id"] == REFERENCE.id
    assert content.pop("id") == content_id(content)
    assert sum(b'"name": "features.age"' in line for line in data.splitlines()) == 4


@pytest.mark.parametrize(
    ("values", "edges"),
    [
        ([], ()),
        ([math.nan, math.inf], ()),
        ([0.0, 1.0, 1.0], (0.5,)),
        ([3.0, 1.0, 2.0, 2.0], (1.5, 2.5)),
        ([-0.0, 0.0], (-(2.0**-30), 2.0**-30)),
        ([1024.0], (1023.0, 1025.0)),
        ([-1024.0], (-1025.0, -1023.0)),
        ([1.0, math.nextafter(1.0, 2.0)], (math.nextafter(1.0, 2.0),)),
    ],
)
def test_few_distinct_values_are_divided_half_way(
    values: list[float], edges: tuple[float, ...]
) -> None:
    assert numeric_spec("features.x", np.array(values, np.float64)).edges == edges


def test_many_distinct_values_are_divided_at_their_quantiles() -> None:
    spec = numeric_spec("features.x", np.arange(10_000, dtype=np.float64)[::-1])
    want = [10, 50, 100, 250, 500, *range(1000, 10_000, 1000), 9500, 9750, 9900, 9950, 9990]
    assert spec.edges == tuple(map(float, want))
    assert (spec.grid.center, spec.grid.scale) == (4999.0, 4096.0)


def test_a_heavy_tail_does_not_overflow_the_grid() -> None:
    values = np.random.default_rng(2).pareto(0.8, 50_000) * 1e6
    reference = reference_of(pa.table({"features.x": values}))
    found = reference.summaries.numeric("features.x")
    assert found is not None
    assert not found.sketch.n
    assert found.mean == pytest.approx(float(values.mean()), rel=1e-6)
    assert found.sd == pytest.approx(float(values.std()), rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0, 1.7976931348623157e308, 5e-324])
def test_a_constant_that_was_learnt_has_a_bin_of_its_own(value: float) -> None:
    spec = sketched_spec("features.x", Sketch.of(np.array([value] * 3)), value, 0.0)
    assert spec.edges
    assert all(map(math.isfinite, spec.edges))
    learnt = reference_from_summaries(
        "m", summarize_table(pa.table({"features.x": [value] * 3})), "learnt"
    )
    found = learnt.summaries.numeric("features.x")
    assert found is not None
    assert max(found.bins.tolist()) == 3


def test_few_buckets_that_were_learnt_are_divided_between_them() -> None:
    assert sketched_spec("x", Sketch.of(np.array([0.0, 1.0])), 0.5, 0.5).edges == (0.5,)


def test_the_most_frequent_categories_have_bins_and_ties_go_by_name() -> None:
    counts = {f"c{i:03}": 1 for i in range(120)} | {"z": 5, "__other__": 99}
    spec = categorical_spec("t", counts)
    assert spec.categories == (*(f"c{i:03}" for i in range(99)), "z")


def test_only_columns_whose_quantiles_are_watched_keep_a_sketch() -> None:
    names = ["latency_ms", "cost", "tokens_in", "tokens_out", "scores.a", "features.a", "label"]
    kept = [name for name in names if numeric_spec(name, np.array([1.0, 2.0])).sketch]
    assert kept == names[:5]


def test_columns_without_a_reference_have_default_specifications() -> None:
    assert spec_for(None, "x", Kind.NUMERIC) == ColumnSpec("x", Kind.NUMERIC)
    assert spec_for(REFERENCE, "x", Kind.NUMERIC).sketch
    assert spec_for(REFERENCE, "features.age", Kind.NUMERIC).bins == 16
    assert spec_for(REFERENCE, "features.age", Kind.CATEGORICAL).bins == 0


def test_both_ends_build_the_same_layout_from_names() -> None:
    keys = [
        ("features.plan", Kind.CATEGORICAL),
        ("x", Kind.NUMERIC),
        ("features.age", Kind.NUMERIC),
    ]
    a, b = layout_for(REFERENCE, keys), layout_for(from_json(to_json(REFERENCE)), keys[::-1])
    assert a.same_as(b)
    assert a.reference == REFERENCE.id
    assert layout_for(None, keys).reference == ""


def damaged(change: dict[str, Any], *, column: int | None = None, part: str = "layout") -> bytes:
    """The reference's file with fields replaced, its id made to fit again."""
    content = json.loads(to_json(REFERENCE))
    content.pop("id")
    where = content
    if column is not None:
        where = content["layout"] if part == "layout" else content["all"]["columns"]
        where = where[column]
    where.update(change)
    # NaN is not JSON, but Python writes it; a hand-made file may hold it.
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    try:
        id_ = content_id(content)
    except ValueError:
        id_ = "0" * 32
    return text.replace("{", f'{{"id":"{id_}",', 1).encode()


AGE = 0


def test_a_file_whose_id_was_made_to_fit_is_read() -> None:
    assert from_json(damaged({"origin": "another"})).origin == "another"


def test_changed_content_is_refused() -> None:
    data = to_json(REFERENCE)
    assert data.count(b'"origin": "a test"') == 1
    with pytest.raises(InvalidReference, match="does not match its id"):
        from_json(data.replace(b'"origin": "a test"', b'"origin": "A test"'))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a reference"),
        (b"{}", "not a reference"),
        (b"\xff\xfe", "not a reference"),
        (b"[" * 100_000, "not a reference"),
        (b'{"format": NaN}', "not a reference"),
        (b" " * (64 * 1024 * 1024 + 1), "limit"),
        (damaged({"format": "driftline-reference-9"}), "another format"),
        (damaged({"surprise": 1}), "surprise"),
        (
            damaged(
                {"segments": {str(i): {"events": [0] * 5, "columns": []} for i in range(1001)}}
            ),
            "1000 segments",
        ),
        (damaged({"edges": [1.0, 1.0]}, column=AGE), "do not increase"),
        (damaged({"edges": [1.0, math.nan]}, column=AGE), "not a reference"),
        (damaged({"edges": [1.0, 10**400]}, column=AGE), "not a reference|not finite"),
        (damaged({"edges": [1.0]}, column=AGE), "another number of bins"),
        (damaged({"scale": 0.0}, column=AGE), "scale"),
        (damaged({"n": 7}, column=AGE, part="all"), "add up"),
        (damaged({"n": -1}, column=AGE, part="all"), "n"),
        (damaged({"min": None}, column=AGE, part="all"), "minimum"),
        (damaged({"moments": None}, column=AGE, part="all"), "moments"),
        (damaged({"buckets": [2, 1], "counts": [50, 50]}, column=AGE, part="all"), "sketch"),
        (damaged({"buckets": [1, 2**40], "counts": [50, 50]}, column=AGE, part="all"), "range"),
        (damaged({"name": "other"}, column=AGE, part="all"), "layout"),
        (damaged({"name": "features.empty"}, column=AGE), "twice"),
    ],
)
def test_a_file_that_is_damaged_or_hostile_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(InvalidReference, match=said):
        from_json(data)


@pytest.mark.parametrize(
    ("table", "said"),
    [(TABLE.slice(0, 0), "no rows"), (TABLE.select([]), "no usable column")],
)
def test_there_is_no_reference_of_nothing(table: Any, said: str) -> None:
    with pytest.raises(EmptyReference, match=said):
        reference_from_table("m", table, "o")
    with pytest.raises(EmptyReference):
        reference_from_summaries("m", Summaries.empty(layout_for(None, [])), "o")


def test_a_name_that_could_not_be_read_back_is_refused() -> None:
    with pytest.raises(InvalidReference, match="name"):
        reference_from_table("m", pa.table({"": [1.0]}), "o")


def test_a_column_of_missing_values_has_no_bins_and_counts_as_null() -> None:
    found = REFERENCE.summaries.numeric("features.empty")
    assert found is not None
    assert (found.n, found.nulls, found.spec.edges) == (0, 100, ())


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([1, 2, None], pa.int8()), Kind.NUMERIC),
        (pa.array([2**63, 1, None], pa.uint64()), Kind.NUMERIC),
        (pa.array([1.5, math.nan, 2.0], pa.float32()), Kind.NUMERIC),
        (pa.array([Decimal("1.5"), None, Decimal(2)]), Kind.NUMERIC),
        (pa.array([True, None, False]), Kind.CATEGORICAL),
        (pa.array(["a", None, "b"]), Kind.CATEGORICAL),
        (pa.array(["a", None, "b"], pa.large_string()), Kind.CATEGORICAL),
        (pa.array(["a", None, "b"], pa.string_view()), Kind.CATEGORICAL),
        (pa.array(["a", None, "b"]).dictionary_encode(), Kind.CATEGORICAL),
        (pa.DictionaryArray.from_arrays([0, 1, 2], ["a", None, "b"]), Kind.CATEGORICAL),
        (pa.array([datetime(2026, 1, 1, tzinfo=UTC), None, None]), None),
        (pa.array([[1], None, None]), None),
    ],
)
def test_each_arrow_type_is_read_or_refused(column: Any, kind: Kind | None) -> None:
    table = pa.table({"x": pa.chunked_array([column, column.slice(0, 0), column])})
    assert kind_of(column.type) is kind
    if kind is None:
        assert read_columns(table).rows == 6
        with pytest.raises(UnusableColumn, match="'x'"):
            read_columns(table, ["x"])
        return
    summaries = summarize_table(table)
    found = summaries.numeric("x") if kind is Kind.NUMERIC else summaries.categorical("x")
    assert found is not None
    assert (found.n, found.nulls, found.errors) == (4, 2, 0)


def test_dictionaries_that_differ_between_chunks_are_counted_by_name() -> None:
    chunks = [pa.array(["a", "b"]).dictionary_encode(), pa.array(["b", "c"]).dictionary_encode()]
    found = summarize_table(pa.table({"x": pa.chunked_array(chunks)})).categorical("x")
    assert found is not None
    assert found.counts() == {"a": 1, "b": 2, "c": 1}


def test_infinities_and_overlong_texts_are_errors() -> None:
    table = pa.table({"x": [1.0, math.inf, -math.inf, math.nan], "t": ["a", "a" * 201, None, "b"]})
    assert len("a" * 201) > MOST_TEXT_CHARS
    summaries = summarize_table(table)
    number, text = summaries.numeric("x"), summaries.categorical("t")
    assert number is not None
    assert text is not None
    assert (number.n, number.errors, number.nulls) == (1, 2, 1)
    assert (text.n, text.errors, text.nulls) == (2, 1, 1)


@pytest.mark.parametrize("names", [["nope"], ["x", "x"]])
def test_a_column_that_is_not_there_or_asked_for_twice_is_refused(names: list[str]) -> None:
    with pytest.raises(UnusableColumn):
        read_columns(pa.table({"x": [1.0]}), names)


def test_a_table_with_a_name_twice_is_refused() -> None:
    table = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["x", "x"])
    with pytest.raises(UnusableColumn, match="2 times"):
        read_columns(table)


class Streamed:
    """A data frame of some other library: all it offers is Arrow's stream."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        stream: object = TABLE.__arrow_c_stream__(requested_schema)
        return stream


def test_any_table_that_hands_out_arrow_is_taken() -> None:
    for table in (TABLE, TABLE.to_batches()[0], Streamed()):
        assert arrow_table(table).equals(TABLE)
    with pytest.raises(TypeError, match="dict is not a table"):
        arrow_table({"x": [1]})


def test_a_pandas_frame_is_taken_without_its_index() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"x": [1.0, 2.0]}, index=[7, 8])
    assert arrow_table(frame).schema.names == ["x"]


def test_a_layout_decides_what_of_a_table_is_summarised() -> None:
    layout = layout_for(REFERENCE, [("features.age", Kind.NUMERIC)])
    summaries = summarize_table(TABLE, layout)
    assert summaries.layout is layout
    whole = summarize(read_columns(TABLE).rows_of(), REFERENCE.layout)[0].numeric("features.age")
    part = summaries.numeric("features.age")
    assert whole is not None
    assert part is not None
    assert part.bins.tolist() == whole.bins.tolist()


def test_a_segment_may_be_numbered() -> None:
    table = pa.table({"features.x": [1.0, 2.0, 3.0], "segments.year": [2024, 2025, 2025]})
    reference = reference_from_table("m", table, "o", ["segments.year"])
    assert {name: part.events for name, part in reference.segments.items()} == {
        "year=2024": 1,
        "year=2025": 2,
    }
    assert [spec.name for spec in reference.layout.columns] == ["features.x"]

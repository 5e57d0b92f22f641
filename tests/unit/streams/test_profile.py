"""``driftline profile``: every kind of file gives one reference, and bad input one clear line."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet
import pytest
from rich.console import Console

from detectors.payoffs import Basis
from detectors.reference import from_json, reference_from_table
from sinks.errors import Permanent
from streams.config import Config
from streams.errors import UnavailableError, UserError
from streams.profile import profile, run
from streams.profile_selection import MOST_CELLS, Selection

TABLE = pa.table(
    {
        "age": [float(i % 60) for i in range(300)],
        "plan": ["free", "pro", None] * 100,
        "took": [100.0 + i for i in range(300)],
        "country": ["DE", "FR"] * 150,
        "scores.quality": [i % 7 / 7 for i in range(300)],
        "at": pa.array(range(300), pa.timestamp("ms")),
    }
)
CHOICE = Selection.of("age, plan", "took", "country")


def write_parquet(table: Any, path: Path) -> None:
    pyarrow.parquet.write_table(table, path, row_group_size=70)


def write_csv(table: Any, path: Path) -> None:
    pyarrow.csv.write_csv(table.drop_columns(["at"]), path)


def write_arrow_file(table: Any, path: Path) -> None:
    with pyarrow.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=70)


def write_arrow_stream(table: Any, path: Path) -> None:
    with pyarrow.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=70)


WRITERS = [write_parquet, write_csv, write_arrow_file, write_arrow_stream]


def refusal(source: str | Path, selection: Selection = CHOICE, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        profile(str(source), options.pop("model", "m"), selection, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("write", WRITERS)
def test_every_kind_of_file_gives_the_reference_of_its_table(
    tmp_path: Path, write: Callable[[Any, Path], None]
) -> None:
    path = tmp_path / "history.csv"
    write(TABLE, path)
    found = profile(str(path), "m", CHOICE, tmp_path / "reference.json")
    renamed = TABLE.select([0, 1, 2, 3, 4]).rename_columns(
        ["features.age", "features.plan", "latency_ms", "segments.country", "scores.quality"]
    )
    want = reference_from_table("m", renamed, "history.csv", ["segments.country"])
    assert found.id == want.id
    assert sorted(found.segments) == ["country=DE", "country=FR"]
    assert from_json((tmp_path / "reference.json").read_bytes()).id == want.id
    assert [item.name for item in tmp_path.iterdir() if item.suffix == ".part"] == []


@pytest.mark.parametrize("name", ["logs.ndjson", "logs.jsonl.gz"])
def test_logged_events_give_the_reference_of_their_columns(tmp_path: Path, name: str) -> None:
    events = [
        {
            "ts": f"2023-06-13T10:00:{second:02}Z",
            "model": "m",
            "version": "1",
            "features": {"age": age, "plan": plan},
            "latency_ms": took,
        }
        for second, (age, plan, took) in enumerate([(31, "pro", 4.5), (47.5, "free", 3.0)] * 20)
    ]
    lines = "".join(json.dumps(event) + "\n" for event in events).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
    found = profile(str(path), "m", Selection(), None)
    assert [column.name for column in found.layout.columns] == [
        "features.age",
        "features.plan",
        "latency_ms",
    ]
    path.write_bytes(b'{"ts": 1, "secret": }\n')
    with pytest.raises(UserError) as caught:
        profile(str(path), "m", Selection(), None)
    assert "lines of JSON" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_times_of_the_rows_teach_how_far_they_depend_on_one_another(tmp_path: Path) -> None:
    rows = 100 * 50
    table = pa.table(
        {
            "age": np.random.default_rng(0).normal(size=rows),
            "when": [
                f"2023-06-13T{i // 60:02}:{i % 60:02}:00Z" for i in range(100) for _ in "x" * 50
            ],
        }
    )
    path = tmp_path / "history.parquet"
    write_parquet(table, path)
    assert profile(str(path), "m", Selection.of("age")).learnt is None
    found = profile(str(path), "m", Selection.of("age", times="when"))
    assert found.learnt is not None
    assert found.learnt.panes == 100
    assert set(found.learnt.basis) == {Basis.THEOREM}
    renamed = table.rename_columns(["age", "ts"])
    write_parquet(renamed, path)
    assert profile(str(path), "m", Selection.of("age")).id == found.id


def test_a_column_without_times_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_parquet(TABLE, path)
    assert "--ts: the source has no column 'nope'" in refusal(
        path, Selection.of("age", times="nope")
    )
    assert "holds no time" in refusal(path, Selection.of("age", times="plan"))


def test_a_clickhouse_query_gives_the_same_reference_as_its_result(tmp_path: Path) -> None:
    asked: list[str] = []

    def query(sql: str) -> Any:
        asked.append(sql)
        return TABLE

    client = SimpleNamespace(query_arrow=query)
    found = profile("clickhouse: SELECT * FROM t", "m", CHOICE, connect=lambda: client)
    assert asked == ["SELECT * FROM t"]
    path = tmp_path / "ClickHouse query"
    write_parquet(TABLE, path)
    assert found.id == profile(str(path), "m", CHOICE).id
    assert profile("select 1", "m", CHOICE, connect=lambda: client).id == found.id


def test_a_query_that_fails_is_told_by_its_code_and_never_by_its_text() -> None:
    def query(sql: str) -> Any:
        text = "HTTP driver: http://u:hunter2@h Code: 62. DB::Exception: 'payload' (SYNTAX_ERROR)"
        raise RuntimeError(text)

    said = refusal("clickhouse:SELECT", connect=lambda: SimpleNamespace(query_arrow=query))
    assert "code 62, SYNTAX_ERROR" in said
    assert "hunter2" not in said
    assert "payload" not in said


def test_a_clickhouse_that_cannot_be_reached_is_not_the_users_mistake() -> None:
    def connect() -> Any:
        raise Permanent("the store refuses the password")

    with pytest.raises(UnavailableError, match="refuses the password"):
        profile("clickhouse:SELECT 1", "m", CHOICE, connect=connect)
    assert "no ClickHouse" in refusal("clickhouse:SELECT 1")


def test_structs_are_read_by_their_dotted_names(tmp_path: Path) -> None:
    nested = pa.table(
        {
            "features": [{"age": 1.0, "car": {"km": 5}}, {"age": 2.0, "car": {"km": 6}}],
            "prediction": [{"label": "a"}, {"label": "b"}],
            "latency_ms": [1.0, 2.0],
            "other": [{"x": 1}, {"x": 2}],
        }
    )
    write_parquet(nested, tmp_path / "events.parquet")
    found = profile(str(tmp_path / "events.parquet"), "m", Selection())
    names = [spec.name for spec in found.layout.columns]
    assert names == ["features.age", "features.car.km", "latency_ms", "prediction.label"]


def test_a_star_takes_every_usable_column_that_nothing_else_names(tmp_path: Path) -> None:
    write_parquet(TABLE, tmp_path / "t.parquet")
    selection = Selection.of("*", "took", "country", "plan=prediction.label")
    found = profile(str(tmp_path / "t.parquet"), "m", selection)
    names = [spec.name for spec in found.layout.columns]
    assert names == ["features.age", "latency_ms", "prediction.label", "scores.quality"]


def test_a_segment_may_be_a_feature_too(tmp_path: Path) -> None:
    write_parquet(TABLE, tmp_path / "t.parquet")
    found = profile(str(tmp_path / "t.parquet"), "m", Selection.of("country", "", "country"))
    assert "features.country" in {spec.name for spec in found.layout.columns}
    assert sorted(found.segments) == ["country=DE", "country=FR"]


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    write_parquet(TABLE, tmp_path / "t.parquet")
    shown = {}
    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal)
        profile(str(tmp_path / "t.parquet"), "m", CHOICE, console=console)
        shown[terminal] = console.file.getvalue()  # type: ignore[attr-defined]
    assert "row groups" in shown[True]
    assert shown[False] == ""


def test_the_command_writes_to_the_standard_output_without_a_path(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    write_parquet(TABLE, tmp_path / "t.parquet")
    assert run(Config(), str(tmp_path / "t.parquet"), "m", None, CHOICE) == 0
    out, err = capfdbinary.readouterr()
    reference = from_json(out)
    assert f"reference {reference.id}: 300 rows, 4 columns, 2 segments" in err.decode()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none", None, "No such file"),
        ("empty.csv", b"", "empty"),
        ("header.csv", b"age,plan,took,country\n", "no rows"),
        ("torn.csv", b"age,plan\n1,secret,3\n", "cannot be read as CSV"),
        ("twice.csv", b"age,age\n1,2\n", "'age' stands more than once"),
        ("torn.parquet", b"PAR1 and no more", "cannot be read as Parquet"),
        ("torn.arrow", b"ARROW1\0\0 and no more", "cannot be read as an Arrow file"),
        ("torn.stream", b"\xff\xff\xff\xff\xff\xff\xff\xff", "cannot be read as an Arrow stream"),
        ("picture.png", b"\x89PNG secret", "neither Parquet nor Arrow"),
    ],
)
def test_an_unreadable_file_ends_in_one_line_without_its_content(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    line = refusal(path, Selection.of("*"))
    assert said in line
    assert str(path) in line
    assert "secret" not in line


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    assert "Is a directory" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (Selection.of("nope"), "--features: the source has no column 'nope'; it has: age, plan"),
        (Selection.of("age", "nope"), "--latency"),
        (Selection.of("age", "", "nope"), "--segments"),
        (Selection.of("", "", "", "nope=label"), "--rename"),
        (Selection.of("at"), "'at' holds neither numbers nor text"),
        (Selection.of("age", "", "at"), "'segments.at' is timestamp"),
        (Selection.of("", "", "", "age=latency_ms,took=latency_ms"), "both become 'latency_ms'"),
        (Selection.of("age", "", "", "took=features.age"), "both become 'features.age'"),
    ],
)
def test_a_selection_that_does_not_fit_is_refused(
    tmp_path: Path, selection: Selection, said: str
) -> None:
    write_parquet(TABLE, tmp_path / "t.parquet")
    assert said in refusal(tmp_path / "t.parquet", selection)


@pytest.mark.parametrize("selection", [Selection(), Selection.of("", "", "country")])
def test_choosing_nothing_is_refused_with_what_there_is(
    tmp_path: Path, selection: Selection
) -> None:
    write_parquet(TABLE.drop_columns(["scores.quality"]), tmp_path / "t.parquet")
    said = refusal(tmp_path / "t.parquet", selection)
    assert "no usable column is chosen" in said
    assert "it has: age, plan, took, country, at" in said


def test_a_table_too_large_to_hold_is_refused() -> None:
    huge = pa.table({"age": pa.nulls(MOST_CELLS // 2 + 1, pa.null())})
    wide = pa.Table.from_arrays(
        [pa.nulls(len(huge), pa.null()).cast(pa.bool_())] * 2, names=["a", "b"]
    )
    client = SimpleNamespace(query_arrow=lambda sql: wide)
    said = refusal("clickhouse:SELECT 1", Selection.of("a,b"), connect=lambda: client)
    assert "sample" in said


@pytest.mark.parametrize("rename", ["a", "=b", "a="])
def test_a_renaming_without_both_names_is_refused(rename: str) -> None:
    with pytest.raises(UserError, match="old=new"):
        Selection.of(rename=rename)


def test_a_reference_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    write_parquet(TABLE, tmp_path / "t.parquet")
    said = refusal(tmp_path / "t.parquet", out=tmp_path / "none" / "reference.json")
    assert "cannot be written: No such file" in said


def test_a_model_needs_a_name(tmp_path: Path) -> None:
    assert "--model" in refusal(tmp_path / "t.parquet", model=" ")

"""Recordings: every format gives the same events, in order, in bounded blocks, or a clear error."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import confluent_kafka
import pyarrow as pa
import pyarrow.parquet
import pytest
from confluent_kafka import KafkaError, Message, TopicPartition

from streams.codecs import make_codec
from streams.errors import UnavailableError, UserError
from streams.event import Bounds
from streams.inputs import InputSettings
from streams.recorded import ROWS_AT_ONCE, Columns, Recording, in_order, open_files
from streams.recorded_lines import read_lines
from streams.recorded_topic import open_topic
from streams.timeline import NEVER

START_MS = 1_700_000_000_000
LATEST_MS = START_MS + 10**9
BOUNDS = Bounds(min_ts_ms=0, max_ts_ms=LATEST_MS)


def event(at_ms: int, version: str = "1") -> dict[str, object]:
    ts = START_MS + at_ms
    return {"ts": ts, "model": "m", "version": version, "features": {"x": at_ms / 10}}


EVENTS = [event(at) for at in range(0, 3_000, 10)]


def lines(events: Sequence[object]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in events)


def read(recording: Recording) -> list[tuple[int, str, float]]:
    """All events as the codec of the recording sees them: (ts, version, x), in order."""
    codec = make_codec(recording.input.format.value)
    found: list[tuple[int, str, float]] = []
    for block in in_order(recording, 1):
        for written in block.written(0, len(block.clock_ms)):
            decoded = codec.decode([written.value], None, BOUNDS)
            assert decoded.rejects == ()
            for batch in decoded.batches:
                versions = [batch.releases[code][0] for code in batch.release]
                x = batch.numeric["features.x"]
                found += zip(batch.ts_ms.tolist(), versions, x.tolist(), strict=True)
    return found


def write_ndjson(path: Path) -> None:
    path.write_bytes(lines(EVENTS))


def write_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(lines(EVENTS)))


def write_parquet(path: Path) -> None:
    pyarrow.parquet.write_table(pa.Table.from_pylist(EVENTS), path, row_group_size=70)


def write_arrow_file(path: Path) -> None:
    table = pa.Table.from_pylist(EVENTS)
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=90)


def write_arrow_stream(path: Path) -> None:
    table = pa.Table.from_pylist(EVENTS)
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    "write", [write_ndjson, write_gzip, write_parquet, write_arrow_file, write_arrow_stream]
)
def test_every_format_gives_the_same_events(write: object, tmp_path: Path) -> None:
    path = tmp_path / "events"
    assert callable(write)
    write(path)
    expected = [(START_MS + at, "1", at / 10) for at in range(0, 3_000, 10)]
    assert read(open_files(path, Columns(), LATEST_MS)) == expected


def test_columns_are_renamed_and_constants_added(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    rows = [{"when": START_MS + at, "features.x": 1.0} for at in (0, 10)]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    columns = Columns({"when": "ts"}, {"model": "m", "version": "7"})
    assert [e[:2] for e in read(open_files(path, columns, LATEST_MS))] == [
        (START_MS, "7"),
        (START_MS + 10, "7"),
    ]


def test_files_are_merged_by_time_whatever_their_names(tmp_path: Path) -> None:
    (tmp_path / "b.ndjson").write_bytes(lines([event(at, "b") for at in range(0, 100, 10)]))
    (tmp_path / "a.ndjson").write_bytes(lines([event(at, "a") for at in range(45, 300, 10)]))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.ndjson").write_bytes(lines([event(at, "c") for at in (400, 401)]))
    (tmp_path / "_ignored.ndjson").write_bytes(b"{")
    found = read(open_files(tmp_path, Columns(), LATEST_MS))
    assert [ts for ts, _, _ in found] == sorted(ts for ts, _, _ in found)
    assert len(found) == 10 + 26 + 2


def test_a_large_file_is_read_in_blocks_and_its_size_adds_up(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    count = 3 * ROWS_AT_ONCE + 5
    table = pa.table({"ts": range(START_MS, START_MS + count), "model": ["m"] * count})
    table = table.append_column("version", table["model"])
    pyarrow.parquet.write_table(table, path, row_group_size=count)
    recording = open_files(path, Columns(), LATEST_MS)
    blocks = list(in_order(recording, 1_000))
    assert max(len(block.clock_ms) for block in blocks) <= ROWS_AT_ONCE
    assert sum(len(block.clock_ms) for block in blocks) == count
    assert sum(block.size for block in blocks) == pytest.approx(recording.size, abs=len(blocks))


def test_the_clock_stands_where_a_time_cannot_be_read_or_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "e.ndjson"
    odd: list[object] = [
        {"x": 1},
        event(50),
        {"ts": "soon"},
        event(2 * 10**9),
        event(20),
        event(60),
    ]
    path.write_bytes(lines(odd))
    (block,) = in_order(open_files(path, Columns(), LATEST_MS), 1_000)
    clock = [NEVER, *(START_MS + at for at in (50, 50, 50, 50, 60))]
    assert block.clock_ms.tolist() == clock


def test_an_endless_line_is_cut_and_the_next_one_is_read(tmp_path: Path) -> None:
    path = tmp_path / "e.ndjson"
    path.write_bytes(b"x" * 5_000 + b"\n\n \n" + b"y\n" + b"z" * 999)
    assert [line for block, _ in read_lines(path, 100) for line in block] == [
        b"x" * 101,
        b"y",
        b"z" * 101,
    ]


def parquet_without_ts(path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"model": ["m"], "version": ["1"]}), path)


def parquet_of_lists(path: Path) -> None:
    table = pa.table({"ts": [[1]], "model": ["m"], "version": ["1"]})
    pyarrow.parquet.write_table(table, path)


def broken_parquet(path: Path) -> None:
    write_parquet(path)
    path.write_bytes(path.read_bytes()[:-40])


def broken_gzip(path: Path) -> None:
    write_gzip(path)
    path.write_bytes(path.read_bytes()[:200])


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def some_text(path: Path) -> None:
    path.write_text("a,b\n1,2\n")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (parquet_without_ts, "events need ts"),
        (broken_parquet, "cannot be read"),
        (broken_gzip, "cannot be read"),
        (nothing, "empty"),
        (some_text, "neither Parquet nor Arrow"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_error(
    write: object, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "f"
    assert callable(write)
    write(path)
    with pytest.raises(UserError, match=said) as error:
        read(open_files(path, Columns(), LATEST_MS))
    assert str(path) in str(error.value)


def test_a_column_of_times_that_are_none_moves_no_clock(tmp_path: Path) -> None:
    path = tmp_path / "f"
    parquet_of_lists(path)
    (block,) = in_order(open_files(path, Columns(), LATEST_MS), 1_000)
    assert block.clock_ms.tolist() == [NEVER]


def test_a_folder_without_events_and_one_of_two_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no recorded events"):
        open_files(tmp_path, Columns(), LATEST_MS)
    write_ndjson(tmp_path / "a.ndjson")
    write_parquet(tmp_path / "b.parquet")
    with pytest.raises(UserError, match="tables and lines"):
        open_files(tmp_path, Columns(), LATEST_MS)
    with pytest.raises(UserError, match="as they are"):
        open_files(tmp_path / "a.ndjson", Columns({"a": "ts"}), LATEST_MS)


# --- topics --------------------------------------------------------------------------------------


class ListedConsumer:
    """A consumer of lists: partition -> messages, from offset ``first``, then the end."""

    def __init__(self, logs: dict[int, list[Message]], first: int, fails: bool = False) -> None:
        self._logs, self._first, self._fails = logs, first, fails
        self._left: Iterator[Message] = iter(())

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = 0
    ) -> tuple[int, int] | None:
        log = self._logs[partition.partition]
        return (self._first, self._first + len(log)) if log else (0, 0)

    def assign(self, partitions: list[TopicPartition]) -> None:
        (place,) = partitions
        assert place.offset == self._first
        self._left = iter(self._logs[place.partition])

    def consume(self, num_messages: int = 1, timeout: float = 0) -> list[Message]:
        if self._fails:
            return [Message(error=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))]
        message = next(self._left, None)
        if message is None:
            return [Message(error=KafkaError(KafkaError._PARTITION_EOF))]
        return [message]

    def close(self) -> None:
        self._left = iter(())


def logged(partition: int, offset: int, at_ms: int) -> Message:
    body = json.dumps(event(at_ms, str(partition))).encode()
    return confluent_kafka.Message("t", partition, offset, value=body, timestamp=(1, START_MS))


def topic(logs: dict[int, list[Message]], *, fails: bool = False) -> Recording:
    settings = InputSettings(topic="t")
    return open_topic(lambda: ListedConsumer(logs, 5, fails), settings, len(logs), LATEST_MS)


def test_partitions_of_a_topic_are_merged_by_time_up_to_their_ends() -> None:
    logs = {
        0: [logged(0, 5 + i, 10 * i) for i in range(50)],
        1: [],
        2: [logged(2, 5 + i, 10 * i + 5) for i in range(20)],
    }
    recording = topic(logs)
    found = read(recording)
    assert recording.size == 70
    assert [ts - START_MS for ts, _, _ in found] == sorted([*range(0, 500, 10), *range(5, 205, 10)])


def test_messages_that_come_while_reading_are_left_for_the_next_time() -> None:
    log = [logged(0, 5 + i, i) for i in range(4)]
    logs = {0: log[:3]}
    recording = topic(logs)
    logs[0].append(log[3])
    assert len(read(recording)) == 3


def test_a_topic_that_may_not_be_read_is_an_error() -> None:
    with pytest.raises(UnavailableError, match="TOPIC_AUTHORIZATION_FAILED"):
        read(topic({0: [logged(0, 5, 0)]}, fails=True))

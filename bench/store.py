"""``store``: finding rows a second, from the judge's messages into the store.

The engine (chDB with our tables) runs in a process of its own, behind the HTTP protocol that a
ClickHouse server speaks too; the loop of the store role runs here, with the client that production
uses. What it reads is prepared: messages as the judge writes them, 500 findings each, of 20 models
in turn. So the client's CPU time (JSON to records, columns, Arrow, HTTP) and the engine's stand
apart, and Kafka's cost is not in them. The main figures are CPU time per row of either, and rows a
second on the wall: those of a loop that reads one batch while the other is stored, and inserts no
sooner than a second after the last insert, on what the machine has left. It needs two cores.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
from confluent_kafka import Message, TopicPartition
from rich.progress import Progress

from bench.measure import Spread, cpu_s_of, figure, report, resident_mb, show
from detectors.finding import Finding, Outcome
from detectors.release import Release, Role
from detectors.thresholds import Detector
from sinks.clickhouse import StoreSettings, connect, insert_columns
from sinks.row_messages import RowMessages
from sinks.rows import to_columns
from sinks.schema import FINDINGS
from sinks.table import Table
from streams import internal_topics
from streams.store_batch import Batch
from streams.store_loop import Store, StoreRoleSettings, rare_collections
from streams.tied_process import tied
from streams.wire import finding_row

GATE = 400_000
"""Finding rows a second: of client and engine on a core each, and of both together on the wall."""
ROWS_PER_MESSAGE = 500
_ROWS = 100_000
_MODELS = 20
_COLUMNS = 50
_DETECTORS = tuple(Detector)[:10]
_START_MS = 1_780_000_000_000
_WINDOW_MS = 60_000
_READY_S = 60
_FEWEST_INSERTS = 4
_REFERENCE = "3f8a9b1c2d3e4f5061728394a5b6c7d8"


@dataclass(slots=True)
class Feed:
    """A consumer that has messages at once, for ``seconds``: the same ones again and again."""

    messages: Sequence[bytes]
    seconds: float
    began_s: float = field(default_factory=time.monotonic)
    given: int = 0
    paused: bool = False

    def over(self) -> bool:
        return time.monotonic() - self.began_s > self.seconds

    def subscribe(self, topics: list[str], *, on_revoke: Callable[..., None]) -> None:
        del topics, on_revoke

    def consume(self, num_messages: int, timeout: float) -> Sequence[Message]:
        if self.paused:
            time.sleep(timeout)
            return []
        # One message is 500 rows: a poll of few keeps the loop's look at its clock frequent.
        count = min(num_messages, 20)
        self.given += count
        first = self.given - count
        values = (self.messages[at % len(self.messages)] for at in range(first, self.given))
        return [
            Message(internal_topics.FINDINGS, 0, at, value=value)
            for at, value in enumerate(values, first)
        ]

    def commit(
        self, *, offsets: list[TopicPartition], asynchronous: Literal[False]
    ) -> list[TopicPartition]:
        del asynchronous
        return offsets

    def assignment(self) -> list[TopicPartition]:
        return []

    def pause(self, partitions: list[TopicPartition]) -> None:
        del partitions
        self.paused = True

    def resume(self, partitions: list[TopicPartition]) -> None:
        del partitions
        self.paused = False

    def close(self) -> None:
        pass


def run(quick: bool) -> str:
    """All measurements; returns the JSON line."""
    rounds, seconds = (2, 4.0) if quick else (5, 10.0)
    messages = findings(_ROWS)
    through: list[dict[str, float]] = []
    steps: dict[str, list[float]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="driftline-store-") as folder,
        _engine(Path(folder)) as (port, pid),
        Progress(transient=True) as progress,
    ):
        client = connect(StoreSettings(http_port=port))
        task = progress.add_task("storing", total=rounds)

        def insert(table: Table, columns: pa.Table) -> None:
            insert_columns(client, table, columns)

        for _ in range(rounds):
            through.append(_through(messages, seconds, insert, pid))
            with rare_collections():
                alone_once = _steps(messages, insert, pid)
            for name, spent in alone_once.items():
                steps.setdefault(name, []).append(spent)
            progress.advance(task)
        (row,) = client.query("SELECT count() FROM driftline.findings FINAL").result_rows
        kept = int(row[0])
        client.close()
    found = {name: Spread.of([each[name] for each in through]) for name in through[0]}
    alone = {name: Spread.of(spent) for name, spent in steps.items()}
    show(
        "The loop of the store role, messages to rows in ClickHouse's tables",
        ("figure", "median (lowest to highest)"),
        [
            [
                name.replace("_", " "),
                f"{spread.median:,.5g} ({spread.low:,.5g} to {spread.high:,.5g})",
            ]
            for name, spread in found.items()
        ],
    )
    show(
        "Steps alone, µs of CPU a row",
        ("step", "median (lowest to highest)"),
        [[name, str(spread)] for name, spread in alone.items()],
    )
    client_rate = 1e6 / (alone[_READ].median + alone[_INSERT].median)
    engine_rate = 1e6 / alone[_ENGINE].median
    wall_rate = found["rows_per_s"].median
    apart = min(each["least_s_between_inserts"] for each in through)
    return report(
        "store",
        "quick" if quick else "full",
        {
            "rounds": rounds,
            "message_bytes_per_row": figure(sum(map(len, messages)) / _ROWS),
            "through": {name: spread.fields() for name, spread in found.items()},
            "steps_us_per_row": {name: spread.fields() for name, spread in alone.items()},
            "client_rows_per_s_per_core": figure(client_rate),
            "engine_rows_per_s_per_core": figure(engine_rate),
            "least_s_between_inserts": figure(apart),
            # All rounds write the same rows: their keys make that change nothing.
            "rows_kept": kept,
            "rows_per_s_wall": figure(wall_rate),
            "gate_rows_per_s": GATE,
            "passed": min(client_rate, engine_rate, wall_rate) >= GATE
            and apart >= 1.0
            and kept == _ROWS,
        },
    )


def findings(rows: int) -> list[bytes]:
    """Messages of findings: 50 columns with ten statistics each, window after window, the models in
    turn."""
    written = []
    for number in range(rows // ROWS_PER_MESSAGE):
        release = Release(f"model-{number % _MODELS}", "7", Role.CANARY)
        start = _START_MS + number // _MODELS * _WINDOW_MS
        window = [
            finding_row(_finding(release, start, number, at), offset=123_456 + number)
            for at in range(ROWS_PER_MESSAGE)
        ]
        written.append(msgspec.json.encode({"rows": window}))
    return written


def _finding(release: Release, start_ms: int, window: int, at: int) -> Finding:
    decides = at % len(_DETECTORS) == 0
    return Finding(
        release=release,
        segment="country=DE",
        column=f"features.f{at // len(_DETECTORS) % _COLUMNS}",
        window_ms=_WINDOW_MS,
        window_start_ms=start_ms,
        detector=_DETECTORS[at % len(_DETECTORS)],
        against=_REFERENCE,
        revision=0,
        statistic=(at * 7919 + window * 104_729) % 1_000_003 / 1_000_003,
        threshold=0.25 if decides else float("nan"),
        n=1_200 + at % 100,
        n_against=100_000,
        outcome=Outcome.PASS,
        reason="",
        decides=decides,
        critical=False,
    )


def _through(
    messages: Sequence[bytes], seconds: float, insert: Callable[..., None], engine: int
) -> dict[str, float]:
    """What the whole loop does in ``seconds``, or in as many more as some inserts need."""
    began: list[float] = []

    def noted(table: Table, columns: pa.Table) -> None:
        began.append(time.monotonic())
        insert(table, columns)

    feed = Feed(messages, seconds)
    store = Store(feed, noted, StoreRoleSettings(), topics={internal_topics.FINDINGS: FINDINGS})
    wall, cpu, theirs = time.monotonic(), time.process_time(), cpu_s_of(engine)
    store.run(lambda: feed.over() and len(began) >= _FEWEST_INSERTS)
    wall, cpu, theirs = (
        time.monotonic() - wall,
        time.process_time() - cpu,
        cpu_s_of(engine) - theirs,
    )
    stored = store.counts.rows
    # The last insert is that of the end, which does not wait.
    gaps = [b - a for a, b in pairwise(began[:-1])]
    return {
        "rows_per_s": stored / wall,
        "rows_per_insert": stored / len(began),
        "least_s_between_inserts": min(gaps),
        "client_us_per_row": cpu / stored * 1e6,
        "engine_us_per_row": theirs / stored * 1e6,
        "client_rss_mb": resident_mb(),
        "engine_rss_mb": resident_mb(engine),
    }


_READ = "messages to columns"
_PLAIN = "the same by plain rows (yardstick)"
_INSERT = "insert over HTTP, client"
_ENGINE = "insert over HTTP, engine"


def _steps(messages: Sequence[bytes], insert: Callable[..., None], engine: int) -> dict[str, float]:
    rows = len(messages) * ROWS_PER_MESSAGE

    def refuse(*why: object) -> None:
        raise RuntimeError(f"a message was refused: {why}")

    start = time.process_time()
    batch = Batch({FINDINGS.name: RowMessages(FINDINGS)}, refuse)
    for at, message in enumerate(messages):
        batch.enter(FINDINGS.name, (internal_topics.FINDINGS, 0), at, message)
    columns = batch.columns(FINDINGS)
    read = time.process_time() - start
    start = time.process_time()
    plain = to_columns(FINDINGS, [row for raw in messages for row in json_rows(raw)])
    by_rows = time.process_time() - start
    if columns is None or not columns.equals(plain):
        raise RuntimeError("both ways of reading must give the same columns")
    start, theirs = time.process_time(), cpu_s_of(engine)
    insert(FINDINGS, columns)
    ours, theirs = time.process_time() - start, cpu_s_of(engine) - theirs
    spent = {_READ: read, _PLAIN: by_rows, _INSERT: ours, _ENGINE: theirs}
    return {name: each / rows * 1e6 for name, each in spent.items()}


def json_rows(raw: bytes) -> list[dict[str, Any]]:
    """The rows of a message as dictionaries."""
    rows: list[dict[str, Any]] = msgspec.json.decode(raw)["rows"]
    return rows


@contextmanager
def _engine(folder: Path) -> Iterator[tuple[int, int]]:
    """The embedded store with its HTTP port, in a process of its own: the port and the pid."""
    command = tied([sys.executable, "-m", "bench.store_engine", str(folder)])
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
        if not line:
            said = process.stderr.read() if process.stderr is not None else ""
            raise RuntimeError(f"the engine did not start: {said.strip()[-300:]}")
        yield int(json.loads(line)["port"]), process.pid
    finally:
        process.terminate()
        try:
            process.communicate(timeout=_READY_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()

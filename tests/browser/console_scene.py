"""What the console is looked at in: a store and a board filled by the real line, and a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from detectors.release import Release, Role
from detectors.rollback_case import RollbackState
from detectors.verdict import Status, Verdict
from examples.serving import bind
from sinks.api import ApiParts, Readiness, create_app
from sinks.clickhouse import insert
from sinks.console.routes import ConsoleParts, console
from sinks.console.store_view import StoreView
from sinks.control import CaseRecord
from sinks.embedded_store import EmbeddedStore
from sinks.errors import Retryable
from sinks.migrations import migrate
from sinks.schema import DATABASE
from sinks.verdict_board import VerdictBoard
from streams.config import load_config
from streams.outputs import Outputs
from streams.recorded import Block, Written
from tests.dashboards.conftest import CONFIG, RecordingLine, events
from tests.web_server import QUIET, running

MODEL = "fraud"
MARKUP = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
TURNED = "evil\u202egnp.exe\u0000\n\u2066 end"
LONG = "long-" + "x" * 65_536
TOKEN = "a-long-enough-token"
AWAY = "No answer from ClickHouse to the question for results. Is the server up?"


class JudgedLine(RecordingLine):
    """The line, which also keeps its verdicts whole: with the findings behind them."""

    verdicts: list[Verdict]

    def _publish(self, outputs: Outputs) -> None:
        self.verdicts = [*getattr(self, "verdicts", []), *outputs.verdicts]
        super()._publish(outputs)


def recording(folder: Path) -> JudgedLine:
    """Seventy minutes of one model: a canary that gets worse, then data that changes."""
    file = folder / "driftline.yaml"
    file.write_text(CONFIG)
    line = JudgedLine(load_config(file, {}))
    timed = list(events(MODEL, np.random.default_rng(7)))
    written = [msgspec.json.encode(event) for _, event in timed]
    clock = np.array([ts for ts, _ in timed], np.int64)
    line.take(Block(clock, lambda low, high: [Written(v, 0) for v in written[low:high]], 0))
    line.finish()
    return line


def hostile_verdict(like: Verdict, model: str) -> Verdict:
    """A verdict of a release whose name wants to be something else."""
    return replace(
        like,
        release=Release(model, "1", Role.CANARY),
        reason=f"because of {model[:100]}",
        baseline_version=model[:100],
    )


@dataclass
class Scene:
    """Everything behind the page, to be changed by a test."""

    store: EmbeddedStore
    board: VerdictBoard
    newest: Verdict
    now_ms: int
    away: bool = False
    cases: list[CaseRecord] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        if self.away:
            raise Retryable(AWAY)
        with self.lock:
            return self.store.client.query(sql, parameters=dict(parameters)).result_rows

    def rows(self, sql: str) -> Sequence[Sequence[Any]]:
        """What the store says, asked directly."""
        with self.lock:
            return self.store.client.query(sql.replace("{db}", DATABASE)).result_rows

    def judge(self, release: Release, status: Status, reason: str) -> None:
        """A new verdict of a release comes in."""
        self.board.update(
            replace(
                self.newest,
                release=release,
                status=status,
                reason=reason,
                sequence=10**9 + time.time_ns(),
            ),
            self.now_ms,
        )

    @contextmanager
    def served(self, tokens: tuple[str, ...] = ()) -> Iterator[str]:
        """The API and the console at a free port of loopback; gives the address."""
        pages = console(
            ConsoleParts(
                standings=lambda: self.board.standings(self.now_ms, 300_000),
                waiting_for=lambda: "",
                store=StoreView(self.ask, time.monotonic, DATABASE),
                now_ms=lambda: self.now_ms,
                tokens=tokens,
                cases=lambda: self.cases,
            )
        )
        app = create_app(
            ApiParts(
                board=self.board,
                now_ms=lambda: self.now_ms,
                max_age_ms=300_000,
                ready=lambda: Readiness(True, ""),
                findings=lambda query: [],
                tokens=tokens,
                pages=pages,
            )
        )
        with listening(app) as url:
            yield url


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """An ASGI application at a free port of loopback; gives the address."""
    with bind("127.0.0.1", 0) as listener, running(app, listener, **QUIET) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def filled(folder: Path, line: JudgedLine) -> Iterator[Scene]:
    """A scene with the recording in it, and beside it releases with hostile names."""
    newest: dict[Release, Verdict] = {each.release: each for each in line.verdicts}
    canary = newest[Release(MODEL, "2", Role.CANARY)]
    now_ms = max(each.as_of_ms for each in newest.values()) + 30_000
    board = VerdictBoard()
    for each in newest.values():
        board.update(each, now_ms - 10_000)
    for name in (MARKUP, TURNED, LONG):
        board.update(hostile_verdict(canary, name), now_ms - 10_000)
    case = CaseRecord(
        key="k",
        model=MODEL,
        version="2",
        role=Role.CANARY,
        return_to="1",
        state=RollbackState.VERIFIED,
        revision=1,
        by="policy",
        reason=MARKUP,
        requested=True,
        proposed_ms=now_ms - 60_000,
        changed_ms=now_ms - 50_000,
    )
    with EmbeddedStore(folder / "store") as store:
        migrate(store.client)
        for table, rows in line.rows.items():
            insert(store.client, table, rows, database=DATABASE)
        yield Scene(store, board, canary, now_ms, cases=[case])

"""A store filled by the real line: recorded traffic through summarizer, judge and deliver."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import msgspec
import numpy as np
import pytest
import structlog

from dashboards.macros import Range
from detectors.action import Action, ActionKind
from detectors.verdict import Verdict
from sinks.clickhouse import insert
from sinks.embedded_store import EmbeddedStore
from sinks.migrations import migrate
from sinks.owners import OwnerSettings
from sinks.receivers import Routes
from sinks.schema import (
    ACTIONS,
    AUDIT,
    DATABASE,
    DEAD_LETTERS,
    FINDINGS,
    INTAKE,
    REFERENCES,
    VERDICTS,
    WINDOWS,
)
from sinks.table import Table
from streams.backtest import Line, Policy
from streams.backtest_outcome import Budget, Truth
from streams.config import Config, load_config
from streams.deliver import DeliverSettings, new_state, on_delivery, on_tick, on_verdict
from streams.inputs import InputSettings
from streams.internal_topics import DEADLETTERS
from streams.internal_topics import INTAKE as INTAKE_TOPIC
from streams.outbox import ActionRow, Delivery, DeliveryState
from streams.outputs import Outputs
from streams.recorded import Block, Written
from streams.reference_book import encode_reference
from streams.wire import Row, finding_row, verdict_row

BEGIN_MS = 1_760_000_400_000
MINUTES = 70
BAD_FROM = 25
DRIFT_FROM = 50
PER_MINUTE = 80
HOSTILE = "x\\' OR 1=1 -- `\"</script>${version}%27"
"""A model that wants to be SQL, markup and a variable of Grafana."""
CONFIG = """
time: {pane: 30s, windows: [1m, 5m]}
summarize: {compiled: false}
judge: {learn_events: 800, blind_after: 30m}
detect: {min_events: 15}
"""
ROUTES = Routes(
    {
        ActionKind.PAGE: ("pager",),
        ActionKind.RESOLVE: ("pager",),
        ActionKind.ROLLBACK: ("deployer",),
    },
    owners=(OwnerSettings("risk", ("fraud*",)),),
)


class RecordingLine(Line):
    """The line of a backtest, which also keeps the rows that it would have sent to the store."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            Policy("boards", config), InputSettings("predictions"), (), Truth(), Budget(1, 1)
        )
        self.rows: dict[Table, list[Row]] = {
            table: []
            for table in (
                WINDOWS,
                FINDINGS,
                VERDICTS,
                ACTIONS,
                AUDIT,
                DEAD_LETTERS,
                INTAKE,
                REFERENCES,
            )
        }
        self._deliver: dict[str, Any] = {}
        self._deliver_settings = DeliverSettings()
        summarizer, rows = self._summarizer, self.rows
        flush = summarizer.flush

        def recorded(now_ms: int, at_end: Mapping[Any, bool]) -> Any:
            records = flush(now_ms, at_end)
            for record in records:
                table = {DEADLETTERS: DEAD_LETTERS, INTAKE_TOPIC: INTAKE}.get(record.topic)
                if table is not None:
                    rows[table] += msgspec.json.decode(record.value)["rows"]
            return records

        summarizer.flush = recorded  # type: ignore[method-assign]

    def _publish(self, outputs: Outputs) -> None:
        self.rows[WINDOWS] += outputs.windows
        self.rows[FINDINGS] += [finding_row(each, 1) for each in outputs.findings]
        self.rows[VERDICTS] += [verdict_row(each) for each in outputs.verdicts]
        for reference in outputs.learnt:
            sent = msgspec.json.decode(encode_reference(reference, self._newest_ms))
            self.rows[REFERENCES] += sent["rows"]
        super()._publish(outputs)

    def _decide(self, verdict: Verdict) -> None:
        model, now_ms = verdict.release.model, self._newest_ms
        state = self._deliver.get(model) or new_state(model)
        settings = self._deliver_settings
        state, rows = on_verdict(state, verdict, settings, ROUTES, now_ms)
        self._note(rows)
        state, rows = on_tick(state, settings, ROUTES, now_ms)
        self._note(rows)
        for entry in list(state.outbox.due(now_ms + 1_000, rollbacks=True)):
            done = Delivery(DeliveryState.ACKNOWLEDGED, "done")
            state, rows = on_delivery(state, entry, done, settings, ROUTES, now_ms + 1_000)
            self._note(rows)
        self.rows[AUDIT] += [asdict(row) for row in state.unpublished]
        self._deliver[model] = replace(state, unpublished=())
        super()._decide(verdict)

    def _act(self, model: str, state: Any, actions: Sequence[Action]) -> None:
        # The recording goes on after a rollback: the boards show what a failing release looks like.
        self._policies[model] = state

    def _note(self, rows: Sequence[ActionRow]) -> None:
        self.rows[ACTIONS] += [msgspec.to_builtins(row) for row in rows]


def events(model: str, rng: np.random.Generator) -> Iterator[tuple[int, dict[str, Any]]]:
    """A model with production, canary and shadow; the canary gets worse, and later the data
    changes for all."""
    for minute in range(MINUTES):
        for i in range(PER_MINUTE):
            ts = BEGIN_MS + minute * 60_000 + i * (60_000 // PER_MINUTE)
            role = ("production", "production", "canary", "shadow")[i % 4]
            bad = role == "canary" and minute >= BAD_FROM
            drifted = minute >= DRIFT_FROM
            event = {
                "ts": ts,
                "model": model,
                "version": {"production": "1", "canary": "2", "shadow": "3"}[role],
                "role": role,
                "segments": {"country": ("DE", "FR")[i // 4 % 2]},
                "features": {
                    "amount": float(rng.lognormal(3, 1) * (3 if drifted else 1)),
                    "topic": ("trees" if drifted and i % 3 else ("arrays", "graphs")[i % 2]),
                    "age": None if drifted and i % 5 == 0 else float(rng.normal(40, 10)),
                },
                "prediction": {"label": ("A", "B")[int(rng.random() < 0.3)]},
                "scores": {"quality": float(rng.random() < (0.4 if bad else 0.9))},
                "latency_ms": float(rng.lognormal(5, 0.5) * (3 if bad else 1)),
                "tokens_in": 100 + i,
                "tokens_out": 200 - i,
                "cost": 0.01 * (1 + i % 3),
                "status": "error" if rng.random() < (0.1 if bad else 0.01) else "ok",
            }
            yield ts, event


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> RecordingLine:
    """The rows of the whole line, for two models; now and then a message cannot be read."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    file = tmp_path_factory.mktemp("config") / "driftline.yaml"
    file.write_text(CONFIG)
    line = RecordingLine(load_config(file, {}))
    rng = np.random.default_rng(7)
    both = sorted([*events("fraud", rng), *events(HOSTILE, rng)], key=lambda timed: timed[0])
    written, clock = [], []
    for number, (ts, event) in enumerate(both):
        written.append(msgspec.json.encode(event) if number % 500 else b'{"ts": ')
        clock.append(ts)
    block = Block(
        np.array(clock, np.int64),
        lambda low, high: [Written(value, 0) for value in written[low:high]],
        0,
    )
    line.take(block)
    line.finish()
    structlog.reset_defaults()
    return line


@pytest.fixture(scope="module")
def filled(
    recorded: RecordingLine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedStore]:
    """The embedded store with all of these rows. One a module: a process has one engine."""
    with EmbeddedStore(tmp_path_factory.mktemp("store")) as store:
        migrate(store.client)
        for table, rows in recorded.rows.items():
            insert(store.client, table, rows, database=DATABASE)
        yield store


@pytest.fixture(scope="session")
def seen() -> Range:
    """What a viewer looks at: all of it."""
    return Range(BEGIN_MS - 600_000, BEGIN_MS + (MINUTES + 20) * 60_000, 60_000)

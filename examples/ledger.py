"""The memory of the example deployer: what runs, and every request it ever took, in SQLite."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS running (
    model TEXT PRIMARY KEY, production TEXT NOT NULL, canary TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS decided (
    webhook_id TEXT PRIMARY KEY, outcome TEXT NOT NULL, detail TEXT NOT NULL,
    at_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS requests (
    n INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, webhook_id TEXT NOT NULL,
    outcome TEXT NOT NULL, detail TEXT NOT NULL);
"""


class Outcome(StrEnum):
    """What became of a request. Only EXECUTED changed anything."""

    EXECUTED = "executed"
    DECLINED = "declined"
    REPEATED = "repeated"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Running:
    """The versions of a model that serve; ``canary`` is "" if there is none."""

    model: str
    production: str
    canary: str


@dataclass(frozen=True, slots=True)
class Decided:
    """The outcome of a webhook id; ``first`` if this request is the one that decided it."""

    outcome: Outcome
    detail: str
    first: bool


@dataclass(frozen=True, slots=True)
class Logged:
    """One line of the log."""

    at_ms: int
    webhook_id: str
    outcome: str
    detail: str


class Ledger:
    """State in one SQLite file. Ids are kept for ever, so for longer than any sender retries.

    Every change is one immediate transaction: of several requests with one id, in one process or
    in several, exactly one decides and the others read what it decided.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._connect()) as db:
            db.executescript(SCHEMA)

    def deploy(self, running: Running) -> None:
        """Say what runs, as a deployment pipeline would."""
        with closing(self._connect()) as db:
            db.execute(
                "INSERT INTO running VALUES (?, ?, ?) ON CONFLICT (model) DO UPDATE "
                "SET production = excluded.production, canary = excluded.canary",
                (running.model, running.production, running.canary),
            )

    def roll_back(
        self, webhook_id: str, model: str, version: str, return_to: str, at_ms: int
    ) -> Decided:
        """Take the canary ``version`` out, if it runs next to ``return_to``. Once per id."""
        db = self._connect()
        try:
            db.execute("BEGIN IMMEDIATE")
            known = db.execute(
                "SELECT outcome, detail FROM decided WHERE webhook_id = ?", (webhook_id,)
            ).fetchone()
            if known is not None:
                self._log(db, at_ms, webhook_id, Outcome.REPEATED, f"first time: {known[0]}")
                db.execute("COMMIT")
                return Decided(Outcome(known[0]), str(known[1]), first=False)
            changed = db.execute(
                "UPDATE running SET canary = '' WHERE model = ? AND canary = ? AND production = ?",
                (model, version, return_to),
            ).rowcount
            outcome = Outcome.EXECUTED if changed else Outcome.DECLINED
            detail = (
                f"{model}: canary {version} taken out, {return_to} serves everything"
                if changed
                else f"{model}: canary {version} does not run next to {return_to}: nothing done"
            )
            db.execute(
                "INSERT INTO decided VALUES (?, ?, ?, ?)", (webhook_id, outcome, detail, at_ms)
            )
            self._log(db, at_ms, webhook_id, outcome, detail)
            db.execute("COMMIT")
        finally:
            # Closing without COMMIT undoes everything: a request is decided whole or not at all.
            db.close()
        return Decided(outcome, detail, first=True)

    def note(self, at_ms: int, webhook_id: str, outcome: Outcome, detail: str) -> None:
        """Log a request that changed nothing."""
        with closing(self._connect()) as db:
            self._log(db, at_ms, webhook_id, outcome, detail)

    def running(self) -> tuple[Running, ...]:
        with closing(self._connect()) as db:
            rows = db.execute("SELECT model, production, canary FROM running ORDER BY model")
            return tuple(Running(*row) for row in rows)

    def log(self) -> tuple[Logged, ...]:
        with closing(self._connect()) as db:
            rows = db.execute("SELECT at_ms, webhook_id, outcome, detail FROM requests ORDER BY n")
            return tuple(Logged(*row) for row in rows)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=10, isolation_level=None)

    @staticmethod
    def _log(
        db: sqlite3.Connection, at_ms: int, webhook_id: str, outcome: Outcome, detail: str
    ) -> None:
        db.execute(
            "INSERT INTO requests (at_ms, webhook_id, outcome, detail) VALUES (?, ?, ?, ?)",
            (at_ms, webhook_id, outcome, detail),
        )

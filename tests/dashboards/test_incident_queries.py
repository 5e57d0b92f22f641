"""The boards show the incidents, the actions and the audit trail as the store has them."""

from __future__ import annotations

import json
from dataclasses import asdict

from dashboards.macros import Range
from sinks.audit import FLEET, Chain, append
from sinks.clickhouse import insert
from sinks.commands import DecisionCommand, NoteCommand
from sinks.embedded_store import EmbeddedStore
from sinks.schema import ACTIONS, AUDIT, DATABASE, VERDICTS
from streams.audit_entries import of_command
from tests.dashboards.asking import PRODUCTION, QUERIES, ask, rows_of, stored_now
from tests.dashboards.conftest import BEGIN_MS, HOSTILE, RecordingLine

TRAIL = "driftline-incidents / panel / Audit trail"


def test_the_bad_canary_has_a_rollback_and_an_open_incident(
    filled: EmbeddedStore, recorded: RecordingLine, seen: Range
) -> None:
    wanted = {r["action_key"] for r in recorded.rows[ACTIONS] if r["kind"] == "rollback"}
    assert wanted
    shown = rows_of(filled, seen, "driftline-incidents / panel / Actions and their delivery")
    assert {row["action_key"] for row in shown if row["kind"] == "rollback"} == wanted
    assert {row["state"] for row in shown} == {"acknowledged"}
    marks = rows_of(filled, seen, "driftline-fleet / mark / Rollbacks")
    assert len(marks) == len(wanted)
    open_ones = rows_of(filled, seen, "driftline-incidents / panel / Open incidents")
    assert open_ones


def test_a_change_of_verdict_is_listed_once(
    filled: EmbeddedStore, recorded: RecordingLine, seen: Range
) -> None:
    wanted: list[tuple[str, ...]] = []
    last: dict[tuple[str, ...], str] = {}
    for row in sorted(recorded.rows[VERDICTS], key=lambda r: (r["as_of"], r["sequence"])):
        key = row["model"], row["version"], row["role"]
        if last.get(key, "") != row["status"]:
            wanted.append((*key, last.get(key, ""), row["status"]))
            last[key] = row["status"]
    shown = rows_of(filled, seen, "driftline-incidents / panel / Changes of verdicts")
    told = [tuple(r[k] for k in ("model", "version", "role", "before", "status")) for r in shown]
    assert sorted(told) == sorted(wanted)


def test_the_audit_trail_says_who_ordered_what_and_what_came_of_it(
    filled: EmbeddedStore, seen: Range
) -> None:
    approved = DecisionCommand(
        id="c1", model="orders", at_ms=BEGIN_MS, by="alice", key="rollback_1", revision=2,
        approved=True,
    )  # fmt: skip
    stopped = NoteCommand(
        id="c2", model=FLEET, at_ms=BEGIN_MS, by="bob", kind="automation", subject="automation",
        body={"mode": "off", "note": HOSTILE},
    )  # fmt: skip
    for chain, entry in (
        ("orders", of_command(approved, "superseded")),
        (FLEET, of_command(stopped, "")),
    ):
        _, rows = append(Chain(), chain, [entry], BEGIN_MS)
        insert(filled.client, AUDIT, [asdict(row) for row in rows], database=DATABASE)
    shown = rows_of(filled, seen, TRAIL)
    (decision,) = [row for row in shown if row["by"] == "alice"]
    assert (decision["model"], decision["what"]) == ("orders", "command.decision")
    assert decision["outcome"] == "superseded"
    (order,) = [row for row in shown if row["by"] == "bob"]
    assert (order["model"], order["what"], order["outcome"]) == ("", "automation", "taken")
    assert json.loads(order["details"])["body"]["note"] == HOSTILE
    # Orders to the fleet concern every model, whichever is looked for.
    found = rows_of(filled, seen, TRAIL, {**PRODUCTION, "filter": "order"})
    assert {row["by"] for row in found} == {"alice", "bob"}


def test_the_audit_trail_has_every_decision_and_leaves_verdicts_and_tries_to_their_tables(
    filled: EmbeddedStore, recorded: RecordingLine, seen: Range
) -> None:
    wanted = {
        (row["chain"], row["sequence"])
        for row in recorded.rows[AUDIT]
        if row["kind"].split(".")[0] in ("incident", "rollback", "action", "command")
    }
    shown = rows_of(filled, seen, TRAIL)
    assert wanted <= {(row["chain"], int(row["sequence"])) for row in shown}
    assert {row["what"].split(".")[0] for row in shown}.isdisjoint({"verdict", "delivery"})
    assert {"incident.opened", "action.rollback"} <= {row["what"] for row in shown}


def test_the_incidents_of_the_recording_are_listed_with_owner_pages_and_cause(
    filled: EmbeddedStore, recorded: RecordingLine, seen: Range
) -> None:
    shown = rows_of(filled, seen, "driftline-incidents / panel / Incidents")
    audited = [row for row in recorded.rows[AUDIT] if row["kind"] == "incident.opened"]
    assert {row["known_as"] for row in shown} <= {row["subject"] for row in recorded.rows[AUDIT]}
    assert len(shown) == len(audited) > 1
    (canary,) = [r for r in shown if (r["model"], r["version"]) == ("fraud", "2")]
    # It went on after its rollback, so somebody was told that it could not be verified.
    assert (canary["state"], canary["cause"], canary["severity"]) == (
        "open",
        "rollback",
        "critical",
    )
    pages = {
        row["action_key"]
        for row in recorded.rows[ACTIONS]
        if (row["model"], row["version"], row["kind"]) == ("fraud", "2", "page")
    }
    assert (canary["owner"], int(canary["pages"]), canary["taken_by"]) == ("risk", len(pages), "")
    assert {r["owner"] for r in shown if r["model"] == HOSTILE} <= {""}


def test_a_release_that_fell_silent_after_its_rollback_stays_the_one_that_failed(
    filled: EmbeddedStore, recorded: RecordingLine, seen: Range
) -> None:
    newest = max(r["as_of"] for r in recorded.rows[VERDICTS])
    like = next(r for r in recorded.rows[VERDICTS] if r["model"] == "fraud")
    told = next(r for r in recorded.rows[AUDIT] if r["kind"] == "rollback.approved")
    for version in ("8", "9"):
        silent = {
            **like, "version": version, "role": "canary", "sequence": 2**40, "status": "blind",
            "reason": "no events for 900 s", "as_of": newest,
        }  # fmt: skip
        insert(filled.client, VERDICTS, [silent], database=DATABASE)
    body = json.dumps({"return_to": "1", "revision": 4, "reason": "precision fell"})
    done = {
        **told, "model": "fraud", "version": "8", "role": "canary", "kind": "rollback.verified",
        "chain": "fraud", "sequence": 2**40, "subject": "rollback_8", "body": body,
        "at": BEGIN_MS,
    }  # fmt: skip
    insert(filled.client, AUDIT, [done], database=DATABASE)
    shown = {
        row["version"]: row
        for row in rows_of(filled, seen, "driftline-release / panel / Verdicts now")
        if row["role"] == "canary"
    }
    assert (shown["8"]["status"], shown["9"]["status"]) == ("fail", "blind")
    assert shown["8"]["reason"].startswith("precision fell; rolled back to 1 at 2025-10-09")
    assert shown["8"]["reason"].endswith("no events for 900 s")
    # Nobody is woken for the silence that was wanted.
    now = stored_now(filled)
    blind = {row["version"]: row["value"] for row in ask(
        filled, next(q for q in QUERIES if q.shown.get("uid") == "driftline-blind"), now, {}
    ).rows if row["role"] == "canary" and row["model"] == "fraud"}  # fmt: skip
    assert (blind["8"], blind["9"]) == (0, 1)

"""The audit trail and the evidence of a release, through a real store (chDB)."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from math import nan
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest

from dashboards.standing_rows import OPEN_INCIDENTS
from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from sinks.audit import AuditRow
from sinks.clickhouse import StoreSettings, insert
from sinks.console.incidents import NEWEST
from sinks.embedded_store import EmbeddedStore
from sinks.migrations import migrate
from sinks.receivers import Routes
from sinks.schema import (
    ACTIONS,
    AUDIT,
    CONFIGURATIONS,
    FINDINGS,
    INTAKE,
    REFERENCES,
    VERDICTS,
    WINDOWS,
)
from sinks.table import Table
from streams import audit_command, evidence_command
from streams.config import Config
from streams.deliver import DeliverSettings, new_state, on_verdict
from streams.errors import UserError
from streams.judged_by import JudgedBy, configuration_name, encode_configuration
from streams.wire import verdict_row
from tests.contract.test_store import example

NOW = 1_800_000_000_000
HOSTILE = "</td><script>alert(1)</script>"
PRESENT = JudgedBy(Config()).settings("m").configuration


class Stored:
    """A store in a folder of its own that nobody holds open."""

    def __init__(self, folder: Path) -> None:
        self.config = Config(store=StoreSettings(path=str(folder / "store")))
        self.put()

    def put(self, *rows: tuple[Table, list[dict[str, Any]]]) -> None:
        with EmbeddedStore(self.config.store.path) as store:
            migrate(store.client, database="driftline")
            for table, values in rows:
                insert(store.client, table, values, database="driftline")

    def run(self, sql: str) -> None:
        with EmbeddedStore(self.config.store.path) as store:
            store.client.command(sql)


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path)


def verdicts() -> list[Verdict]:
    release = Release("m", "2", Role.CANARY)
    answers = (Status.INSUFFICIENT, Status.PASS, Status.FAIL, Status.BLIND)
    return [
        Verdict(
            release,
            status,
            f"it is {status} {HOSTILE}",
            at + 1,
            NOW + at * 60_000,
            NOW + at * 60_000 - 60_000,
            60_000,
            "1",
            100 * at,
            nan,
            nan,
            (),
            at,
            configuration=PRESENT,
            reference="abc",
        )
        for at, status in enumerate(answers)
    ]


def audited() -> list[AuditRow]:
    """What deliver writes for these verdicts."""
    state = new_state("m")
    for at, given in enumerate(verdicts()):
        state, _ = on_verdict(state, given, DeliverSettings(), Routes({}), NOW + at)
    return list(state.unpublished)


def verified(stored: Stored, **more: Any) -> tuple[int, list[str]]:
    said: list[str] = []
    code = audit_command.run(
        stored.config, more.get("model", ""), more.get("heads"), more.get("save"), said.append
    )
    return code, said


def test_the_trail_that_deliver_writes_holds_after_a_trip_through_the_store(
    stored: Stored, tmp_path: Path
) -> None:
    rows = [asdict(row) for row in audited()]
    # Twice, as after a crash; and in another order.
    stored.put((AUDIT, rows), (AUDIT, rows[::-1]))
    heads = tmp_path / "heads.json"
    code, said = verified(stored, save=heads)
    assert (code, said) == (0, [f"ok: {len(rows)} rows in 1 chains follow one another"])
    assert verified(stored, heads=heads)[0] == 0
    kinds = {row["kind"] for row in rows}
    assert {"verdict", "incident.opened", "rollback.approved", "action.rollback"} <= kinds


def test_a_rollback_that_nobody_takes_is_an_open_incident_of_the_console_and_the_boards(
    stored: Stored,
) -> None:
    stored.put((AUDIT, [asdict(row) for row in audited()]))
    with EmbeddedStore(stored.config.store.path) as store:
        shown = store.client.query(NEWEST.replace("{db}", "driftline"), {"q": ""})
        rows = store.client.query(OPEN_INCIDENTS.format(db="driftline")).result_rows
    found = {row[4]: row for row in shown.result_rows}
    assert set(found) == {"rollback", "undelivered"}
    model, version, role, state, _, severity, _, pages = found["undelivered"][:8]
    assert (model, version, role, state, severity, pages) == (
        "m", "2", "canary", "open", "critical", 1
    )  # fmt: skip
    (on_boards,) = rows
    assert on_boards[:4] == ("m", "2", "canary", 2)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("ALTER TABLE driftline.audit UPDATE `by` = 'mallory' WHERE sequence = 2", "hash"),
        ("ALTER TABLE driftline.audit DELETE WHERE sequence = 2", "missing"),
    ],
)
def test_a_row_that_was_changed_or_deleted_in_the_store_is_found(
    stored: Stored, change: str, found: str
) -> None:
    stored.put((AUDIT, [asdict(row) for row in audited()]))
    stored.run(f"{change} SETTINGS mutations_sync = 2")
    code, said = verified(stored, model="m")
    assert code == 1
    assert found in said[0]


def test_rows_cut_off_at_the_end_are_found_by_the_ends_of_an_earlier_run(
    stored: Stored, tmp_path: Path
) -> None:
    rows = audited()
    stored.put((AUDIT, [asdict(row) for row in rows]))
    heads = tmp_path / "heads.json"
    verified(stored, save=heads)
    last = rows[-1].sequence
    stored.run(
        f"ALTER TABLE driftline.audit DELETE WHERE sequence = {last} SETTINGS mutations_sync = 2"
    )
    assert verified(stored)[0] == 0
    assert verified(stored, heads=heads)[0] == 1


def test_a_file_that_holds_no_ends_is_refused(stored: Stored, tmp_path: Path) -> None:
    for number, text in enumerate(("", "[]", '{"heads": 1}', '{"heads": {"m": 1}}')):
        file = tmp_path / f"heads-{number}"
        file.write_text(text, "utf-8")
        with pytest.raises(UserError, match="not a file of ends"):
            verified(stored, heads=file)


def evidence_rows() -> list[tuple[Table, list[dict[str, Any]]]]:
    names = {"model": "m", "version": "2", "role": "canary"}
    finding = example(
        FINDINGS,
        **names,
        segment="all",
        decides=True,
        outcome="fail",
        statistic=3.0,
        threshold=1.0,
        effect=0.2,
        effect_low=0.1,
        effect_high=0.3,
        reason=HOSTILE,
    )
    findings = [
        finding
        | {
            "column": f"c{column}",
            "window_start": NOW + at * 60_000,
            "window_end": NOW + (at + 1) * 60_000,
        }
        for column in range(3)
        for at in range(5)
    ]
    window = example(WINDOWS, **names, segment="all", column="c0", reference="abc")
    return [
        (VERDICTS, [verdict_row(each) for each in verdicts()]),
        (FINDINGS, findings),
        (WINDOWS, [window]),
        (ACTIONS, [example(ACTIONS, **names, kind="rollback", reason=HOSTILE)]),
        (REFERENCES, [example(REFERENCES, model="m", reference="abc")]),
        (INTAKE, [example(INTAKE, topic="predictions")]),
        (AUDIT, [asdict(row) for row in audited()]),
    ]


def test_the_evidence_of_a_release_is_one_page_that_loads_nothing_and_one_json(
    stored: Stored, tmp_path: Path
) -> None:
    stored.put(*evidence_rows())
    said: list[str] = []
    code = evidence_command.run(stored.config, "m", "2", tmp_path / "out", NOW, said.append)
    assert code == 0
    body = json.loads((tmp_path / "out" / "evidence-m-2.json").read_text("utf-8"))
    assert [row["status"] for row in body["verdicts"]] == ["insufficient", "pass", "fail", "blind"]
    assert body["references"][0]["used"] is True
    assert body["intake"][0]["last_offset"] == 7
    assert re.fullmatch("[0-9a-f]{64}", body["config_sha256"])
    assert body["audit_breaks"] == []
    html = (tmp_path / "out" / "evidence-m-2.html").read_text("utf-8")
    assert "<script" not in html
    assert not re.search(r"(src|href)\s*=", html)
    pictures = re.findall(r"<svg.*?</svg>", html)
    assert len(pictures) == 3
    for picture in pictures:
        ET.fromstring(picture)  # noqa: S314 - our own text
    assert body["config_sha256"] in html
    (settings,) = body["configurations"]
    assert (settings["configuration"], settings["verdicts"]) == (PRESENT, 4)
    assert settings["present"] is True
    assert {row["configuration"] for row in body["verdicts"]} == {PRESENT}
    assert {row["reference"] for row in body["verdicts"]} == {"abc"}
    assert PRESENT in html
    assert "NOT the present ones" not in html
    assert [Path(each).suffix for each in said] == [".json", ".html"]


def test_a_verdict_in_the_audit_trail_names_settings_reference_and_offset() -> None:
    bodies = [json.loads(row.body) for row in audited() if row.kind == "verdict"]
    assert [body["offset"] for body in bodies] == [each.offset for each in verdicts()]
    assert {(body["configuration"], body["reference"]) for body in bodies} == {(PRESENT, "abc")}


THEN = f"canary:\n  alpha: 0.02\n# {HOSTILE}\n"


def judged_with(
    stored: Stored, out: Path, name: str, content: str | None
) -> tuple[list[str], dict[str, Any], str]:
    """What the command says, its JSON and its page, of verdicts that name ``name``, under which
    ``content`` is stored (None: nothing)."""
    rows = [verdict_row(replace(each, configuration=name)) for each in verdicts()]
    stored.put((VERDICTS, rows))
    if content is not None:
        (row,) = msgspec.json.decode(encode_configuration(content, NOW))["rows"]
        # Twice, as two judges publish it.
        stored.put((CONFIGURATIONS, [{**row, "configuration": name}] * 2))
    said: list[str] = []
    assert evidence_command.run(stored.config, "m", "2", out, NOW, said.append) == 0
    body = json.loads((out / "evidence-m-2.json").read_text("utf-8"))
    return said, body, (out / "evidence-m-2.html").read_text("utf-8")


def test_settings_of_then_are_found_by_their_hash_and_written_to_a_file(
    stored: Stored, tmp_path: Path
) -> None:
    name = configuration_name(THEN)
    said, body, html = judged_with(stored, tmp_path, name, THEN)
    file = tmp_path / f"evidence-m-2-settings-{name[:12]}.yaml"
    assert file.read_text("utf-8") == THEN
    assert str(file) in said
    assert f"4 verdicts were judged with other settings than the present ones: {name[:12]}" in said
    (kept,) = body["configurations"]
    assert kept == {
        "configuration": name,
        "verdicts": 4,
        "present": False,
        "genuine": True,
        "content": THEN,
    }
    assert "NOT the present ones" in html
    assert "<script" not in html


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (THEN.replace("0.02", "0.03"), "does not have this hash: it was changed"),
        (None, "whose text is not stored"),
    ],
)
def test_settings_that_were_changed_or_lost_are_not_shown_as_those_of_then(
    stored: Stored, tmp_path: Path, content: str | None, found: str
) -> None:
    said, body, html = judged_with(stored, tmp_path, configuration_name(THEN), content)
    assert found in said[-1]
    assert body["configurations"][0]["genuine"] is False
    assert "alpha: 0.03" not in html
    assert not list(tmp_path.glob("*.yaml"))


def test_verdicts_of_an_older_version_say_that_they_name_no_settings(
    stored: Stored, tmp_path: Path
) -> None:
    said, body, html = judged_with(stored, tmp_path, "", None)
    assert said[-1] == "4 verdicts do not say which settings they were judged with"
    assert body["configurations"][0]["genuine"] is False
    assert "not written down, by an older version" in html


def test_the_evidence_of_a_broken_trail_says_so(stored: Stored, tmp_path: Path) -> None:
    rows = audited()
    rows[1] = replace(rows[1], by="mallory")
    stored.put((AUDIT, [asdict(row) for row in rows]))
    said: list[str] = []
    assert evidence_command.run(stored.config, "m", "2", tmp_path, NOW, said.append) == 1
    assert "broken" in said[-1]


def test_a_release_nobody_knows_has_no_evidence(stored: Stored, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing is stored"):
        evidence_command.run(stored.config, "m", "none", tmp_path, NOW, print)


def test_a_row_of_the_trail_is_what_the_store_takes() -> None:
    assert tuple(msgspec.to_builtins(audited()[0])) == AUDIT.column_names

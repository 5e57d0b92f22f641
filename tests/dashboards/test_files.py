"""The generated files: unchanged when made again, valid, and readable for people."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import alerting, dashboard

from dashboards.board import DRIFT, FLEET, INCIDENTS, QUALITY, RELEASE
from dashboards.boards import BOARDS, board_json
from dashboards.clickhouse_query import PLUGIN
from dashboards.provisioning import BOARD_FILES, PROVISIONING, files
from dashboards.rules import NOTIFY, PAGE, api_group, rule_group
from dashboards.settings import SECRETS, AlertSettings, Contact, GrafanaSettings, SourceSettings
from sinks.migrations import READER
from sinks.schema import DATABASE
from streams import cli

SETTINGS = GrafanaSettings()
EVERY_CONTACT = GrafanaSettings(alerts=AlertSettings(page=tuple(Contact), notify=tuple(Contact)))
WIDTH = 24
_FOLDERS = {
    BOARD_FILES.name: "dashboards/generated",
    PROVISIONING.name: "deploy/grafana/provisioning",
}


def all_boards() -> list[dict[str, Any]]:
    return [board_json(name, DATABASE) for name in BOARDS]


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


ALL_PANELS = [(b["title"], p["title"], p) for b in all_boards() for p in panels(b)]


def document(name: str, settings: GrafanaSettings = SETTINGS) -> Any:
    return yaml.safe_load(files(settings, DATABASE)[PROVISIONING / name])


def test_committed_files_are_what_the_code_makes(repository: Path) -> None:
    """If this fails: driftline grafana build --boards dashboards/generated --provisioning
    deploy/grafana/provisioning."""
    wanted = {}
    for path, text in files(SETTINGS, DATABASE).items():
        wanted[PurePosixPath(_FOLDERS[path.parts[0]]).joinpath(*path.parts[1:])] = text
    found = {
        PurePosixPath(file.relative_to(repository).as_posix()): file.read_text(encoding="utf-8")
        for folder in _FOLDERS.values()
        for file in (repository / folder).rglob("*")
        if file.is_file() and file.suffix in (".json", ".yaml")
    }
    assert found == wanted


def test_making_them_twice_gives_the_same_bytes() -> None:
    assert files(SETTINGS, DATABASE) == files(SETTINGS, DATABASE)


def test_the_command_writes_them_and_checks_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--boards", str(tmp_path / "b"), "--provisioning", str(tmp_path / "p")]
    assert cli.main(["grafana", "build", "--check", *where]) == 1
    assert not (tmp_path / "b").exists()
    assert cli.main(["grafana", "build", *where]) == 0
    assert cli.main(["grafana", "build", "--check", *where]) == 0
    (tmp_path / "b" / "fleet.json").write_text("{}")
    capsys.readouterr()
    assert cli.main(["grafana", "build", "--check", *where]) == 1
    assert capsys.readouterr().out == f"differs: {tmp_path / 'b' / 'fleet.json'}\n"


# --- boards --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(BOARDS))
def test_a_board_is_what_the_published_types_know(name: str) -> None:
    """Read into the types of Grafana's own library and written again, nothing is lost: a name that
    they do not know would be. They add where links and marks stand."""
    board = board_json(name, DATABASE)
    again = dashboard.Dashboard.from_json(json.loads(json.dumps(board)))
    for each in [*board["links"], *board["annotations"]["list"]]:
        assert "placement" not in each, "links between boards are not hidden in a menu"
        each["placement"] = "inControlsMenu"
    assert json.loads(json.dumps(again, cls=JSONEncoder)) == board


def test_a_misspelt_field_would_be_noticed() -> None:
    board = board_json("fleet", DATABASE)
    board["panels"][0]["descripton"] = "x"
    again = dashboard.Dashboard.from_json(json.loads(json.dumps(board)))
    assert json.loads(json.dumps(again, cls=JSONEncoder)) != board


def test_there_are_five_boards_with_ids_of_their_own() -> None:
    boards = all_boards()
    assert [b["uid"] for b in boards] == [FLEET, RELEASE, DRIFT, QUALITY, INCIDENTS]
    assert len({b["title"] for b in boards}) == 5
    for board in boards:
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids))
        titles = [panel["title"] for panel in panels(board)]
        assert len(titles) == len(set(titles)), "alerts find their panel by its title"
        assert not board["editable"], "a change by hand would be lost"
        assert board["schemaVersion"] == 42


def test_every_panel_says_how_to_read_it() -> None:
    for board, title, panel in ALL_PANELS:
        where = f"{board} / {title}"
        assert len(panel["description"]) >= 40, where
        assert panel["description"].endswith("."), where
        assert panel["fieldConfig"]["defaults"]["unit"], where
        assert panel["datasource"] == {"type": PLUGIN, "uid": "${datasource}"}, where
        assert [t["datasource"] for t in panel["targets"]] == [panel["datasource"]], where


def test_panels_fill_lines_and_do_not_overlap() -> None:
    for board in all_boards():
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            at = panel["gridPos"]
            assert at["x"] + at["w"] <= WIDTH
            cells = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            assert not cells & taken, panel["title"]
            taken |= cells


def test_links_lead_to_boards_and_their_variables() -> None:
    boards = {b["uid"]: {v["name"] for v in b["templating"]["list"]} for b in all_boards()}
    found = re.findall(r'"url": "/d/([\w-]+)\?([^"]*)"', json.dumps(all_boards()))
    assert found
    for uid, query in found:
        assert set(re.findall(r"var-(\w+)=", query)) <= boards[uid]
        assert query.endswith("${__url_time_range}")
        # What comes from a row goes into an address encoded.
        assert all(":percentencode}" in part for part in re.findall(r"=(\$\{__data[^&]*)", query))
    assert {uid for uid, _ in found} == {RELEASE, DRIFT, INCIDENTS}


def test_variables_are_used_and_known() -> None:
    for board in all_boards():
        known = {v["name"] for v in board["templating"]["list"]}
        text = json.dumps(board["panels"]) + json.dumps(board["annotations"])
        used = set(re.findall(r"\$\{(\w+):percentencode\}", text))
        assert used - {"model", "version"} <= known
        assert used <= known
        assert "datasource" in known
        in_variables = json.dumps(board["templating"])
        for name in known - {"datasource"}:
            assert f"${{{name}:" in text or f"${{{name}:" in in_variables, name
        assert [mark["name"] for mark in board["annotations"]["list"]] == [
            "Deploys",
            "References",
            "Rollbacks",
        ]


def test_boards_of_one_release_ask_for_model_version_role_segment_and_window() -> None:
    wanted = {"model", "version", "role", "segment", "window"}
    for board in all_boards():
        asked = {each["name"] for each in board["templating"]["list"]}
        assert (wanted <= asked) is (board["uid"] in (RELEASE, DRIFT, QUALITY)), board["uid"]


def test_no_variable_reaches_sql_in_another_format() -> None:
    for board in all_boards():
        for text in re.findall(r'"rawSql": "((?:[^"\\]|\\.)*)"', json.dumps(board)):
            for variable in re.findall(r"\$\{[^}]*\}|\$(?!__)\w+|\[\[\w+", text):
                assert variable.endswith(":percentencode}"), variable


def test_only_small_files() -> None:
    """Grafana's sidecar takes boards from ConfigMaps, which hold 1 MiB."""
    assert all(len(text.encode()) < 200_000 for text in files(SETTINGS, DATABASE).values())


# --- provisioning --------------------------------------------------------------------------------

_RULE = {
    "uid", "title", "condition", "data", "for", "keepFiringFor", "missing_series_evals_to_resolve",
    "noDataState", "execErrState", "isPaused", "dashboardUid", "panelId", "labels", "annotations",
    "notification_settings",
}  # fmt: skip
"""Fields of a rule in a file, as Grafana's ``rules_types.go`` has them. Others are dropped there
without a word."""


def test_rules_are_spelled_as_files_spell_them() -> None:
    found = document("alerting/rules.yaml")
    assert set(found) == {"apiVersion", "groups"}
    (group,) = found["groups"]
    assert set(group) == {"orgId", "name", "folder", "interval", "rules"}
    panels_of = {b["uid"]: {p["id"] for p in panels(b)} for b in all_boards()}
    uids = [rule["uid"] for rule in group["rules"]]
    assert len(uids) == len(set(uids)) == 10
    for rule in group["rules"]:
        assert set(rule) == _RULE
        assert len(rule["uid"]) <= 40
        assert rule["panelId"] in panels_of[rule["dashboardUid"]]
        assert rule["condition"] in [part["refId"] for part in rule["data"]]
        told = rule["notification_settings"]
        assert told["receiver"] == (PAGE if rule["labels"]["severity"] == "critical" else NOTIFY)
        assert {"alertname", "grafana_folder"} <= set(told["group_by"])
        sources = [part["datasourceUid"] for part in rule["data"]]
        assert sources == [SETTINGS.source.uid, "__expr__"]
        # A dollar would be expanded when the file is read; a query's macros are left alone.
        assert "$" not in json.dumps({**rule, "data": []})
        for part in rule["data"]:
            sql = part["model"].get("rawSql", "")
            assert not re.search(r"\$\{|\$__conditionalAll", sql), "no variables in alerts"


def test_rules_link_to_the_published_runbook() -> None:
    settings = GrafanaSettings(alerts=AlertSettings(runbook="https://wiki.example/runbook"))
    found = document("alerting/rules.yaml", settings)
    for rule in found["groups"][0]["rules"]:
        assert "runbook" not in rule["annotations"]
        page, _, section = rule["annotations"]["runbook_url"].partition("#")
        assert page == "https://wiki.example/runbook"
        assert section == rule["title"].lower().replace(" ", "-")


def test_rules_for_the_api_are_what_the_published_types_know() -> None:
    group = api_group(rule_group(SETTINGS, DATABASE), SETTINGS)
    for rule in group["rules"]:
        again = alerting.Rule.from_json(json.loads(json.dumps(rule)))
        assert json.loads(json.dumps(again, cls=JSONEncoder)) == rule
        assert rule["keep_firing_for"] == "5m"
        assert rule["missingSeriesEvalsToResolve"] == 3
        assert rule["annotations"]["__panelId__"].isdigit()


def test_the_policy_tree_is_left_alone() -> None:
    for path, text in files(EVERY_CONTACT, DATABASE).items():
        if path.suffix == ".yaml":
            assert not {"policies", "resetPolicies", "muteTimes"} & set(yaml.safe_load(text)), path


def test_contact_points_hold_names_of_secrets_and_no_secret() -> None:
    found = document("alerting/contact-points.yaml", EVERY_CONTACT)["contactPoints"]
    assert [point["name"] for point in found] == [PAGE, NOTIFY]
    receivers = [receiver for point in found for receiver in point["receivers"]]
    assert len({receiver["uid"] for receiver in receivers}) == len(receivers) == 6
    by_type = {receiver["type"]: receiver["settings"] for receiver in receivers}
    assert by_type["webhook"]["hmacConfig"]["secret"] == f"${SECRETS[Contact.HOOK]}"
    assert by_type["webhook"]["hmacConfig"]["header"] == "X-Grafana-Alerting-Signature"
    assert by_type["pagerduty"]["integrationKey"] == f"${SECRETS[Contact.PAGERDUTY]}"
    assert by_type["slack"]["url"] == f"${SECRETS[Contact.SLACK]}"
    for receiver in receivers:
        again = alerting.ContactPoint.from_json({**receiver, "name": "x"})
        assert json.loads(json.dumps(again, cls=JSONEncoder)) == {**receiver, "name": "x"}


def test_the_data_source_reads_as_the_reader() -> None:
    (found,) = document("datasources/driftline.yaml")["datasources"]
    assert found["type"] == PLUGIN
    assert found["jsonData"]["username"] == READER
    assert found["jsonData"]["defaultDatabase"] == DATABASE
    assert found["secureJsonData"] == {"password": "$DRIFTLINE_READER_PASSWORD"}
    assert "server" not in found["jsonData"], "version 3 of the plugin called the host that"


def test_boards_are_provided_from_the_configured_folder() -> None:
    (found,) = document("dashboards/driftline.yaml")["providers"]
    assert found["options"] == {"path": SETTINGS.boards_path}
    assert found["folder"] == document("alerting/rules.yaml")["groups"][0]["folder"]


@pytest.mark.parametrize(
    "bad",
    [
        lambda: GrafanaSettings(url="grafana:3000"),
        lambda: GrafanaSettings(url="http://user:secret@grafana"),
        lambda: GrafanaSettings(hook_url="file:///etc/passwd"),
        lambda: AlertSettings(error_rate=float("nan")),
        lambda: AlertSettings(lag_ms=0),
        lambda: AlertSettings(page=()),
        lambda: AlertSettings(runbook="docs/runbook.md"),
        lambda: AlertSettings(runbook="https://user:secret@wiki.example"),
        lambda: AlertSettings(runbook="https://wiki.example/#there"),
        lambda: AlertSettings(runbook="https://wiki.example/$HOME"),
        lambda: AlertSettings(page=(Contact.HOOK, Contact.HOOK)),
        lambda: SourceSettings(protocol="ftp"),
        lambda: SourceSettings(port=0),
    ],
)
def test_settings_that_cannot_be_right_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"must"):
        bad()

"""``grafana push`` against a strict stand-in of Grafana's API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dashboards.grafana_http import GrafanaHttp
from dashboards.grafana_push import Verb, changes, push
from dashboards.pushed_marks import MOST, Mark, mark_changes, marks, statements
from dashboards.rules import GROUP, NOTIFY, PAGE
from dashboards.settings import SECRETS, AlertSettings, Contact, GrafanaSettings, SourceSettings
from sinks.embedded_store import EmbeddedStore
from sinks.errors import Permanent, Retryable
from sinks.schema import DATABASE
from streams import cli
from tests.dashboards.grafana_stand_in import TOKEN, Grafana, serving

ALL = tuple(Contact)
SETTINGS = GrafanaSettings(alerts=AlertSettings(page=ALL, notify=(Contact.SLACK,)))
VALUES = {
    "DRIFTLINE_HOOK_SECRET": "hook-secret",
    "DRIFTLINE_PAGERDUTY_KEY": "pager-secret",
    "DRIFTLINE_SLACK_URL": "https://hooks.example/slack-secret",
    "DRIFTLINE_READER_PASSWORD": "reader-secret",
}


@pytest.fixture
def grafana() -> Grafana:
    return Grafana()


@pytest.fixture
def address(grafana: Grafana) -> Iterator[str]:
    with serving(grafana) as found:
        yield found


@pytest.fixture
def api(address: str) -> GrafanaHttp:
    return GrafanaHttp(address, TOKEN, 5_000)


def push_all(api: GrafanaHttp, settings: GrafanaSettings = SETTINGS) -> list[tuple[Verb, str]]:
    done = []
    for change in changes(api, settings, DATABASE, VALUES.__getitem__):
        push(api, change)
        done.append((change.verb, change.kind))
    return done


def test_everything_is_made_in_an_empty_grafana(api: GrafanaHttp, grafana: Grafana) -> None:
    done = push_all(api)
    assert {verb for verb, _ in done} == {Verb.CREATE}
    assert len(grafana.boards) == 5
    assert {each["name"] for each in grafana.contacts} == {PAGE, NOTIFY}
    assert len(grafana.groups["driftline", GROUP]["rules"]) == 10
    assert set(grafana.secrets) == set(VALUES.values())


def test_a_second_push_writes_nothing(api: GrafanaHttp, grafana: Grafana) -> None:
    push_all(api)
    grafana.written.clear()
    assert {verb for verb, _ in push_all(api)} == {Verb.KEEP}
    assert grafana.written == []


def test_only_what_differs_is_written(api: GrafanaHttp, grafana: Grafana) -> None:
    push_all(api)
    grafana.written.clear()
    grafana.boards["driftline-drift"]["dashboard"]["panels"][2]["title"] = "changed by hand"
    stricter = replace(SETTINGS, alerts=replace(SETTINGS.alerts, error_rate=0.01))
    done = [each for each in push_all(api, stricter) if each[0] is not Verb.KEEP]
    assert done == [(Verb.UPDATE, "board"), (Verb.UPDATE, "alert rules")]
    assert [method for method, _ in grafana.written] == ["POST", "PUT"]
    rules = {rule["uid"]: rule for rule in grafana.groups["driftline", GROUP]["rules"]}
    threshold = rules["driftline-error-rate"]["data"][1]["model"]["conditions"][0]
    assert threshold["evaluator"]["params"] == [0.01]


def test_a_moved_source_and_a_renamed_folder_are_updated(
    api: GrafanaHttp, grafana: Grafana
) -> None:
    push_all(api)
    moved = replace(SETTINGS, folder="Models", source=SourceSettings(host="elsewhere"))
    done = [each for each in push_all(api, moved) if each[0] is not Verb.KEEP]
    assert done == [(Verb.UPDATE, "data source"), (Verb.UPDATE, "folder")]
    assert grafana.sources["driftline"]["jsonData"]["host"] == "elsewhere"
    assert grafana.folders["driftline"]["title"] == "Models"


def test_other_objects_are_left_alone(api: GrafanaHttp, grafana: Grafana) -> None:
    theirs = {"uid": "x", "name": "their pager", "type": "email", "settings": {}}
    grafana.contacts.append(theirs)
    grafana.groups["driftline", "their group"] = {"rules": []}
    push_all(api)
    assert grafana.contacts[0] == theirs
    assert grafana.groups["driftline", "their group"] == {"rules": []}
    assert not [path for _, path in grafana.written if "polic" in path]


def test_a_diff_shows_the_change_and_no_secret(api: GrafanaHttp, grafana: Grafana) -> None:
    found = list(changes(api, SETTINGS, DATABASE, VALUES.__getitem__))
    told = "\n".join(line for change in found for line in change.diff)
    assert "driftline / Fleet" in told
    assert "secret" not in told.replace("(secret)", "").replace('"secret"', "")
    push_all(api)
    grafana.boards["driftline-fleet"]["dashboard"]["title"] = "another title"
    (change,) = [
        each
        for each in changes(api, SETTINGS, DATABASE, VALUES.__getitem__)
        if each.verb is Verb.UPDATE
    ]
    lines = [line for line in change.diff if line[0] in "+-"]
    assert lines[2:] == ['- "title": "another title",', '+ "title": "driftline / Fleet",']


def test_a_missing_secret_is_asked_for_only_if_it_is_sent(api: GrafanaHttp) -> None:
    push_all(api)

    def nobody(name: str) -> str:
        raise AssertionError(name)

    assert all(c.verb is Verb.KEEP for c in changes(api, SETTINGS, DATABASE, nobody))


@pytest.mark.parametrize(
    ("status", "expected"), [(403, Permanent), (412, Permanent), (302, Permanent),
                             (429, Retryable), (500, Retryable), (503, Retryable)]
)  # fmt: skip
def test_errors_are_sorted_and_quote_nothing(
    api: GrafanaHttp, grafana: Grafana, status: int, expected: type[Exception]
) -> None:
    push_all(api)
    grafana.failing = status
    with pytest.raises(expected) as error:
        push_all(api, replace(SETTINGS, folder="Others"))
    assert not [value for value in VALUES.values() if value in str(error.value)]
    assert TOKEN not in str(error.value)


def test_a_wrong_token_and_an_absent_grafana_are_told(address: str) -> None:
    with pytest.raises(Permanent, match="token"):
        push_all(GrafanaHttp(address, "wrong", 5_000))
    with pytest.raises(Retryable, match="Is it up"):
        push_all(GrafanaHttp("http://127.0.0.1:9", TOKEN, 2_000))


def test_a_grafana_below_a_path_is_reached_there(grafana: Grafana) -> None:
    with serving(grafana) as address, pytest.raises(Permanent, match="404"):
        push_all(GrafanaHttp(f"{address}/grafana/", TOKEN, 5_000))


# --- annotations ---------------------------------------------------------------------------------


def test_events_become_annotations_once(
    api: GrafanaHttp, grafana: Grafana, filled: EmbeddedStore
) -> None:
    rows = [
        row
        for statement in statements(DATABASE, 10_000)
        for row in filled.client.query(statement).result_rows
    ]
    wanted = marks(rows)
    assert {mark.sort for mark in wanted} == {"deploy", "reference", "rollback"}
    for change in mark_changes(api, wanted):
        push(api, change)
    assert len(grafana.annotations) == len(wanted)
    assert all(change.verb is Verb.KEEP for change in mark_changes(api, wanted))
    assert all(each["text"].isprintable() for each in grafana.annotations)


def test_annotations_are_bounded_and_the_newest_count() -> None:
    found = marks([(at, "x" * 2_000, "deploy") for at in range(2 * MOST)])
    assert len(found) == MOST
    assert found[-1] == Mark(2 * MOST - 1, "x" * 500, "deploy")
    assert len({mark.key for mark in found}) == MOST


# --- the command ---------------------------------------------------------------------------------


def run(address: str, tmp_path: Path, *arguments: str) -> int:
    file = tmp_path / "driftline.yaml"
    file.write_text(f"grafana: {{url: '{address}'}}\n")
    return cli.main(["grafana", "push", "--config", str(file), *arguments])


def test_the_command_pushes_and_a_dry_run_writes_nothing(
    address: str,
    grafana: Grafana,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DRIFTLINE_GRAFANA_TOKEN", TOKEN)
    assert run(address, tmp_path, "--dry-run") == 1
    assert grafana.written == []
    assert "would be created" in capsys.readouterr().out
    for name in (SECRETS[Contact.HOOK], "DRIFTLINE_READER_PASSWORD"):
        assert run(address, tmp_path) != 0
        assert "is not set" in capsys.readouterr().err
        monkeypatch.setenv(name, VALUES[name])
    assert run(address, tmp_path) == 0
    assert run(address, tmp_path, "--dry-run") == 0
    assert "0 would be created, 0 would be updated, 10 unchanged" in capsys.readouterr().out

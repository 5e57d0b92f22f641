"""The doctor: what it says of facts, and that nothing it could not see passes for healthy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from sinks.errors import Permanent, Retryable
from streams.config import Config, load_config
from streams.doctor import Check, Level, examine, exit_code, worst
from streams.doctor_command import diagnose, run
from streams.doctor_kafka import (
    GroupFacts,
    PlaceFacts,
    TopicFacts,
    group_checks,
    topic_checks,
)
from streams.doctor_receivers import receiver_checks, rollback_checks
from streams.doctor_secrets import inline_secrets, secret_checks, secret_files
from streams.doctor_store import disk_checks, intake_checks, skew_check
from streams.errors import UserError
from streams.kafka_topics import KafkaProblem, NoBroker, TopicSpec
from streams.timeline import HOUR, MINUTE

NOW = 1_700_000_000_000
GOOD = {
    "cleanup.policy": "delete",
    "retention.ms": str(7 * 24 * HOUR),
    "max.message.bytes": "8388608",
}
ALL = frozenset({"READ", "WRITE", "DESCRIBE", "ALTER"})
SPEC = TopicSpec(8)


def raises(error: Exception) -> Any:
    def look() -> Sequence[Check]:
        raise error

    return look


def levels(checks: Sequence[Check]) -> list[Level]:
    return [check.level for check in checks]


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (UserError("wrong", "here", "do this"), Level.WRONG),
        (NoBroker("no Kafka at h:1 (connection refused): start it"), Level.WRONG),
        (Permanent("The password is wrong: check store.password_file."), Level.WRONG),
        (Retryable("No answer from ClickHouse. Is the server up?"), Level.UNKNOWN),
        (RuntimeError("secret-payload"), Level.UNKNOWN),
    ],
)
def test_a_part_that_cannot_be_looked_at_hides_no_other_and_is_never_ok(
    error: Exception, level: Level
) -> None:
    fine = Check("b", "b", Level.OK, "fine")
    checks = list(examine([("a", "a", raises(error)), ("b", "b", lambda: [fine])]))
    assert levels(checks) == [level, Level.OK]
    assert "secret-payload" not in checks[0].what + checks[0].todo
    assert exit_code(checks) == 1


def test_nothing_looked_at_is_not_healthy() -> None:
    assert worst([]) is Level.UNKNOWN
    assert exit_code([]) == 1


def test_warnings_fail_only_if_asked_to() -> None:
    checks = [Check("a", "a", Level.OK, ""), Check("a", "a", Level.WARNING, "")]
    assert (exit_code(checks), exit_code(checks, strict=True)) == (0, 1)


def internal(**changed: Any) -> list[Check]:
    facts: dict[str, Any] = {"partitions": 8, "copies": 3, "settings": GOOD, "allowed": ALL}
    found = {"driftline.x": TopicFacts("driftline.x", **{**facts, **changed})}
    return topic_checks({"driftline.x": SPEC}, (), found)


def test_a_topic_as_it_must_be_is_ok() -> None:
    assert levels(internal()) == [Level.OK]


@pytest.mark.parametrize(
    ("changed", "level", "word"),
    [
        ({"partitions": 3}, Level.WRONG, "kafka.partitions to 3"),
        ({"copies": 1}, Level.WARNING, "one copy"),
        ({"settings": {**GOOD, "cleanup.policy": "compact"}}, Level.WRONG, "cleanup.policy"),
        ({"settings": {**GOOD, "max.message.bytes": "1048588"}}, Level.WARNING, "max.message"),
        ({"settings": {**GOOD, "max.message.bytes": "100000"}}, Level.WRONG, "max.message"),
        ({"settings": {**GOOD, "retention.ms": str(2 * HOUR)}}, Level.WARNING, "retention"),
        ({"settings": {**GOOD, "retention.ms": str(MINUTE)}}, Level.WRONG, "retention"),
        ({"allowed": frozenset({"READ", "DESCRIBE"})}, Level.WRONG, "WRITE"),
    ],
)
def test_what_is_wrong_with_a_topic_is_said_with_what_to_do(
    changed: dict[str, Any], level: Level, word: str
) -> None:
    (found,) = [check for check in internal(**changed) if check.level is not Level.OK]
    assert found.level is level
    assert word in found.what + found.todo
    assert found.todo


def test_endless_retention_is_long_enough() -> None:
    assert levels(internal(settings={**GOOD, "retention.ms": "-1"})) == [Level.OK]


def test_missing_topics_are_wrong_on_both_sides() -> None:
    checks = topic_checks({"driftline.x": SPEC}, ("predictions",), {})
    assert levels(checks) == [Level.WRONG, Level.WRONG]
    assert "predictions" in checks[0].subject
    assert "8 partitions" in checks[1].todo


def group(*places: PlaceFacts, members: int | None = 1) -> list[Check]:
    facts = GroupFacts("driftline.summarize", "summarize", members, False, places)
    return group_checks(facts, NOW, 15 * MINUTE)


def place(committed: int = 10, low: int = 0, high: int = 10, newest_ms: int = NOW) -> PlaceFacts:
    return PlaceFacts("in", 0, committed, low, high, newest_ms)


def test_a_group_that_has_read_everything_is_ok() -> None:
    assert set(levels(group(place()))) == {Level.OK}


@pytest.mark.parametrize(
    ("checks", "level", "word"),
    [
        (group(place(), members=0), Level.WRONG, "nobody reads"),
        (group(place(committed=10, low=60, high=90)), Level.WRONG, "50 messages of 1 partitions"),
        (group(place(high=900_010)), Level.WARNING, "900000 messages behind"),
        (group(place(newest_ms=NOW - HOUR)), Level.WARNING, "BLIND"),
        (group(place(newest_ms=NOW + HOUR)), Level.WRONG, "ahead of"),
        (
            group(place(), place(high=500, newest_ms=NOW - HOUR)),
            Level.WARNING,
            "holds all windows open",
        ),
    ],
)
def test_what_is_wrong_with_a_group_is_said(checks: list[Check], level: Level, word: str) -> None:
    found = [check for check in checks if word in check.what]
    assert [check.level for check in found] == [level]
    assert found[0].todo


def test_clocks_that_differ_by_less_than_the_answer_took_agree() -> None:
    assert skew_check(NOW + 4_000, NOW, 6_000).level is Level.OK
    assert skew_check(NOW + 10_000, NOW, 10).level is Level.WARNING
    assert skew_check(NOW - HOUR, NOW, 10).level is Level.WRONG


def test_a_disk_that_is_nearly_full_is_said_before_it_is_full() -> None:
    rows = [("a", 500, 1000), ("b", 50, 1000), ("c", 5, 1000)]
    assert levels(disk_checks(rows)) == [Level.OK, Level.WARNING, Level.WRONG]


def test_dead_late_and_folded_rows_are_said_beyond_one_in_a_hundred() -> None:
    assert levels(intake_checks(1000, 5, 5, 5)) == [Level.OK]
    assert levels(intake_checks(1000, 50, 50, 50)) == [Level.WARNING] * 3
    assert levels(intake_checks(0, 0, 0, 0)) == [Level.WARNING]


def config(**variables: str) -> Config:
    return load_config(None, {f"DRIFTLINE__{k}": v for k, v in variables.items()})


def secret(folder: Path, mode: int, text: str = "s3cret") -> Path:
    file = folder / "secret"
    file.write_text(text)
    file.chmod(mode)
    return file


@pytest.mark.parametrize(
    ("mode", "text", "level"),
    [
        (0o600, "s3cret", Level.OK),
        (0o644, "s3cret", Level.WARNING),
        (0o600, "", Level.WRONG),
    ],
)
def test_secret_files_are_looked_at(tmp_path: Path, mode: int, text: str, level: Level) -> None:
    file = secret(tmp_path, mode, text)
    checks = secret_checks(config(STORE__PASSWORD_FILE=str(file)), None)
    assert levels(checks) == [level]
    assert "s3cret" not in repr(checks)


def test_a_secret_file_that_is_not_there_is_wrong(tmp_path: Path) -> None:
    checks = secret_checks(config(STORE__PASSWORD_FILE=str(tmp_path / "none")), None)
    assert levels(checks) == [Level.WRONG]


def test_every_place_of_a_secret_is_known(tmp_path: Path) -> None:
    found = config(
        STORE__PASSWORD_FILE="a",
        STORE__READER_PASSWORD_FILE="b",
        SERVE__TOKEN_FILE="c",
        GRAFANA__TOKEN_FILE="d",
        KAFKA__PROPERTIES="{ssl.key.location: e}",
        RECEIVERS__WEBHOOKS="[{name: w, url: 'https://h/', secret: {file: f}}]",
    )
    assert {file for _, file in secret_files(found)} == set("abcdef")


def test_a_configuration_with_a_password_that_all_may_read_is_wrong(tmp_path: Path) -> None:
    file = secret(tmp_path, 0o644)
    held = config(KAFKA__PROPERTIES="{sasl.password: hush}")
    assert inline_secrets(held) == ["kafka.properties.sasl.password"]
    (found,) = secret_checks(held, file)
    assert found.level is Level.WRONG
    assert "hush" not in repr(found)
    file.chmod(0o600)
    assert secret_checks(held, file) == []


@pytest.mark.parametrize(
    ("url", "addresses", "level"),
    [
        ("https://deployer.example/hook?token=hush", ["93.184.216.34"], Level.OK),
        ("https://deployer.example/hook?token=hush", ["10.0.0.1"], Level.WRONG),
        ("https://deployer.example/hook?token=hush", [], Level.WRONG),
        ("https://93.184.216.34/hook?token=hush", [], Level.OK),
    ],
)
def test_receivers_are_resolved_and_never_called(
    url: str, addresses: list[str], level: Level
) -> None:
    async def resolve(_: str, __: int) -> list[str]:
        return addresses

    found = config(RECEIVERS__WEBHOOKS=f"[{{name: w, url: '{url}', secret: {{env: S}}}}]")
    checks = receiver_checks(found, {"S": "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, resolve)
    assert levels(checks) == [level]
    assert "hush" not in repr(checks)


def test_no_receiver_at_all_is_said() -> None:
    assert levels(receiver_checks(config(), {})) == [Level.WARNING]


PAGER: Final = "[{name: p, url: 'https://h/', kinds: [page, resolve]}]"


def test_rollbacks_that_nobody_would_carry_out_are_said_beside_a_receiver_of_pages() -> None:
    (found,) = rollback_checks(config(RECEIVERS__WEBHOOKS=PAGER))
    assert (found.level, "all models" in found.what) == (Level.WARNING, True)
    assert "`deployers`" in found.todo


@pytest.mark.parametrize(
    ("models", "without"),
    [
        ("[churn-*]", "model price"),
        ("['*']", ""),
        ("[nobody]", "model churn-eu, model price"),
    ],
)
def test_a_model_that_no_deployer_is_for_is_named(models: str, without: str) -> None:
    hook = f"[{{name: d, url: 'https://h/', models: {models}}}]"
    own = "{price: {}, churn-eu: {}, quiet: {policy: {automation: 'off'}}}"
    found = rollback_checks(config(RECEIVERS__WEBHOOKS=hook, MODELS=own))
    assert [check.what.partition("those of ")[2] for check in found] == ([without] * bool(without))


def test_without_automation_no_deployer_is_missed() -> None:
    dry = {"RECEIVERS__WEBHOOKS": PAGER, "POLICY__AUTOMATION": "dry_run"}
    assert rollback_checks(config(**dry)) == []


def test_a_refused_configuration_is_the_whole_answer() -> None:
    def load() -> Config:
        return config(TIME__PANE="banana", SERVE__PORT="70000")

    checks = diagnose(load, None, {})
    assert levels(checks) == [Level.WRONG, Level.WRONG]
    assert all(check.todo or "port" in check.what for check in checks)


def test_json_has_every_check_and_the_exit_code_says_the_worst(tmp_path: Path) -> None:
    said: list[str] = []
    code = run(
        lambda: config(KAFKA__BOOTSTRAP="127.0.0.1:1", STORE__URL="http://127.0.0.1:1"),
        None,
        as_json=True,
        strict=False,
        environ={},
        say=said.append,
    )
    assert code == 1
    checks = json.loads(said[0])
    assert {check["area"] for check in checks} >= {"configuration", "kafka", "store", "receivers"}
    by_area = {check["area"]: check for check in checks if check["subject"] in ("broker", "store")}
    assert by_area["kafka"]["level"] == "wrong"
    assert by_area["store"]["level"] == "unknown"
    assert by_area["kafka"]["todo"]


def test_a_missing_password_of_kafka_is_named_once() -> None:
    properties = '{"security.protocol": "sasl_plaintext", "sasl.mechanisms": "SCRAM-SHA-256"}'
    given = config(
        KAFKA__BOOTSTRAP="127.0.0.1:1",
        KAFKA__PROPERTIES=properties,
        MODELS="{fraud: {}}",
        STORE__URL="http://127.0.0.1:1",
    )
    (check,) = [c for c in diagnose(lambda: given, None, {}) if c.area in ("kafka", "references")]
    assert check.level is Level.WRONG
    assert "sasl.username and sasl.password must be set" in check.what
    assert check.todo == "set what is missing, or correct them"


def test_problems_of_kafka_say_what_to_do_apart() -> None:
    text = "no Kafka at h:1 (connection refused): start it, or correct kafka.bootstrap"
    (check,) = examine([("kafka", "broker", raises(KafkaProblem(text)))])
    assert check.what == "no Kafka at h:1 (connection refused)"
    assert check.todo == "start it, or correct kafka.bootstrap"

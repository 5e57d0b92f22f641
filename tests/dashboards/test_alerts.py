"""Alert rules, evaluated on the answers of the engine as Grafana evaluates them."""

from __future__ import annotations

from dashboards.macros import Range
from dashboards.panels import STATUS
from dashboards.rules import rule_group, rules
from dashboards.settings import AlertSettings, GrafanaSettings
from sinks.board_metrics import STATUS_CODES
from sinks.clickhouse import insert
from sinks.embedded_store import EmbeddedStore
from sinks.schema import ACTIONS, DATABASE
from tests.dashboards.asking import QUERIES, ask, newest_verdicts, stored_now
from tests.dashboards.conftest import HOSTILE, RecordingLine


def firing(store: EmbeddedStore, uid: str, seen: Range) -> dict[tuple[str, ...], bool]:
    """Evaluate a rule as Grafana does: a threshold on the one number of each row, by labels."""
    rule = next(r for r in rule_group(GrafanaSettings(), DATABASE)["rules"] if r["uid"] == uid)
    data, threshold = rule["data"]
    assert rule["condition"] == threshold["refId"]
    assert threshold["model"]["expression"] == data["refId"]
    (condition,) = threshold["model"]["conditions"]
    assert condition["evaluator"]["type"] == "gt"
    (limit,) = condition["evaluator"]["params"]
    span = data["relativeTimeRange"]
    assert span["to"] == 0
    query = next(q for q in QUERIES if q.shown.get("uid") == uid)
    answer = ask(store, query, seen, {})
    return {
        tuple(row[label] for label in answer.labels): row["value"] > limit for row in answer.rows
    }


def test_rules_on_verdicts_fire_for_the_releases_that_have_them(
    filled: EmbeddedStore, recorded: RecordingLine
) -> None:
    for uid, status in (
        ("driftline-fail", "fail"),
        ("driftline-blind", "blind"),
        ("driftline-hold", "hold"),
    ):
        wanted = {key: row["status"] == status for key, row in newest_verdicts(recorded).items()}
        assert firing(filled, uid, stored_now(filled)) == wanted
    fails = firing(filled, "driftline-fail", stored_now(filled))
    assert fails["fraud", "2", "canary"]


def test_the_budget_rule_fires_where_drift_is_proven(filled: EmbeddedStore) -> None:
    found = firing(filled, "driftline-budget", stored_now(filled))
    assert found["fraud", "1", "production"]


def test_the_latency_rule_fires_for_the_slow_canary_alone(
    filled: EmbeddedStore, seen: Range
) -> None:
    last = Range(seen.to_ms - 50 * 60_000, seen.to_ms)
    found = firing(filled, "driftline-p99-ratio", last)
    assert found["fraud", "2", "canary"]
    assert not found["fraud", "3", "shadow"]


def test_the_error_rule_counts_failures_in_its_time(filled: EmbeddedStore, seen: Range) -> None:
    last = Range(seen.to_ms - 20 * 60_000 - 15 * 60_000, seen.to_ms)
    found = firing(filled, "driftline-error-rate", last)
    assert found["fraud", "2", "canary"]
    assert not found["fraud", "1", "production"]


def test_the_dead_letter_rule_fires_above_its_share(filled: EmbeddedStore, seen: Range) -> None:
    assert firing(filled, "driftline-dead-letters", seen) == {("predictions",): False}
    strict = next(
        rule for rule in rules(AlertSettings(dead_letter_ratio=0.001)) if "dead" in rule.uid
    )
    query = next(q for q in QUERIES if q.shown.get("uid") == strict.uid)
    (row,) = ask(filled, query, seen, {}).rows
    assert row["value"] > strict.above


def test_old_data_and_silence_are_noticed(filled: EmbeddedStore) -> None:
    lag = firing(filled, "driftline-lag", stored_now(filled))
    assert lag == {("fraud",): True, (HOSTILE,): True}, "the recording is of last year"
    assert firing(filled, "driftline-silence", stored_now(filled)) == {(): False}


def test_an_action_without_acknowledgement_is_noticed(
    filled: EmbeddedStore, recorded: RecordingLine
) -> None:
    now_ms = filled.client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows[0][0]
    pending = {
        **next(r for r in recorded.rows[ACTIONS] if r["kind"] == "rollback"),
        "action_key": "rollback_waiting",
        "model": "waiting",
        "step": 0,
        "state": "pending",
        "at": now_ms - 600_000,
    }
    insert(filled.client, ACTIONS, [pending], database=DATABASE)
    found = firing(filled, "driftline-undelivered", stored_now(filled))
    assert found["rollback", pending["receiver"], "waiting", pending["version"]]
    done = {**pending, "step": 1, "state": "acknowledged", "at": now_ms}
    insert(filled.client, ACTIONS, [done], database=DATABASE)
    assert not any(firing(filled, "driftline-undelivered", stored_now(filled)).values())


def test_the_numbers_of_statuses_are_those_of_the_metrics() -> None:
    assert {name: number for name, (number, _) in STATUS.items()} == STATUS_CODES

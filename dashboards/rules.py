"""Alert rules, in the spelling of Grafana's provisioning files.

Each asks for one number by release (model or topic), as a table: text columns become labels, and a
threshold decides on the number itself. Rows stay there while all is well, with a number below the
threshold, so that an alert ends because something was measured and not because rows vanished.

Rules name their contact point themselves: the policy tree of a shared Grafana is left alone.
Annotations use ``{{ .Labels.x }}``, since ``$`` would be expanded when the file is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from grafana_foundation_sdk.models.common import DataSourceRef

from dashboards.board import FLEET, INCIDENTS, QUALITY, RELEASE
from dashboards.boards import BOARDS, board_json
from dashboards.clickhouse_query import PLUGIN, ClickHouseQuery, Format, sql
from dashboards.intake_rows import INTAKE_ROWS
from dashboards.settings import AlertSettings, GrafanaSettings
from dashboards.standing_rows import ROLLED_BACK
from dashboards.window_rows import SHORTEST

GROUP: Final = "driftline"
INTERVAL_S: Final = 60
PAGE: Final = "driftline page"
NOTIFY: Final = "driftline notify"
_WINDOW_S: Final = 900
_EXPRESSION: Final = {"type": "__expr__", "uid": "__expr__"}

_RELEASE: Final = "{{ .Labels.model }} {{ .Labels.version }} ({{ .Labels.role }})"
_VERDICTS: Final = """
    SELECT model, version, role, toFloat64({holds}) AS value
    FROM {db}.newest_verdicts FINAL WHERE $__timeFilter(stored_at)
    ORDER BY model, version, role LIMIT 5000"""
_BLIND: Final = f"""status = 'blind' AND (model, version, role) NOT IN
    (SELECT model, version, role FROM ({ROLLED_BACK}))"""  # noqa: S608 - our own text
"""A release that was rolled back is expected to fall silent: nobody is to be woken for that."""


@dataclass(frozen=True, slots=True)
class Rule:
    """``query`` gives labels and one number, which must not exceed ``above`` for ``lasting``.
    ``panel``: (board, title) of the panel that shows it. ``no_data``: what silence means."""

    uid: str
    title: str
    query: str
    above: float
    lasting: str
    critical: bool
    summary: str
    meaning: str
    panel: tuple[str, str]
    no_data: str = "OK"


def rules(alerts: AlertSettings) -> Iterator[Rule]:
    """All rules, the gravest first."""
    yield Rule(
        "driftline-fail",
        "A release fails",
        _VERDICTS.replace("{holds}", "status = 'fail'"),
        0,
        "0s",
        True,
        f"{_RELEASE} fails",
        "Going back would help. A canary is rolled back by driftline itself if that is configured;"
        " this alert does not do it.",
        (RELEASE, "Verdicts now"),
    )
    yield Rule(
        "driftline-undelivered",
        "An action is not acknowledged",
        """
        SELECT kind, receiver, model, version, max(waiting) AS value FROM (
        SELECT kind, receiver, model, version,
        if(argMax(state, step) IN ('acknowledged', 'dry_run'), 0.,
        toFloat64(dateDiff('millisecond', min(at), now64(3)))) AS waiting
        FROM {db}.actions FINAL WHERE at >= now64(3) - toIntervalDay(1)
        GROUP BY action_key, kind, receiver, model, version)
        GROUP BY kind, receiver, model, version
        ORDER BY kind, receiver, model, version LIMIT 5000""",
        alerts.undelivered_ms,
        "0s",
        True,
        "{{ .Labels.kind }} of {{ .Labels.model }} {{ .Labels.version }} has not reached"
        " {{ .Labels.receiver }}",
        "The receiver does not answer, refuses, or is not configured. Roll back by hand if the"
        " release still runs.",
        (INCIDENTS, "Actions and their delivery"),
    )
    yield Rule(
        "driftline-blind",
        "A release is blind",
        _VERDICTS.replace("{holds}", _BLIND),
        0,
        "1m",
        True,
        f"{_RELEASE} is blind: no or stale data",
        "Nobody knows whether it is healthy. Does it have traffic, does its log reach Kafka, do"
        " the workers keep up?",
        (FLEET, "Releases"),
    )
    yield Rule(
        "driftline-silence",
        "No verdicts are stored",
        """
        SELECT toFloat64(dateDiff('millisecond', max(stored_at), now('UTC'))) AS value
        FROM {db}.newest_verdicts HAVING count() > 0""",
        alerts.silence_ms,
        "1m",
        True,
        "No verdict has been stored for a while",
        "The judge or the store is down, or cannot reach Kafka. Boards and alerts show the past;"
        " rollbacks need only the judge and deliver.",
        (QUALITY, "Silence of the store"),
        no_data="NoData",
    )
    yield Rule(
        "driftline-error-rate",
        "Predictions fail",
        f"""
        SELECT model, version, role, sum(errors) / sum(n) AS value FROM {{db}}.traffic FINAL
        WHERE $__timeFilter(window_start) AND segment = 'all' AND column = 'error'
        AND {SHORTEST}
        GROUP BY model, version, role HAVING sum(n) >= 100
        ORDER BY model, version, role LIMIT 5000""",  # noqa: S608 - our own text
        alerts.error_rate,
        "2m",
        True,
        f"{_RELEASE}: {{{{ humanizePercentage .Values.A.Value }}}} of its predictions fail",
        "Whatever the comparison with production says: this many failures are too many.",
        (FLEET, "Errors by model"),
    )
    yield Rule(
        "driftline-budget",
        "Drift has used up its false-alarm budget",
        """
        SELECT model, version, role, max(if(outcome = 'fail', greatest(statistic, 1), statistic))
        AS value FROM {db}.newest_findings FINAL
        WHERE startsWith(detector, 'drift') AND statistic IS NOT NULL AND $__timeFilter(stored_at)
        GROUP BY model, version, role ORDER BY model, version, role LIMIT 5000""",
        alerts.budget,
        "0s",
        False,
        f"{_RELEASE} has drifted from its reference",
        "Evidence of a change has come together that comes about by chance as seldom as the budget"
        " says. Look at the board Drift for the columns, then at what feeds them.",
        (FLEET, "Worst findings"),
    )
    yield Rule(
        "driftline-p99-ratio",
        "Slower than production",
        f"""
        SELECT model, version, role, quantile(0.5)(assumeNotNull(statistic)) AS value
        FROM (SELECT model, version, role, statistic, outcome FROM {{db}}.findings
        WHERE $__timeFilter(window_start) AND segment = 'all' AND column = 'latency_ms'
        AND {SHORTEST}
        AND detector = 'p99_ratio' AND startsWith(against, 'production')
        ORDER BY revision DESC LIMIT 1 BY model, version, role, window_start, against)
        WHERE statistic IS NOT NULL AND outcome != 'insufficient'
        GROUP BY model, version, role ORDER BY model, version, role LIMIT 5000""",  # noqa: S608 - our own text
        alerts.p99_ratio,
        "5m",
        False,
        f"{_RELEASE}: p99 latency is {{{{ humanize .Values.A.Value }}}} times production's",
        "The slowest answers take much longer than production's in the same windows: the median"
        " over 15 minutes.",
        (RELEASE, "Latency p99"),
    )
    yield Rule(
        "driftline-hold",
        "A comparison is on hold",
        _VERDICTS.replace("{holds}", "status = 'hold'"),
        0,
        "5m",
        False,
        f"{_RELEASE} is on hold",
        "The comparison itself is broken (traffic split), the cause is upstream, or only something"
        " that is not critical got worse: a person decides.",
        (RELEASE, "Verdicts now"),
    )
    yield Rule(
        "driftline-lag",
        "Judgement lags behind",
        """
        SELECT model, toFloat64(dateDiff('millisecond', max(as_of), now64(3))) AS value
        FROM {db}.newest_verdicts FINAL WHERE $__timeFilter(stored_at)
        GROUP BY model ORDER BY model LIMIT 5000""",
        alerts.lag_ms,
        "5m",
        False,
        "{{ .Labels.model }} is judged on old data",
        "Its events come late, a partition holds the watermark up, or there are too few workers.",
        (QUALITY, "Watermark age"),
    )
    yield Rule(
        "driftline-dead-letters",
        "Events cannot be read",
        f"""
        SELECT topic, sum(dead) / sum(events + dead + late + capped) AS value FROM {INTAKE_ROWS}
        GROUP BY topic HAVING sum(events + dead + late + capped) > 0 ORDER BY topic LIMIT 1000""",  # noqa: S608 - our own text
        alerts.dead_letter_ratio,
        "5m",
        False,
        "{{ humanizePercentage .Values.A.Value }} of {{ .Labels.topic }} cannot be read",
        "Producers write something else than is configured: see the reasons on the board.",
        (QUALITY, "Dead letters by reason"),
    )


def rule_group(settings: GrafanaSettings, database: str) -> dict[str, Any]:
    """The one group of rules, as it stands under ``groups`` in a provisioning file."""
    panels = _panel_ids(database)
    return {
        "orgId": 1,
        "name": GROUP,
        "folder": settings.folder,
        "interval": f"{INTERVAL_S}s",
        "rules": [
            _rule(rule, settings, database, panels[rule.panel]) for rule in rules(settings.alerts)
        ],
    }


def api_group(group: Mapping[str, Any], settings: GrafanaSettings) -> dict[str, Any]:
    """The same group as the HTTP API takes it: some fields are spelled in another way there, and a
    wrong spelling is dropped without a word."""
    found = []
    for rule in group["rules"]:
        body = {key: value for key, value in rule.items() if key not in _FILE_ONLY}
        body["annotations"] = {
            **rule["annotations"],
            "__dashboardUid__": rule["dashboardUid"],
            "__panelId__": str(rule["panelId"]),
        }
        body["keep_firing_for"] = rule["keepFiringFor"]
        body["missingSeriesEvalsToResolve"] = rule["missing_series_evals_to_resolve"]
        body |= {"folderUID": settings.folder_uid, "ruleGroup": group["name"], "orgID": 1}
        found.append(body)
    return {
        "title": group["name"],
        "folderUid": settings.folder_uid,
        "interval": INTERVAL_S,
        "rules": found,
    }


_FILE_ONLY: Final = frozenset(
    {"dashboardUid", "panelId", "keepFiringFor", "missing_series_evals_to_resolve"}
)


def _rule(rule: Rule, settings: GrafanaSettings, database: str, panel_id: int) -> dict[str, Any]:
    source = DataSourceRef(type_val=PLUGIN, uid=settings.source.uid)
    query = ClickHouseQuery(sql(rule.query, database), Format.TABLE, source=source).to_json()
    threshold = {
        "refId": "B",
        "type": "threshold",
        "expression": "A",
        "datasource": _EXPRESSION,
        "conditions": [{"type": "query", "evaluator": {"type": "gt", "params": [rule.above]}}],
    }
    span = {"from": _WINDOW_S, "to": 0}
    return {
        "uid": rule.uid,
        "title": rule.title,
        "condition": "B",
        "for": rule.lasting,
        "keepFiringFor": "5m",
        "missing_series_evals_to_resolve": 3,
        "noDataState": rule.no_data,
        "execErrState": "Error",
        "isPaused": False,
        "dashboardUid": rule.panel[0],
        "panelId": panel_id,
        "labels": {"severity": "critical" if rule.critical else "warning", "team": "driftline"},
        "annotations": {
            "summary": rule.summary,
            "description": rule.meaning,
            **_runbook(rule.title, settings.alerts.runbook),
        },
        "notification_settings": {
            "receiver": PAGE if rule.critical else NOTIFY,
            "group_by": ["alertname", "grafana_folder", "model", "version"],
            "group_wait": "10s" if rule.critical else "1m",
            "group_interval": "1m" if rule.critical else "5m",
            "repeat_interval": "4h",
        },
        "data": [
            {
                "refId": "A",
                "relativeTimeRange": span,
                "datasourceUid": settings.source.uid,
                "model": {**query, "intervalMs": 1000, "maxDataPoints": 43200},
            },
            {
                "refId": "B",
                "relativeTimeRange": {"from": 0, "to": 0},
                "datasourceUid": "__expr__",
                "model": threshold,
            },
        ],
    }


def _runbook(title: str, published: str) -> dict[str, str]:
    """Where to read what to do: Grafana makes a link of ``runbook_url``, which must be whole."""
    section = re.sub(r"[^a-z0-9-]", "", title.lower().replace(" ", "-"))
    if published:
        return {"runbook_url": f"{published}#{section}"}
    return {"runbook": f"docs/runbook.md#{section}"}


def _panel_ids(database: str) -> dict[tuple[str, str], int]:
    boards = (board_json(name, database) for name in BOARDS)
    return {
        (board["uid"], panel["title"]): panel["id"]
        for board in boards
        for panel in reversed(board["panels"])
        if panel["type"] != "row"
    }

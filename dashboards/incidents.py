"""The board *Incidents and audit*: who was told what and when, and what was done."""

# ruff: noqa: S608 - queries are made of our own text; names from outside are variables
from __future__ import annotations

from functools import partial

from grafana_foundation_sdk.models import dashboard

from dashboards.board import INCIDENTS, MATCHES, RELEASE_LINK, Frame, build
from dashboards.clickhouse_query import sql
from dashboards.panels import NEVER, PLAIN, Shown, lines, number, rows
from dashboards.standing_rows import OPEN_INCIDENTS, STANDINGS

UNDELIVERED = "last_state NOT IN ('acknowledged', 'dry_run')"


def incidents(database: str) -> dashboard.Dashboard:
    """The board over a database of results."""
    fill = partial(sql, database=database)
    frame = Frame(
        INCIDENTS,
        "driftline / Incidents and audit",
        "Every page, rollback and end of an incident with each step of its delivery; every change"
        " of a verdict; every new release and reference. Deploys, references and rollbacks are also"
        " marked on the time axes of all boards.",
        ("filter",),
        hours=24,
    )
    newest = f"""
    SELECT action_key, receiver, kind, model, version, role, return_to,
    argMax(state, step) AS last_state, argMax(attempt, step) AS attempts, min(at) AS decided,
    max(at) AS ended, argMax(reason, step) AS last_reason, argMax(detail, step) AS last_detail
    FROM {{db}}.actions FINAL WHERE {MATCHES}
    GROUP BY action_key, receiver, kind, model, version, role, return_to"""
    in_time = f"FROM ({newest}) WHERE $__timeFilter(decided)"
    size = (6, 4)
    return build(
        frame,
        [
            (
                "",
                [
                    number(
                        "Open incidents",
                        "Releases with an incident that people know of and that has not ended.",
                        fill(f"SELECT count() AS open FROM ({OPEN_INCIDENTS}) WHERE {MATCHES}"),
                        "none",
                        size=size,
                        steps=NEVER,
                    ),
                    number(
                        "Pages",
                        "Pages decided in the time shown, over all receivers.",
                        fill(f"SELECT uniqExact(action_key) AS pages {in_time} AND kind = 'page'"),
                        "none",
                        size=size,
                    ),
                    number(
                        "Rollbacks",
                        "Rollbacks decided in the time shown, dry runs included. There is at most"
                        " one of a version.",
                        fill(f"""
                        SELECT uniqExact(action_key) AS rollbacks {in_time}
                        AND kind = 'rollback'"""),
                        "none",
                        size=size,
                    ),
                    number(
                        "Not delivered",
                        "Actions that no receiver has acknowledged: still being tried, refused,"
                        " expired, or without a receiver.",
                        fill(f"SELECT count() AS undelivered {in_time} AND {UNDELIVERED}"),
                        "none",
                        size=size,
                        steps=NEVER,
                    ),
                    rows(
                        "Open now",
                        "What is open, with the verdict that holds, the longest first. `cause` is"
                        " what people were told last, `owner` whose model it is, `taken_by` who has"
                        " taken it up.",
                        fill(f"""
                        SELECT a.model AS model, a.version AS version, a.role AS role,
                        v.status AS status, a.told_as AS cause, a.severity AS severity,
                        a.owner AS owner, a.taken_up_by AS taken_by, a.since AS since,
                        a.open AS pages, if(v.reason = '', a.why, v.reason) AS reason
                        FROM ({OPEN_INCIDENTS}) AS a LEFT JOIN ({STANDINGS}) AS v
                        USING (model, version, role)
                        WHERE {MATCHES} ORDER BY since, model, version, role LIMIT 200"""),
                        {
                            "version": Shown(link=RELEASE_LINK),
                            "status": Shown(words=True, width=110),
                            "since": Shown("dateTimeAsIso", width=170),
                            "pages": Shown("none", width=80),
                        },
                        size=(24, 7),
                    ),
                    rows(
                        "Incidents",
                        "Every incident that was open in the time shown, with what became of it:"
                        " from the first bad verdict or alert to its end. Pages are those about"
                        " this release; several releases that are ill alike share theirs, which is"
                        " `known_as`. An incident that nobody was told of has the cause `nothing`;"
                        " `undelivered` is a rollback that does not reach its deployer,"
                        " `receiver_gone` a receiver that wants no messages, `begun_silent` a"
                        " release that began and logs nothing.",
                        fill(f"""
                        SELECT opened_at AS opened, model, version, role, state, cause, severity,
                        team AS owner, pages, taken_by,
                        if(state = 'closed', toFloat64(dateDiff('millisecond', opened_at,
                        changed_at)), NULL) AS lasted,
                        if(taken_by = '', NULL, toFloat64(dateDiff('millisecond', opened_at,
                        taken_at))) AS taken_after,
                        arrayStringConcat(silenced_by, ', ') AS silenced, flapping, reason, known_as
                        FROM {{db}}.incidents FINAL WHERE {MATCHES} AND opened_at <= $__toTime
                        AND (state = 'open' OR changed_at >= $__fromTime)
                        ORDER BY state = 'open' DESC, opened DESC, model, version, role
                        LIMIT 500"""),
                        {
                            "opened": Shown("dateTimeAsIso", width=170),
                            "version": Shown(link=RELEASE_LINK),
                            "pages": Shown("none", width=80),
                            "lasted": Shown("ms", width=90),
                            "taken_after": Shown("ms", width=90),
                        },
                        size=(24, 9),
                    ),
                ],
            ),
            (
                "Actions",
                [
                    rows(
                        "Actions and their delivery",
                        "One row for each action and receiver: its last state, how often it was"
                        " tried, and how long it took until it was acknowledged.",
                        fill(f"""
                        SELECT decided, kind, model, version, role, return_to, receiver,
                        last_state AS state, attempts, if(last_state = 'acknowledged',
                        toFloat64(dateDiff('millisecond', decided, ended)), NULL) AS took,
                        last_reason AS reason, last_detail AS detail, action_key
                        {in_time} ORDER BY decided DESC, kind, receiver LIMIT 500"""),
                        {
                            "decided": Shown("dateTimeAsIso", width=170),
                            "version": Shown(link=RELEASE_LINK),
                            "attempts": Shown("none", width=90),
                            "took": Shown("ms", width=90),
                        },
                    ),
                    lines(
                        "Time to acknowledgement",
                        "From the decision to the acknowledgement, by kind of action: the slowest.",
                        fill(f"""
                        SELECT $__timeInterval(decided) AS time, kind,
                        max(dateDiff('millisecond', decided, ended)) AS took
                        {in_time} AND last_state = 'acknowledged'
                        GROUP BY time, kind ORDER BY time, kind LIMIT 20000"""),
                        "ms",
                        lowest=0,
                    ),
                    lines(
                        "Actions by kind",
                        "How many actions were decided, by kind. An action to many receivers counts"
                        " once.",
                        fill(f"""
                        SELECT $__timeInterval(decided) AS time, kind,
                        toFloat64(uniqExact(action_key)) AS actions
                        {in_time} GROUP BY time, kind ORDER BY time, kind LIMIT 20000"""),
                        "none",
                        lowest=0,
                    ),
                    rows(
                        "Steps",
                        "Every step of every action, as it was noted: the whole trail.",
                        fill(f"""
                        SELECT at, kind, model, version, role, receiver, step, state, attempt,
                        detail, reason, action_key
                        FROM {{db}}.actions FINAL WHERE $__timeFilter(at) AND {MATCHES}
                        ORDER BY at DESC, action_key, receiver, step LIMIT 1000"""),
                        {
                            "at": Shown("dateTimeAsIso", width=170),
                            "version": Shown(link=RELEASE_LINK),
                            "step": Shown("none", PLAIN, width=70),
                            "attempt": Shown("none", width=80),
                        },
                    ),
                ],
            ),
            (
                "Audit",
                [
                    rows(
                        "Audit trail",
                        "Every order, approval, silence and alert with who gave it and what came of"
                        " it, and every incident, rollback and action that was decided. Verdicts"
                        " and tries of a delivery are in the trail as well, and in tables of their"
                        " own here. Whether the trail is whole says `driftline audit verify`.",
                        fill(_trail()),
                        {
                            "at": Shown("dateTimeAsIso", width=170),
                            "version": Shown(link=RELEASE_LINK),
                            "what": Shown(width=170),
                            "by": Shown(width=130),
                            "outcome": Shown(width=130),
                            "sequence": Shown("none", width=90),
                        },
                    ),
                    rows(
                        "Changes of verdicts",
                        "Every time a release's verdict became another one, and why. `events` is"
                        " how many it had had by then.",
                        fill(f"""
                        SELECT as_of, model, version, role, before, status, events,
                        baseline_version AS compared_with, reason, sequence
                        FROM (SELECT as_of, model, version, role, status, events,
                        baseline_version, reason, sequence,
                        lagInFrame(toString(status), 1, '') OVER (PARTITION BY model, version, role
                        ORDER BY as_of, sequence ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before
                        FROM {{db}}.verdicts WHERE $__timeFilter(as_of) AND {MATCHES})
                        WHERE before != status
                        ORDER BY as_of DESC, model, version, role LIMIT 500"""),
                        {
                            "as_of": Shown("dateTimeAsIso", width=170),
                            "version": Shown(link=RELEASE_LINK),
                            "before": Shown(words=True, width=110),
                            "status": Shown(words=True, width=110),
                            "events": Shown("short", width=90),
                            "sequence": Shown("none", width=100),
                        },
                    ),
                    rows(
                        "References",
                        "What counts as normal, since when, and where it came from.",
                        fill(f"""
                        SELECT effective_from, model, reference, origin, rows, columns
                        FROM {{db}}.references FINAL WHERE {MATCHES}
                        ORDER BY effective_from DESC, model LIMIT 200"""),
                        {
                            "effective_from": Shown("dateTimeAsIso", width=170),
                            "rows": Shown("short", width=100),
                            "columns": Shown("none", width=90),
                        },
                        size=(12, 8),
                    ),
                    rows(
                        "Releases seen for the first time",
                        "When each release was judged for the first time: deploys as the log shows"
                        " them.",
                        fill(f"""
                        SELECT min(as_of) AS seen, model, version, role, max(events) AS total
                        FROM {{db}}.verdicts WHERE {MATCHES}
                        GROUP BY model, version, role HAVING $__timeFilter(seen)
                        ORDER BY seen DESC, model, version, role LIMIT 200"""),
                        {
                            "seen": Shown("dateTimeAsIso", width=170),
                            "version": Shown(link=RELEASE_LINK),
                            "total": Shown("short", width=100),
                        },
                        size=(12, 8),
                    ),
                ],
            ),
        ],
        database,
    )


def _trail() -> str:
    """Without ``FINAL``, which takes five times as long: a row that is stored twice is the same
    row, and no more than two of a kind are to be expected."""
    return f"""
    SELECT at, model, version, role,
    if(kind = 'command.note', JSONExtractString(body, 'kind'), kind) AS what, by,
    JSONExtractString(body, 'outcome') AS outcome, leftUTF8(body, 500) AS details, subject, chain,
    sequence
    FROM (SELECT * FROM {{db}}.audit WHERE $__timeFilter(at) AND kind != 'verdict'
    AND NOT startsWith(kind, 'delivery.') AND ({MATCHES} OR chain = '__fleet__')
    ORDER BY at DESC, chain, sequence DESC LIMIT 2000)
    ORDER BY at DESC, chain, sequence DESC LIMIT 1 BY chain, sequence LIMIT 1000"""

"""What all boards share: variables, links to each other, marks on the time axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard

from dashboards.clickhouse_query import BOARD_SOURCE, PLUGIN, ClickHouseQuery, Format, sql

FLEET: Final = "driftline-fleet"
RELEASE: Final = "driftline-release"
DRIFT: Final = "driftline-drift"
QUALITY: Final = "driftline-quality"
INCIDENTS: Final = "driftline-incidents"
TAG: Final = "driftline"

MATCHES: Final = "positionCaseInsensitive(model, {filter}) > 0"
"""The condition that the variable ``filter`` stands for."""

Section = tuple[str, Sequence[Builder[dashboard.Panel]]]
"""A row's title ("" for none) and its panels, which fill lines of 24 columns from the left."""


@dataclass(frozen=True, slots=True)
class Frame:
    """All of a board but its panels."""

    uid: str
    title: str
    purpose: str
    variables: Sequence[str]
    hours: int = 6


def build(frame: Frame, sections: Iterable[Section], database: str) -> dashboard.Dashboard:
    """The board, with ids given to panels in their order: links to a panel stay valid as long as
    panels are only added behind it."""
    board = (
        builders.Dashboard(frame.title)
        .uid(frame.uid)
        .description(frame.purpose)
        .tags([TAG, "generated"])
        .timezone("browser")
        .time(f"now-{frame.hours}h", "now")
        .refresh("30s")
        .readonly()
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(_links())
        .with_variable(_source())
    )
    for name in frame.variables:
        board = board.with_variable(_variable(name, database))
    for mark in _marks(database, everywhere="model" not in frame.variables):
        board = board.annotation(mark)
    for title, panels in sections:
        if title:
            board = board.with_row(builders.Row(title))
        for panel in panels:
            board = board.with_panel(panel)
    built = board.build()
    for number, panel_or_row in enumerate(built.panels or [], start=1):
        panel_or_row.id_val = number
    return built


def address(uid: str, **columns: str) -> str:
    """Where a click in a table leads: to a board, with variables taken from columns of the row.

    >>> address("driftline-drift", model="model")
    '/d/driftline-drift?var-model=${__data.fields.model:percentencode}&${__url_time_range}'
    """
    taken = [f"var-{name}=${{__data.fields.{of}:percentencode}}" for name, of in columns.items()]
    return f"/d/{uid}?" + "&".join([*taken, "${__url_time_range}"])


RELEASE_LINK: Final = (
    "Open the release",
    address(RELEASE, model="model", version="version", role="role"),
)
"""Of a row that is about one release."""


def _links() -> builders.DashboardLink:
    return (
        builders.DashboardLink("driftline")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .include_vars(True)
        .keep_time(True)
        .as_dropdown(False)
        .icon("external link")
    )


def _source() -> builders.DatasourceVariable:
    return builders.DatasourceVariable("datasource").label("Data source").type(PLUGIN)


_QUERIES: Final = {
    "model": (
        "Model",
        "The model to look at.",
        "SELECT DISTINCT model FROM {db}.newest_verdicts ORDER BY model LIMIT 5000",
    ),
    "version": (
        "Version",
        "Versions of the model, the one seen last first.",
        """SELECT version FROM {db}.newest_verdicts WHERE model = {model}
        GROUP BY version ORDER BY max(as_of) DESC, version LIMIT 1000""",
    ),
    "role": (
        "Role",
        "What the version does: production, canary, shadow or variant; the newest first.",
        """SELECT role FROM {db}.newest_verdicts WHERE model = {model} AND version = {version}
        GROUP BY role ORDER BY max(as_of) DESC, role""",
    ),
    "segment": (
        "Segment",
        "A slice of the traffic; `all` is everything.",
        """SELECT DISTINCT segment FROM {db}.newest_findings
        WHERE model = {model} AND version = {version}
        ORDER BY segment != 'all', segment LIMIT 1000""",
    ),
    "window": (
        "Window",
        "Length of the windows shown. Longer ones see smaller changes, later.",
        """SELECT toString(window_ms) AS value, if(window_ms % 86400000 = 0,
        concat(toString(intDiv(window_ms, 86400000)), 'd'), if(window_ms % 3600000 = 0,
        concat(toString(intDiv(window_ms, 3600000)), 'h'), if(window_ms % 60000 = 0,
        concat(toString(intDiv(window_ms, 60000)), 'm'),
        concat(toString(intDiv(window_ms, 1000)), 's')))) AS text
        FROM {db}.windows WHERE model = {model} AND version = {version} AND segment = 'all'
        AND column = 'error' GROUP BY window_ms ORDER BY window_ms""",
    ),
    "column": (
        "Column",
        "A feature, the prediction, a score, the latency, the cost.",
        """SELECT DISTINCT column FROM {db}.windows
        WHERE model = {model} AND version = {version} AND segment = 'all'
        AND window_ms = {window} AND $__timeFilter(window_start)
        ORDER BY startsWith(column, 'scores.') DESC, column LIMIT 5000""",
    ),
}


def _variable(name: str, database: str) -> Builder[dashboard.VariableModel]:
    if name == "filter":
        return (
            builders.TextBoxVariable("filter")
            .label("Model contains")
            .description("Show only models whose name contains this. Empty: all.")
            .default_value("")
        )
    label, description, query = _QUERIES[name]
    text = sql(query, database)
    return (
        builders.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(BOARD_SOURCE)
        .query(_variable_query(text))
        .definition(text)
        # A release that begins while one looks is in the list then.
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.DISABLED)
        .multi(False)
        .include_all(False)
    )


def _variable_query(text: str) -> dict[str, Any]:
    return ClickHouseQuery(text, Format.TABLE).to_json()


_MARKS: Final = (
    (
        "Deploys",
        "blue",
        # A release is deployed, for us, when it is judged for the first time.
        """SELECT min(as_of) AS time, concat(role, ' ', version, ' of ', model, ' is seen') AS text,
        'deploy' AS tags FROM {db}.verdicts WHERE {models} GROUP BY model, version, role
        HAVING $__timeFilter(time) ORDER BY time LIMIT 200""",
    ),
    (
        "References",
        "purple",
        """SELECT min(effective_from) AS time, concat('new reference of ', model, ': ', origin)
        AS text, 'reference' AS tags FROM {db}.references WHERE {models}
        GROUP BY model, reference, origin HAVING $__timeFilter(time) ORDER BY time LIMIT 200""",
    ),
    (
        "Rollbacks",
        "red",
        """SELECT min(at) AS time, concat('rollback of ', model, ' ', version, ' to ',
        any(return_to), ': ', any(reason)) AS text, 'rollback' AS tags
        FROM {db}.actions FINAL WHERE kind = 'rollback' AND {models}
        GROUP BY action_key, model, version HAVING $__timeFilter(time)
        ORDER BY time LIMIT 200""",
    ),
)


def mark_queries(database: str, models: str) -> Iterable[str]:
    """The SQL of all marks, of models that a condition holds for: columns time, text and tags."""
    return [sql(query.replace("{models}", models), database) for _, _, query in _MARKS]


def _marks(database: str, *, everywhere: bool) -> Iterable[builders.AnnotationQuery]:
    models = "positionCaseInsensitive(model, {filter}) > 0" if everywhere else "model = {model}"
    for (name, colour, _), text in zip(_MARKS, mark_queries(database, models), strict=True):
        yield (
            builders.AnnotationQuery()
            .name(name)
            .datasource(BOARD_SOURCE)
            .enable(True)
            .icon_color(colour)
            .target(ClickHouseQuery(text, Format.TABLE))
        )

"""Panels in the look of all boards: each takes a title, how to read it, and a query.

What a panel needs of its query follows from its type (tests/dashboards holds every query to it):
``lines``, ``heat`` and ``timeline`` a column ``time`` that ascends and at least one number, text
columns becoming labels; ``bars`` a text column first; ``number`` one row of numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, TypeVar

from grafana_foundation_sdk.builders import (
    barchart,
    common,
    heatmap,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.common import (
    AxisPlacement,
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode

from dashboards.clickhouse_query import BOARD_SOURCE, ClickHouseQuery, Format

Steps = Sequence[tuple[str, float | None]]
"""Colours from a value on; the first has None: from the lowest value."""

LIMIT: Final[Steps] = (("green", None), ("#EAB839", 0.5), ("red", 1.0))
"""For shares of a limit or of a budget: at 1 it is reached."""
NEVER: Final[Steps] = (("green", None), ("red", 1.0))
"""For counts of what should not be."""
PLAIN: Final[Steps] = (("text", None),)

STATUS: Final[Mapping[str, tuple[int, str]]] = {
    "pass": (0, "green"),
    "insufficient": (1, "#8F8F8F"),
    "blind": (2, "purple"),
    "hold": (3, "orange"),
    "fail": (4, "red"),
}
"""A verdict's status, its number on a time line, and its colour."""

STATUS_NUMBER: Final = (
    "transform(status, ['pass', 'insufficient', 'blind', 'hold', 'fail'], [0, 1, 2, 3, 4], 1)"
)

_CELLS: Final = 288
"""Cells beside each other in a heat map: more cannot be told apart. A day is cut into 5 minutes."""

_OUTCOME: Final = {"pass": "green", "insufficient": "#8F8F8F", "fail": "red"}


@dataclass(frozen=True, slots=True)
class Shown:
    """How one column of a table is shown. ``link``: (title, address) of where a click leads;
    ``coloured``: by ``steps``, or ``words``: by the status or the outcome that it holds."""

    unit: str = ""
    steps: Steps = ()
    words: bool = False
    width: int = 0
    link: tuple[str, str] | None = None
    decimals: int | None = None


class _Panel(Protocol):
    """What all builders of panels have in common."""

    def title(self, title: str) -> Self: ...
    def description(self, description: str) -> Self: ...
    def datasource(self, datasource: DataSourceRef) -> Self: ...
    def with_target(self, target: Builder[Dataquery]) -> Self: ...
    def span(self, w: int) -> Self: ...
    def height(self, h: int) -> Self: ...
    def no_value(self, no_value: str) -> Self: ...
    def thresholds(self, thresholds: Builder[dashboard.ThresholdsConfig]) -> Self: ...
    def unit(self, unit: str) -> Self: ...


_P = TypeVar("_P", bound=_Panel)


def _begin(
    panel: _P, title: str, read_as: str, query: str, format_: Format, size: tuple[int, int]
) -> _P:
    width, height = size
    return (
        panel.title(title)
        .description(read_as)
        .datasource(BOARD_SOURCE)
        .with_target(ClickHouseQuery(query, format_))
        .span(width)
        .height(height)
        .no_value("nothing here")
    )


def lines(
    title: str,
    read_as: str,
    query: str,
    unit: str,
    *,
    size: tuple[int, int] = (12, 8),
    steps: Steps = (),
    bands: Sequence[tuple[str, str]] = (),
    stacked: StackingMode = StackingMode.NONE,
    decimals: int | None = None,
    lowest: float | None = None,
    highest: float | None = None,
) -> timeseries.Panel:
    """Series over time. ``steps`` draws their limits as dashed lines; ``bands``: (low, high) names
    of series whose space in between is filled."""
    panel = _begin(timeseries.Panel(), title, read_as, query, Format.TIME_SERIES, size)
    panel = (
        panel.unit(unit)
        .line_width(1.5)
        .fill_opacity(0 if stacked is StackingMode.NONE else 30)
        .show_points(VisibilityMode.AUTO)
        .span_nulls(False)
        .stacking(common.StackingConfig().mode(stacked))
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if steps:
        panel = panel.thresholds(_steps(steps)).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        )
    if decimals is not None:
        panel = panel.decimals(decimals)
    if lowest is not None:
        panel = panel.min(lowest)
    if highest is not None:
        panel = panel.max(highest)
    for low, high in bands:
        panel = panel.override_by_name(low, _edge()).override_by_name(
            high,
            [*_edge(), _value("custom.fillBelowTo", low), _value("custom.fillOpacity", 15)],
        )
    return panel


def heat(
    title: str, read_as: str, query: str, *, size: tuple[int, int] = (24, 10)
) -> heatmap.Panel:
    """Rows are the labels of the query's series, colours run from 0 to 1 and stop there."""
    panel = _begin(heatmap.Panel(), title, read_as, query, Format.TIME_SERIES, size)
    colour = (
        heatmap.HeatmapColorOptions()
        .mode(HeatmapColorMode.SCHEME)
        .scheme("RdYlGn")
        .reverse(False)
        .steps(64)
        .min(0)
        .max(1)
    )
    return (
        panel.unit("percentunit")
        .max_data_points(_CELLS)
        .calculate(False)
        .color(colour)
        .cell_gap(1)
        .y_axis(heatmap.YAxisConfig().axis_placement(AxisPlacement.LEFT))
        .display_name("${__field.labels.column}")
    )


def timeline(
    title: str, read_as: str, query: str, *, size: tuple[int, int] = (24, 7)
) -> statetimeline.Panel:
    """The status of releases over time: numbers as in ``STATUS``."""
    panel = _begin(statetimeline.Panel(), title, read_as, query, Format.TIME_SERIES, size)
    words = {
        str(number): dashboard.ValueMappingResult(text=name, color=colour, index=number)
        for name, (number, colour) in STATUS.items()
    }
    return (
        panel.unit("none")
        .mappings([dashboard.ValueMap(words)])
        .merge_values(True)
        .show_value(VisibilityMode.AUTO)
        .display_name("${__field.labels.release}")
        .legend(_legend())
    )


def bars(
    title: str,
    read_as: str,
    query: str,
    unit: str,
    *,
    size: tuple[int, int] = (12, 8),
) -> barchart.Panel:
    """One group of bars for each row: the first column names it, the numbers are its bars."""
    panel = _begin(barchart.Panel(), title, read_as, query, Format.TABLE, size)
    return (
        panel.unit(unit)
        .show_value(VisibilityMode.NEVER)
        .x_tick_label_rotation(-30)
        .x_tick_label_max_length(24)
        .group_width(0.9)
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )


def number(
    title: str,
    read_as: str,
    query: str,
    unit: str,
    *,
    size: tuple[int, int] = (6, 4),
    steps: Steps = PLAIN,
    colours: Mapping[str, str] | None = None,
) -> stat.Panel:
    """The numbers of a single row, large. ``colours``: by name of a column, shown from 1 on."""
    panel = _begin(stat.Panel(), title, read_as, query, Format.TABLE, size)
    panel = (
        panel.unit(unit)
        .thresholds(_steps(steps))
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    for name, colour in (colours or {}).items():
        config: Any = _steps((("text", None), (colour, 1.0))).build()
        panel = panel.override_by_name(name, [_value("thresholds", config)])
    return panel


def rows(
    title: str,
    read_as: str,
    query: str,
    shown: Mapping[str, Shown],
    *,
    size: tuple[int, int] = (24, 10),
) -> table.Panel:
    """A table. ``shown`` names every column that is shown in a special way."""
    panel = _begin(table.Panel(), title, read_as, query, Format.TABLE, size)
    panel = panel.unit("string").filterable(True)
    for name, how in shown.items():
        panel = panel.override_by_name(name, _properties(how))
    return panel


def _properties(how: Shown) -> list[dashboard.DynamicConfigValue]:
    found: list[dashboard.DynamicConfigValue] = []
    if how.unit:
        found.append(_value("unit", how.unit))
    if how.decimals is not None:
        found.append(_value("decimals", how.decimals))
    if how.width:
        found.append(_value("custom.width", how.width))
    if how.steps:
        found.append(_value("thresholds", _steps(how.steps).build()))
        found.append(_value("custom.cellOptions", {"type": "color-background", "mode": "basic"}))
    if how.words:
        colours = {**_OUTCOME, **{name: colour for name, (_, colour) in STATUS.items()}}
        words = {
            name: dashboard.ValueMappingResult(text=name, color=colour, index=at)
            for at, (name, colour) in enumerate(sorted(colours.items()))
        }
        found.append(_value("mappings", [dashboard.ValueMap(words)]))
        found.append(_value("custom.cellOptions", {"type": "color-text"}))
    if how.link is not None:
        title, url = how.link
        found.append(_value("links", [{"title": title, "url": url}]))
    return found


def _steps(steps: Steps) -> builders.ThresholdsConfig:
    return (
        builders.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value, colour) for colour, value in steps])
    )


def _value(name: str, value: object) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue(name, value)


def _edge() -> list[dashboard.DynamicConfigValue]:
    """The edge of a band is drawn thin, and is not in the way of the line it belongs to."""
    return [_value("custom.lineWidth", 0.5), _value("custom.showPoints", "never")]


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )

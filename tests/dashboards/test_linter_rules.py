"""The rules of Grafana's dashboard linter that are not about PromQL or LogQL, held to every board.

The linter itself (grafana/dashboard-linter, a Go module) cannot be had from the module proxy. What
its rules ask is in its documentation; each test says which of them it stands for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dashboards.boards import BOARDS, board_json
from sinks.schema import DATABASE

UNITS = {
    *("none", "short", "string", "percentunit", "ms", "s", "dtdurationms", "dtdurations"),
    *("dateTimeAsIso", "reqps", "rowsps"),
}
"""Of the units in Grafana's own list (``packages/grafana-data/src/valueFormats/categories.ts``)
those that the boards use."""
every_board = pytest.mark.parametrize(
    "board", [board_json(n, DATABASE) for n in BOARDS], ids=BOARDS
)


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def units(panel: dict[str, Any]) -> Iterator[str]:
    yield panel["fieldConfig"]["defaults"]["unit"]
    for override in panel["fieldConfig"]["overrides"]:
        for each in override["properties"]:
            if each["id"] == "unit":
                yield each["value"]


@every_board
def test_the_data_source_is_a_variable_of_the_name_that_everybody_uses(board: Any) -> None:
    """template-datasource-rule"""
    (source,) = [v for v in board["templating"]["list"] if v["type"] == "datasource"]
    assert (source["name"], source["label"]) == ("datasource", "Data source")


@every_board
def test_panels_read_from_the_chosen_data_source_and_ask_something(board: Any) -> None:
    """panel-datasource-rule, panel-no-targets-rule"""
    for panel in panels(board):
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert panel["targets"], panel["title"]


@every_board
def test_panels_have_a_title_a_description_and_a_unit_that_grafana_knows(board: Any) -> None:
    """panel-title-description-rule, panel-units-rule"""
    for panel in panels(board):
        assert panel["title"]
        assert panel["description"], panel["title"]
        assert set(units(panel)) <= UNITS, panel["title"]


@every_board
def test_variables_are_asked_again_when_the_time_changes(board: Any) -> None:
    """template-on-time-change-reload-rule: a release that began meanwhile can be chosen."""
    for variable in board["templating"]["list"]:
        assert variable["type"] != "query" or variable["refresh"] == 2, variable["name"]


@every_board
def test_boards_are_changed_in_the_code_only(board: Any) -> None:
    """uneditable-dashboard"""
    assert board["editable"] is False

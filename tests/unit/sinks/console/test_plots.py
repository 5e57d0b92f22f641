"""Pictures stay well-formed whatever is drawn, and say what they show."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from sinks.console import wording
from sinks.console.axes import fitted, time_ticks
from sinks.console.bin_plot import Bin, bin_plot
from sinks.console.heat_map import heat_map
from sinks.console.line_plot import Frame, Point, Series, legend, line_plot
from sinks.console.small_plots import course, meter
from sinks.console.status_bars import Bar, Mark, StatusRun, status_bars

NAMES = st.text(max_size=300) | st.just("\x00<script>\u202e&\"'")
FINITE = st.floats(-1e12, 1e12)
MAYBE = st.none() | FINITE
FROM_MS, STEP_MS = 1_760_000_000_000, 60_000
TO_MS = FROM_MS + 10 * STEP_MS


def drawn(markup: str) -> ET.Element:
    """The picture as a browser would read it: not well-formed is an error here."""
    root = ET.fromstring(markup)  # noqa: S314 - made by us just now
    for element in root.iter():
        assert "style" not in element.attrib
        for name in ("x", "y", "width", "height", "cx", "cy"):
            if name in element.attrib:
                assert abs(float(element.attrib[name])) < 10_000
    return root


points = st.lists(st.tuples(st.integers(0, 9), FINITE, MAYBE, MAYBE), max_size=12).map(
    lambda rows: tuple(
        Point(FROM_MS + at * STEP_MS, v, lo, hi)
        for at, v, lo, hi in sorted(rows, key=lambda row: row[0])
    )
)


@given(st.lists(st.builds(Series, NAMES, st.integers(0, 7), points), max_size=4), MAYBE)
def test_lines_are_well_formed_whatever_the_values(series: list[Series], limit: float) -> None:
    frame = Frame("label", FROM_MS, TO_MS, STEP_MS, limit=limit)
    drawn(line_plot(series, frame))
    drawn(legend(series))


@given(st.dictionaries(NAMES, st.lists(st.tuples(st.integers(0, 9), FINITE), max_size=5)))
def test_heat_maps_are_well_formed_whatever_the_names(
    rows: dict[str, list[tuple[int, float]]],
) -> None:
    cells = {name: [(FROM_MS + i * STEP_MS, v) for i, v in of] for name, of in rows.items()}
    drawn(heat_map(cells, dict.fromkeys(rows, "/console/drift"), FROM_MS, TO_MS, STEP_MS))


@given(st.lists(st.builds(Bin, NAMES, NAMES, st.floats(0, 1), st.none() | st.floats(0, 1))))
def test_histograms_are_well_formed_whatever_the_bins(bins: list[Bin]) -> None:
    drawn(bin_plot(bins, "label"))


@given(st.lists(NAMES, max_size=5), st.integers(0, 9))
def test_bars_are_well_formed_whatever_the_names(names: list[str], at: int) -> None:
    at_ms = FROM_MS + at * STEP_MS
    bars = [Bar(name, (StatusRun("fail", at_ms, at_ms),)) for name in names]
    marks = [Mark(at_ms, i, name) for i, name in enumerate(names)]
    drawn(status_bars(bars, marks, FROM_MS, TO_MS))


def test_a_gap_in_the_data_is_a_gap_in_the_line() -> None:
    at = (0, 1, 2, 8, 9)
    series = Series("s", 0, tuple(Point(FROM_MS + i * STEP_MS, float(i)) for i in at))
    root = drawn(line_plot([series], Frame("label", FROM_MS, TO_MS, STEP_MS)))
    assert len(root.findall("path")) == 2


def test_every_point_says_its_time_value_and_interval() -> None:
    series = Series("canary", 0, (Point(FROM_MS, 0.25, 0.125, 0.5),))
    frame = Frame("label", FROM_MS, TO_MS, STEP_MS, written=wording.share)
    (title,) = drawn(line_plot([series], frame)).findall("rect/title")
    assert title.text == "2025-10-09 08:53:20 UTC\ncanary: 25 %  [12 %, 50 %]"


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=20), st.booleans())
def test_ticks_are_few_and_hold_the_values(values: list[float], with_zero: bool) -> None:
    usable = [value for value in values if abs(value) < 1e300]
    scale, ticks = fitted(usable, 0, 100, with_zero=with_zero)
    assert 2 <= len(ticks) <= 7
    for value in usable:
        slack = 1e-6 * (scale.high - scale.low)
        assert scale.low - slack <= value <= scale.high + slack


@given(st.integers(0, 4_000_000_000_000), st.integers(1, 10**12))
def test_time_has_few_ticks(from_ms: int, length: int) -> None:
    assert len(time_ticks(from_ms, from_ms + length)) <= 8


@given(st.lists(st.floats(0, 1e9)), st.none() | FINITE)
def test_small_plots_are_well_formed(values: list[float], value: float | None) -> None:
    if markup := course(values, "label"):
        drawn(markup)
    said = drawn(meter(value, "label"))
    assert (said.text == "–") is (value is None)


@given(st.text(), st.integers(2, 80))
def test_a_shown_name_has_nothing_invisible_and_is_bounded(name: str, most: int) -> None:
    seen = wording.shown(name, most)
    assert seen.isprintable()
    # Each character may become an escape of ten; then comes how long it was.
    assert len(seen) <= 10 * most + 30
    assert wording.brief(name, most).isprintable()
    assert len(wording.brief(name, most)) <= most
    if name.isprintable() and len(name) <= most:
        assert seen == name

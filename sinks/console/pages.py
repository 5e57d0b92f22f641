"""Pages out of figures: templates with autoescaping, and the plots in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from detectors.release import Release, Role
from sinks.console import wording
from sinks.console.bin_plot import bin_plot
from sinks.console.course_bins import Span, read_segments, read_span
from sinks.console.drift import read_drift
from sinks.console.fleet import WORST_FIRST, key_of, read_fleet
from sinks.console.heat_map import heat_map
from sinks.console.incidents import read_incidents
from sinks.console.lead import Lead, read_lead
from sinks.console.line_plot import Frame, legend, line_plot
from sinks.console.release import read_release
from sinks.console.small_plots import course, meter
from sinks.console.status_bars import status_bars
from sinks.console.store_view import StoreView, Told
from sinks.console.wanted import SPANS, Wanted, address
from sinks.control import CaseRecord
from sinks.verdict_board import ROLE_ORDER, Answer, Standing

_FOLDER: Final = Path(__file__).parent / "templates"
_EVERY_MS: Final = {"fleet": 2_000, "release": 4_000, "drift": 4_000, "incidents": 2_000}
"""How often a page asks for itself again; a fifth as often where much time is shown."""

_RATES: Final = ("_errors", "_tail", "_missing", "_categories")
"""Ends of the names of detectors whose effect is a difference of rates."""

_SHORT_MS: Final = 86_400_000
_MOST_CASES: Final = 50

_UNITS: Final[Mapping[str, Callable[[float | None], str]]] = {
    "ms": wording.number,
    "share": wording.share,
    "per_second": wording.number,
    "": wording.number,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to look at. ``waiting_for``: why the board is not complete, "" if it is;
    ``signed_in``: whether there is a session to end; ``cases``: rollbacks and where they stand."""

    standings: Sequence[tuple[Standing, Answer]]
    waiting_for: str
    store: StoreView
    now_ms: int
    signed_in: bool
    cases: Sequence[CaseRecord] = ()


class Renderer:
    """Makes pages. ``tags``: the hash of each static file, which becomes part of its address."""

    def __init__(self, tags: Mapping[str, str]) -> None:
        self._pages = Environment(
            loader=FileSystemLoader(_FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._pages.filters |= {
            "shown": wording.shown,
            "number": wording.number,
            "count": wording.count,
            "share": wording.share,
            "duration": wording.duration,
            "milliseconds": wording.milliseconds,
            "moment": wording.moment,
        }
        self._pages.globals |= {
            "address": address,
            "asset": lambda name: f"/console/static/{name}?v={tags[name]}",
            "meter": meter,
            "course": course,
            "legend": legend,
            "NOTHING": wording.NOTHING,
            "REASON": wording.REASON_CHARS,
            "RATES": _RATES,
            "SPANS": tuple(SPANS),
        }

    def page(self, name: str, wanted: Wanted, seen: Seen) -> str:
        """The page ``name``: fleet, release, drift or incidents."""
        make = {
            "fleet": self._fleet,
            "release": self._release,
            "drift": self._drift,
            "incidents": self._incidents,
        }[name]
        frame: dict[str, Any] = {
            "page": name,
            "wanted": wanted,
            "now_ms": seen.now_ms,
            "waiting_for": seen.waiting_for,
            "signed_in": seen.signed_in,
            "every_ms": _EVERY_MS[name] * (1 if wanted.span_ms <= _SHORT_MS else 5),
        }
        return self._rendered(f"{name}.html", **(frame | make(wanted, seen)))

    def refusal(self, title: str, words: str) -> str:
        """A page that says why there is none."""
        return self._rendered("refusal.html", page="", title=title, words=words, signed_in=False)

    def sign_in(self, problem: str) -> str:
        """The form that takes a token."""
        return self._rendered("sign_in.html", page="", problem=problem, signed_in=False)

    def _rendered(self, template: str, **values: Any) -> str:
        return self._pages.get_template(template).render(**values)

    def _fleet(self, wanted: Wanted, seen: Seen) -> dict[str, Any]:
        fleet = read_fleet(seen.standings, seen.store, wanted)
        return {"fleet": fleet, "problems": problems(fleet.told), "statuses": WORST_FIRST}

    def _incidents(self, wanted: Wanted, seen: Seen) -> dict[str, Any]:
        incidents = read_incidents(seen.store, wanted)
        cases = [each for each in seen.cases if wanted.q in f"{each.model} {each.version} rollback"]
        return {
            "incidents": incidents,
            "cases": cases[:_MOST_CASES],
            "problems": problems(incidents.told),
        }

    def _release(self, wanted: Wanted, seen: Seen) -> dict[str, Any]:
        opened = _opened(wanted, seen, compared=True)
        values = opened.values() | {"key_of": key_of, "figures": None}
        wanted, span = opened.wanted, opened.span
        if span is None:
            return values | {"problems": problems(opened.told)}
        figures = read_release(seen.store, wanted, span)
        segments = read_segments(seen.store, wanted, span)
        frame = Frame("", span.from_ms, span.to_ms, span.step_ms)
        return values | {
            "figures": figures,
            "segments": [row[0] for row in segments],
            "timeline": status_bars(figures.bars, figures.marks, span.from_ms, span.to_ms),
            "differences": [
                (
                    each,
                    line_plot([each.series], _difference_frame(frame, each.detector, each.column)),
                )
                for each in figures.measures
            ],
            "plots": [
                (
                    each,
                    line_plot(
                        each.series,
                        replace(
                            frame,
                            label=each.title,
                            written=_UNITS[each.unit],
                            with_zero=each.unit != "",
                        ),
                    ),
                )
                for each in figures.plots
            ],
            "problems": problems([*opened.told, *figures.told, segments]),
        }

    def _drift(self, wanted: Wanted, seen: Seen) -> dict[str, Any]:
        opened = _opened(wanted, seen, compared=False)
        values = opened.values() | {"drift": None}
        wanted, span = opened.wanted, opened.span
        if span is None:
            return values | {"problems": problems(opened.told)}
        drift = read_drift(seen.store, wanted, span)
        segments = read_segments(seen.store, wanted, span)
        frame = Frame("", span.from_ms, span.to_ms, span.step_ms)
        links = {name: _drift_address(replace(wanted, column=name)) for name in drift.heat}
        evidence = replace(frame, written=wording.share, with_zero=True, limit=1.0)
        return values | {
            "drift": drift,
            "segments": [row[0] for row in segments],
            "links": links,
            "heat": heat_map(drift.heat, links, span.from_ms, span.to_ms, span.step_ms),
            "histogram": bin_plot(
                drift.histogram.bins if drift.histogram else (), "Histogram now and reference"
            ),
            "evidence": line_plot(drift.evidence, replace(evidence, label="Share of the limit")),
            "values": line_plot(drift.values, replace(frame, label="Values")),
            "problems": problems([*opened.told, *drift.told, segments]),
        }


def problems(told: Sequence[Told]) -> list[dict[str, Any]]:
    """What the page must say of the store: each problem once, with the age of what is shown
    (None: nothing is)."""
    found: dict[str, dict[str, Any]] = {}
    for each in told:
        if each.problem:
            one = found.setdefault(
                each.problem, {"what": each.problem, "age_s": None, "missing": False}
            )
            if each.rows is None:
                one["missing"] = True
            else:
                one["age_s"] = max(one["age_s"] or 0.0, each.age_s)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a page about one release begins with: all releases of its model, the one that is meant,
    its lead, the stretch of time that is shown, and what the store told of these."""

    held: Sequence[tuple[Standing, Answer]]
    focus: Release
    wanted: Wanted
    lead: Lead | None
    span: Span | None
    told: Sequence[Told]

    def values(self) -> dict[str, Any]:
        """Those that the templates know, by their names there."""
        return {
            "held": self.held,
            "focus": self.focus,
            "wanted": self.wanted,
            "lead": self.lead,
            "span": self.span,
        }


def _opened(wanted: Wanted, seen: Seen, *, compared: bool) -> _Opened:
    held = [pair for pair in seen.standings if pair[0].release.model == wanted.model]
    focus = _focus(held, wanted, compared=compared)
    wanted = replace(wanted, version=focus.version, role=focus.role.value)
    lead = read_lead(seen.store, held, focus)
    span, told = read_span(seen.store, wanted)
    return _Opened(
        sorted(held, key=lambda pair: _place(pair[0].release, focus)),
        focus,
        wanted,
        lead,
        span,
        (told, *(lead.told if lead else ())),
    )


def _focus(held: Sequence[tuple[Standing, Answer]], wanted: Wanted, *, compared: bool) -> Release:
    """The release that is meant. Where the address leaves it open: among those that fit the one
    that is being tried out (``compared``), else the one in production; the newest first."""
    known = {role.value for role in Role}
    fits = [
        standing
        for standing, _ in held
        if wanted.version in ("", standing.release.version)
        and wanted.role in ("", standing.release.role.value)
    ]
    order = ROLE_ORDER if compared else tuple(reversed(ROLE_ORDER))
    fits.sort(key=lambda s: (order.index(s.release.role), -s.as_of_ms, s.release.version))
    if fits:
        return fits[0].release
    role = Role(wanted.role) if wanted.role in known else Role.PRODUCTION
    return Release(wanted.model, wanted.version, role)


def _place(release: Release, focus: Release) -> tuple[bool, bool, str, str]:
    production = release.role is Role.PRODUCTION
    return release != focus, not production, release.role.value, release.version


def _difference_frame(frame: Frame, detector: str, column: str) -> Frame:
    rate = detector.endswith(_RATES)
    return replace(
        frame,
        label=f"{wording.shown(column)}: difference to production",
        written=wording.share if rate else wording.number,
        with_zero=True,
    )


def _drift_address(wanted: Wanted) -> str:
    return address(
        "drift",
        model=wanted.model,
        version=wanted.version,
        role=wanted.role,
        segment=wanted.segment,
        window=wanted.window_ms,
        span=wanted.span,
        column=wanted.column,
    )

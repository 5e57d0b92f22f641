"""Streams of panes from data frames: drift, canary and online detectors in a notebook.

A table with a column of times becomes panes, and panes go through the very functions that judge
live traffic.

>>> import numpy as np
>>> import pyarrow as pa
>>> rng = np.random.default_rng(1)
>>> def traffic(rows, shift=0.0, start_ms=0):
...     return pa.table({
...         "ts": pa.array(start_ms + np.arange(rows) * 100, pa.timestamp("ms")),
...         "features.age": rng.normal(40 + shift, 10, rows),
...     })
>>> normal = reference_of(traffic(20_000))
>>> quiet = panes(traffic(50_000), normal, pane_ms=60_000)
>>> len(quiet), quiet[0].summaries.events
(84, 600)
>>> follow_drift(normal, quiet).alarms
()
>>> shifted = panes(traffic(20_000, shift=3.0, start_ms=84 * 60_000), normal, pane_ms=60_000)
>>> found = follow_drift(normal, [*quiet, *shifted]).alarms[0]
>>> found.column, found.direction, found.basis.value
('features.age', 'up', 'theorem for independent rows, which could not be checked')
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from detectors import canary as canaries
from detectors import drift, online
from detectors.arrow_rows import UnusableColumn, read_columns
from detectors.canary import CanaryState
from detectors.canary_metric import ArmsPane
from detectors.canary_rules import CanarySettings
from detectors.canary_verdict import CanaryVerdict
from detectors.cells import cells_of, count, rows_of
from detectors.drift_evidence import Reading, direction, ranked, readings, size_in_words
from detectors.drift_settings import DriftSettings
from detectors.drift_state import DriftState, empty_state
from detectors.finding import Finding
from detectors.inflation import Panes, learn
from detectors.kernels import summarize
from detectors.layout import Kind
from detectors.online import OnlineState
from detectors.online_rules import OnlineSettings
from detectors.payoffs import Basis, Payoffs, dictionary_of, normal_without_panes, payoffs
from detectors.reference import Reference, layout_for
from detectors.release import ALL, Release, Role
from detectors.season import slot_of
from detectors.summary import Summaries
from detectors.table import arrow_table, reference_of
from detectors.thresholds import Place

__all__ = [
    "DriftAlarm",
    "DriftFollowed",
    "OnlineFollowed",
    "Pane",
    "follow_canary",
    "follow_drift",
    "follow_online",
    "panes",
    "reference_of",
]


@dataclass(frozen=True, slots=True, eq=False)
class Pane:
    """The rows of [start_ms, start_ms + length_ms), summarised; each counts as one prediction."""

    start_ms: int
    length_ms: int
    summaries: Summaries


@dataclass(frozen=True, slots=True)
class DriftAlarm:
    """When drift was found (event time), in what, which way, by how much in words, since when the
    evidence gathers, and on what the promise about false alarms stands."""

    at_ms: int
    column: str
    direction: str
    size: str
    onset_ms: int
    basis: Basis


@dataclass(frozen=True, slots=True, eq=False)
class DriftFollowed:
    """``alarms`` in the order of time; ``readings``: what is to be said at the end, the most
    telling first; ``state``: to go on from."""

    alarms: tuple[DriftAlarm, ...]
    readings: tuple[Reading, ...]
    state: DriftState


@dataclass(frozen=True, slots=True, eq=False)
class OnlineFollowed:
    """``alarms``: (event time, detector, column) in the order of time; ``findings`` at the end."""

    alarms: tuple[tuple[int, str, str], ...]
    findings: tuple[Finding, ...]
    state: OnlineState


def panes(
    table: Any, reference: Reference, *, time: str = "ts", pane_ms: int = 10_000
) -> list[Pane]:
    """A pandas, polars or Arrow table cut into panes by its column ``time``: a timestamp (UTC if it
    names no zone), or milliseconds since 1970 as integers. Panes without a row are left out.

    Raises ``arrow_rows.UnusableColumn`` if there is no such column, a time is missing, or the
    reference took the times for a feature, and ``ValueError`` for a pane of no length.
    """
    if pane_ms <= 0:
        raise ValueError("pane_ms must be above 0")
    rows = arrow_table(table)
    if time not in rows.schema.names:
        raise UnusableColumn(f"the table has no column {time!r} to cut it by; name it: time=...")
    if (time, Kind.NUMERIC) in reference.layout.starts:
        raise UnusableColumn(
            f"the reference has {time!r} as a feature, and time always drifts: make it of a table "
            "whose times are timestamps, or without them"
        )
    at = _milliseconds(rows.column(time), time) // pane_ms
    found = read_columns(rows.drop_columns([time]))
    keys = [(name, Kind.NUMERIC) for name in found.numeric]
    layout = layout_for(reference, [*keys, *((name, Kind.CATEGORICAL) for name in found.texts)])
    order = np.argsort(at, kind="stable").astype(np.int64)
    starts, firsts = np.unique(at[order], return_index=True)
    bounds = np.append(firsts, len(order)).astype(np.int64)
    if not len(starts):
        return []
    parts = summarize(found.rows_of(bounds, order), layout)
    return [
        Pane(start * pane_ms, pane_ms, part)
        for start, part in zip(starts.tolist(), parts, strict=True)
    ]


def follow_drift(
    reference: Reference,
    stream: Iterable[Pane],
    settings: DriftSettings | None = None,
    history: Sequence[Pane] = (),
    state: DriftState | None = None,
) -> DriftFollowed:
    """Panes in the order of time through :mod:`detectors.drift`, with the whole budget.

    ``history``: the reference's own rows in panes, which teach the seasons and how much panes of
    normal traffic scatter (:mod:`detectors.inflation`). Without it rows are taken for independent.
    """
    settings = settings or DriftSettings()
    dictionary = dictionary_of(cells_of(reference.summaries))
    cells = dictionary.cells
    if history:
        past = Panes(
            np.stack([count(cells, pane.summaries) for pane in history]),
            np.array([pane.start_ms for pane in history], np.int64),
            history[0].length_ms,
        )
        normal = learn(dictionary, past, settings)
    else:
        normal = normal_without_panes(dictionary, count(cells, reference.summaries))
    state = state or empty_state(dictionary)
    paid: dict[int, Payoffs] = {}
    slot, rows = 0, np.zeros(len(cells.watches))
    alarms: list[DriftAlarm] = []
    for pane in stream:
        slot = slot_of(settings.season, pane.start_ms, settings.utc_offset_ms)
        if slot not in paid:
            paid[slot] = payoffs(normal, slot, settings)
        counts = count(cells, pane.summaries)
        took = drift.step(state, paid[slot], counts, 1.0, pane.start_ms, pane.length_ms, settings)
        state, rows = took.state, rows_of(cells, counts)
        alarms += [
            DriftAlarm(
                alarm.at_ms,
                cells.watches[alarm.watch].column,
                direction(cells.watches[alarm.watch], alarm, int(cells.starts[alarm.watch])),
                size_in_words(alarm),
                alarm.onset_ms,
                normal.basis[alarm.watch],
            )
            for alarm in took.alarms
        ]
    if slot not in paid:
        paid[slot] = payoffs(normal, slot, settings)
    said = ranked(readings(state, paid[slot], rows, state.upto_ms, settings))
    return DriftFollowed(tuple(alarms), tuple(said), state)


def follow_canary(
    canary: Iterable[Pane],
    production: Iterable[Pane],
    settings: CanarySettings | None = None,
    reference: Reference | None = None,
) -> CanaryVerdict:
    """Two streams of panes side by side through :mod:`detectors.canary`; the verdict at the end.
    Panes of one that the other does not have say nothing."""
    settings = settings or CanarySettings()
    twins = {pane.start_ms: pane for pane in production}
    normal = reference.summaries if reference is not None else None
    state = CanaryState()
    for pane in sorted(canary, key=lambda pane: pane.start_ms):
        twin = twins.get(pane.start_ms)
        if twin is not None:
            arms = ArmsPane(pane.start_ms, pane.length_ms, pane.summaries, twin.summaries, normal)
            state = canaries.step(state, settings, arms)
    return canaries.verdict(state, settings)


def follow_online(
    reference: Reference,
    stream: Iterable[Pane],
    settings: OnlineSettings,
    state: OnlineState | None = None,
) -> OnlineFollowed:
    """Panes in the order of time through :mod:`detectors.online`: no budget is kept."""
    normal = reference.summaries
    state, window = state or OnlineState(), Summaries.empty(reference.layout)
    alarms: list[tuple[int, str, str]] = []
    place = Place(Release(reference.model, "", Role.PRODUCTION), ALL, 0, 0, 0)
    for pane in stream:
        state = online.step(state, pane.summaries, normal, pane.start_ms, pane.length_ms, settings)
        window = pane.summaries
        place = Place(place.release, ALL, pane.length_ms, pane.start_ms, 0)
        alarms += [
            (state.upto_ms, track.name, track.column)
            for track in state.tracks
            if track.alarm is not None and track.alarm.at_ms == pane.start_ms + pane.length_ms
        ]
    said = online.findings_of(state, window, normal, place, settings)
    return OnlineFollowed(tuple(alarms), tuple(said), state)


def _milliseconds(column: Any, name: str) -> NDArray[np.int64]:
    """int64 [rows]: milliseconds since 1970."""
    if column.null_count:
        raise UnusableColumn(f"column {name!r} has {column.null_count} rows without a time")
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        column = pc.cast(column, pa.timestamp("ms"), safe=False).cast(pa.int64())
    elif not pa.types.is_integer(column.type):
        raise UnusableColumn(
            f"column {name!r} is {column.type}: neither a timestamp nor whole milliseconds"
        )
    return np.asarray(column.cast(pa.int64()).to_numpy(), np.int64)

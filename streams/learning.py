"""Without a reference, production's first events become one: collected window by window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from detectors.canary_rules import CanarySettings
from detectors.drift_settings import DriftSettings
from detectors.layout import Header
from detectors.learning import Series, taught
from detectors.reference import Reference, reference_from_summaries
from detectors.release import ALL, Role
from streams.model_state import Interval, IntervalKey

LEARNING_MS: Final = 0
"""Length of the intervals that keep production's windows until a reference is learnt."""
MOST_WINDOWS: Final = 500
"""Kept apart; what comes after is added to the last one."""


def learning_key(window: IntervalKey, intervals: Mapping[IntervalKey, Interval]) -> IntervalKey:
    """Where a window of production is collected."""
    own = IntervalKey(LEARNING_MS, window.start_ms, window.version, window.role, ALL)
    kept = collected(window.version, intervals)
    return own if own in intervals or len(kept) < MOST_WINDOWS else kept[-1]


def collected(version: str, intervals: Mapping[IntervalKey, Interval]) -> list[IntervalKey]:
    """What there is of a version, in the order of time."""
    return sorted(k for k in intervals if k.length_ms == LEARNING_MS and k.version == version)


def learn(
    model: str,
    version: str,
    intervals: Mapping[IntervalKey, Interval],
    window_ms: int,
    wanted: int,
    drift: DriftSettings,
    canary: CanarySettings,
) -> Reference | None:
    """The reference from a version's first ``wanted`` events; None while there are fewer.

    Windows stand for panes: where they are long enough to judge by, they show how far rows depend
    on one another.
    """
    keys = collected(version, intervals)
    panes = [intervals[key].blocks[""] for key in keys]
    events = sum(pane.header(Header.PREDICTIONS) for pane in panes)
    # Events without any column teach nothing: then go on collecting.
    if events < wanted or not any(pane.layout.columns for pane in panes):
        return None
    whole = panes[0]
    for pane in panes[1:]:
        whole = whole.merge(pane)
    origin = f"learnt from the first {events} events of version {version}"
    reference = reference_from_summaries(model, whole, origin)
    series = Series(tuple(key.start_ms for key in keys), tuple(panes), window_ms)
    return taught(reference, series, drift, canary)


def teaches(key: IntervalKey) -> bool:
    """Whether a window is one to learn from."""
    return key.role is Role.PRODUCTION and key.segment == ALL

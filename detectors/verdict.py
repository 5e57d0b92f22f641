"""A verdict: what is to be thought of one release now, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from detectors.finding import Finding
from detectors.release import Release


class Status(StrEnum):
    """The five answers. Only PASS is healthy; only FAIL may lead to a rollback."""

    PASS = "pass"
    FAIL = "fail"
    INSUFFICIENT = "insufficient"
    BLIND = "blind"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for one release, with the findings that led to it.

    ``sequence`` grows by one with each verdict of a release; readers keep the highest.
    ``baseline_version`` is the production version the release was compared with ("" if none): the
    version to return to. ``as_of_ms`` is the watermark (event time) at which it was decided;
    ``window_start_ms``/``window_ms`` name the newest window behind it (0 if none).
    ``p95_latency_ms``/``p99_latency_ms`` are NaN where no latency was logged.
    ``further_events``/``further_ms``: how much more of this release, and how long, until it will
    probably be decided (None: nothing to expect). ``upstream``: columns in which production moves
    the same way, so that the data is the cause and not this release. ``configuration`` and
    ``reference`` name what it was judged by: the hash of the settings, and the id of the model's
    reference in force ("" if there is none).
    """

    release: Release
    status: Status
    reason: str
    sequence: int
    as_of_ms: int
    window_start_ms: int
    window_ms: int
    baseline_version: str
    events: int
    p95_latency_ms: float
    p99_latency_ms: float
    findings: tuple[Finding, ...]
    offset: int
    """Offset in driftline.summaries of the record that led to it: the address of its evidence."""
    further_events: int | None = None
    further_ms: int | None = None
    upstream: tuple[str, ...] = ()
    configuration: str = ""
    reference: str = ""

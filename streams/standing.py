"""From findings to a verdict: what every deciding detector says at present, and what that adds up
to for a release.

Two kinds of detectors decide. *Evidence* (drift of production, a canary's measures, pairs) needs no
confirmation: its errors are budgeted, whenever one looks. A *limit* on a classical statistic fails
a release while it is exceeded: on the shortest window in ``confirm_fails`` of the last
``confirm_of`` conclusive windows, on longer windows at once, since those are many short ones
already.

A release PASSes only if something was really checked and nothing fails; what is not production
must have been compared with production's traffic at the same time. FAIL means that going back
would help: where the cause is upstream, or only a measure that is not critical got worse, the
answer is HOLD, and a person decides. Everything else is no answer, and says so.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from detectors.canary_verdict import CanaryVerdict
from detectors.column_figures import QUANTILES, quantiles_of
from detectors.finding import Finding, Outcome
from detectors.layout import Kind
from detectors.limits import LATENCY
from detectors.release import ALL, OTHER, Release, Role
from detectors.summary import Summaries
from detectors.verdict import Status
from streams.model_state import (
    IntervalKey,
    ReleaseTrack,
    Standing,
    StandingKey,
    encode_standings,
)
from streams.timeline import DAY, MINUTE

MOST_FINDINGS = 10
"""In a verdict: the worst ones; all of them are in the store."""
EVIDENCE = ("drift", "paired_")
"""What the names of detectors that accumulate evidence begin with."""
_PRODUCTION = "production"


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """``blind_after_ms`` without events a release is BLIND, after ``retire_after_ms`` forgotten.
    ``learn_events``: without a reference, so many production events become one (0: never).
    ``confirm_fails`` of the last ``confirm_of`` short windows make a limit fail."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    blind_after_ms: int = 15 * MINUTE
    retire_after_ms: int = DAY
    confirm_fails: int = 2
    confirm_of: int = 3
    learn_events: int = 10_000

    def __post_init__(self) -> None:
        if not 1 <= self.confirm_fails <= self.confirm_of <= 30:
            raise ValueError("judge.confirm_fails must be from 1 to confirm_of, and that up to 30")
        if self.blind_after_ms < 1_000 or self.retire_after_ms < self.blind_after_ms:
            raise ValueError("judge.blind_after must be at least 1s and at most retire_after")
        if self.learn_events < 0:
            raise ValueError("judge.learn_events must not be negative")


@dataclass(frozen=True, slots=True)
class Decision:
    """A status with its reason, what led to it, and what is to be expected; see `Verdict`."""

    status: Status
    reason: str
    findings: tuple[Finding, ...] = ()
    further_events: int | None = None
    further_ms: int | None = None
    upstream: tuple[str, ...] = ()


_decides = operator.attrgetter("decides")
"""Few do, of the many that a window has."""


class Standings:
    """The present state of every deciding detector of one model."""

    def __init__(
        self,
        standings: dict[StandingKey, Standing],
        settings: JudgeSettings,
        shortest_ms: int,
    ) -> None:
        self._standings = standings
        self._settings = settings
        self._shortest_ms = shortest_ms
        self._packed: msgspec.Raw | None = None

    def packed(self) -> msgspec.Raw:
        """As they are stored. They change when windows close, and are written with every pane."""
        if self._packed is None:
            self._packed = encode_standings(self._standings)
        return self._packed

    def enter(self, findings: Iterable[Finding]) -> None:
        """Take in the findings of a window; a correction of an old window changes nothing here."""
        for finding in filter(_decides, findings):
            key = (
                finding.release.version,
                finding.release.role,
                finding.segment,
                finding.column,
                finding.detector,
                finding.against.partition(":")[0],
                finding.window_ms,
            )
            known = self._standings.get(key)
            if known is not None and finding.window_start_ms < known.finding.window_start_ms:
                continue
            fails = known.fails if known else 0
            again = known is not None and finding.window_start_ms == known.finding.window_start_ms
            if again and known is not None and known.finding.outcome is not Outcome.INSUFFICIENT:
                fails >>= 1
            if finding.outcome is not Outcome.INSUFFICIENT:
                fails = (fails << 1 | (finding.outcome is Outcome.FAIL)) & 0x3FFF_FFFF
            self._standings[key] = Standing(fails, finding)
            self._packed = None

    def forget(self, version: str, role: Role) -> None:
        for key in [key for key in self._standings if key[:2] == (version, role)]:
            del self._standings[key]
            self._packed = None

    def of(self, release: Release, now_ms: int) -> list[Standing]:
        """Those of one release that are not outdated: a window speaks until the next two of its
        length could have."""
        version, role = release.version, release.role
        return [
            standing
            for key, standing in self._standings.items()
            if key[0] == version
            and key[1] == role
            and standing.finding.window_end_ms + 2 * standing.finding.window_ms > now_ms
        ]

    def exceeded(self, standing: Standing) -> bool:
        """Whether the last conclusive windows exceeded a limit, confirmation included. Evidence
        has been accumulated already: it needs none."""
        if not standing.fails:
            return False
        finding = standing.finding
        if finding.detector.startswith(EVIDENCE) or finding.window_ms != self._shortest_ms:
            return bool(standing.fails & 1)
        recent = standing.fails & ((1 << self._settings.confirm_of) - 1)
        return recent.bit_count() >= self._settings.confirm_fails


def observe(track: ReleaseTrack, key: IntervalKey, summaries: Summaries) -> None:
    """Note the newest window of a release and its latency, for the verdict to show."""
    if key.segment != ALL or key.start_ms + key.length_ms < track.window_start_ms + track.window_ms:
        return
    newer = key.end_ms > track.window_start_ms + track.window_ms
    if not newer and track.window_ms and key.length_ms > track.window_ms:
        return
    track.window_start_ms, track.window_ms = key.start_ms, key.length_ms
    latency = summaries.layout.index.get((LATENCY, Kind.NUMERIC))
    if latency is None:
        return
    found = quantiles_of(summaries)[:, latency].tolist()
    if not math.isnan(found[0]):
        track.p95_latency_ms = found[QUANTILES.index(0.95)]
        track.p99_latency_ms = found[QUANTILES.index(0.99)]


def baseline(releases: Mapping[tuple[str, Role], ReleaseTrack]) -> str:
    """The production version that has traffic: the newest, and of several the one with most."""
    found = [
        (track.last_ms, track.events, version)
        for (version, role), track in releases.items()
        if role is Role.PRODUCTION and version != OTHER
    ]
    return max(found)[2] if found else ""


def silence(
    track: ReleaseTrack, settings: JudgeSettings, closed_ms: int, wall_ms: int, stuck_ms: int
) -> Decision | None:
    """BLIND if a release is not seen; a release that is not seen is not judged. ``stuck_ms``: for
    how long no window could close, although events came."""
    silent_ms = max(wall_ms - track.wall_ms, 0)
    if silent_ms >= settings.blind_after_ms:
        return Decision(Status.BLIND, f"no events for {silent_ms // 1000} s")
    behind_ms = closed_ms - track.last_ms
    if behind_ms >= settings.blind_after_ms:
        return Decision(
            Status.BLIND, f"no events for {behind_ms // 1000} s while the model has traffic"
        )
    if stuck_ms >= settings.blind_after_ms:
        return Decision(
            Status.BLIND,
            f"no window could close for {stuck_ms // 1000} s: an input partition is behind",
        )
    return None


def decide(
    release: Release, standings: Standings, closed_ms: int, canary: CanaryVerdict | None
) -> Decision:
    """The verdict on one release that is seen. The order of the questions is that of their weight:
    where the comparison is broken, nothing is compared. ``canary``: what the evidence against
    production says, None where none is gathered. The findings are those of limits, drift and
    pairs."""
    if canary is not None and canary.status is Status.HOLD:
        return Decision(Status.HOLD, canary.reason)
    current = standings.of(release, closed_ms)
    exceeded = [standing for standing in current if standings.exceeded(standing)]
    # Too few events are no answer, whatever was before.
    failing = [s for s in exceeded if s.finding.outcome is not Outcome.INSUFFICIENT]
    if failing:
        worst = _worst(failing)
        return Decision(Status.FAIL, _in_words(worst), worst)
    if canary is not None and canary.status is Status.FAIL:
        return _failed(canary)
    return _not_failing(release, current, exceeded, canary)


def _failed(canary: CanaryVerdict) -> Decision:
    """Evidence of harm: FAIL if going back would help, else HOLD."""
    if canary.roll_back:
        return Decision(Status.FAIL, canary.reason)
    if canary.upstream is not None and canary.upstream.all_of_it:
        return Decision(Status.HOLD, canary.reason, upstream=canary.upstream.columns)
    return Decision(Status.HOLD, f"a person decides, as it is nothing critical: {canary.reason}")


def _not_failing(
    release: Release,
    current: list[Standing],
    exceeded: list[Standing],
    canary: CanaryVerdict | None,
) -> Decision:
    suspicious = [s for s in current if s.finding.outcome is Outcome.FAIL]
    if suspicious:
        worst = _worst(suspicious)
        return Decision(Status.INSUFFICIENT, f"not confirmed yet: {_in_words(worst)}", worst)
    if exceeded:
        last = _worst(exceeded)
        return Decision(
            Status.INSUFFICIENT,
            f"{last[0].column} {last[0].detector} exceeded its limit before; now {last[0].reason}",
            last,
        )
    checked = [s for s in current if s.finding.outcome is Outcome.PASS]
    if canary is not None:
        return Decision(
            canary.status,
            canary.reason,
            _worst(checked),
            canary.further_events,
            canary.further_ms,
        )
    if release.role is not Role.PRODUCTION and not any(
        s.finding.against.startswith(_PRODUCTION) for s in checked
    ):
        return Decision(Status.INSUFFICIENT, _why_not(current, "compare with production"))
    if not checked:
        return Decision(Status.INSUFFICIENT, _why_not(current, "check against a reference"))
    words = f"{len(checked)} detectors have checked it, none fails"
    return Decision(Status.PASS, words, _worst(checked))


def _worst(standings: Iterable[Standing]) -> tuple[Finding, ...]:
    """The most telling findings: critical first, then the furthest above their limits."""

    def badness(finding: Finding) -> tuple[bool, float, str, str]:
        ratio = finding.statistic / finding.threshold if finding.threshold else finding.statistic
        return not finding.critical, -ratio, finding.column, finding.detector

    return tuple(sorted((s.finding for s in standings), key=badness)[:MOST_FINDINGS])


def _in_words(findings: tuple[Finding, ...]) -> str:
    """The first findings of distinct columns, in one line."""
    columns: dict[str, Finding] = {}
    for finding in findings:
        columns.setdefault(finding.column, finding)
    shown = [
        f"{f.column}: {f.reason}"
        if f.detector.startswith(EVIDENCE)
        else f"{f.column} {f.detector} {f.statistic:.3g} > {f.threshold:g} ({f.reason})"
        for f in list(columns.values())[:3]
    ]
    more = len(columns) - len(shown)
    return "; ".join(shown) + (f"; and {more} more columns" if more else "")


def _why_not(current: list[Standing], wanted: str) -> str:
    if not current:
        return f"no window to {wanted} has closed yet"
    fullest = max(current, key=lambda s: (min(s.finding.n, s.finding.n_against), s.finding.column))
    return f"cannot {wanted}: {fullest.finding.reason}"

"""When a verdict goes out, and with what; and when a release is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from detectors.finding import Finding, Outcome
from detectors.release import ALL, OTHER, Role
from detectors.thresholds import Place
from detectors.verdict import Status, Verdict
from streams.evidence import Evidence
from streams.gaps import in_words
from streams.model_state import ModelState
from streams.outputs import Outputs
from streams.standing import (
    MOST_FINDINGS,
    Decision,
    JudgeSettings,
    Standings,
    baseline,
    decide,
    silence,
)

_PROVEN: Final = (Status.FAIL.value, Status.HOLD.value)


def decide_all(
    state: ModelState,
    settings: JudgeSettings,
    standings: Standings,
    evidence: Evidence,
    pane_ms: int,
    wall_ms: int,
    offset: int,
    outputs: Outputs,
    configuration: str = "",
) -> None:
    """A verdict on every release that has one to tell; its track in ``state`` remembers it.

    A verdict goes out with every window, as a sign of life, and when the answer changes; a record
    that closes no window and changes nothing brings none.
    """
    evaluated = {(row["version"], row["role"]) for row in outputs.windows}
    stuck_ms = wall_ms - state.moved_ms
    missing = in_words(state.gaps)
    version_to_return_to = baseline(state.releases)
    for (version, role), track in sorted(state.releases.items()):
        if version == OTHER:
            continue
        closed_one = (version, role.value) in evaluated
        decision = silence(track, settings, state.closed_ms, wall_ms, stuck_ms)
        if decision is None and missing:
            decision = Decision(Status.BLIND, missing)
        if decision is None:
            # Between two windows an answer changes only when evidence proves something, or when a
            # release is seen again.
            news = evidence.proven(version, role) and track.status not in _PROVEN
            if not (closed_one or news or track.status == Status.BLIND.value):
                continue
            canary = evidence.canary_verdict(version, role)
            decision = decide(state.release(version, role), standings, state.closed_ms, canary)
        if not (closed_one or track.status or decision.status is Status.BLIND):
            continue  # it has only just begun
        if not closed_one and decision.status.value == track.status:
            continue
        release = state.release(version, role)
        # From the offset, so that it also grows for a release that was forgotten and came back.
        track.sequence = offset + 1
        track.status, track.reason = decision.status.value, decision.reason
        if not closed_one:
            # Between two windows the evidence is told of the newest pane, so that whoever acts on
            # the verdict finds it in the store.
            place = Place(release, ALL, pane_ms, evidence.upto_ms - pane_ms, 0)
            outputs.told[release] = evidence.canary_findings(version, role, place)
            outputs.findings += outputs.told[release]
        shown = sorted(outputs.told.get(release, ()), key=_telling)
        outputs.verdicts.append(
            Verdict(
                release=release,
                status=decision.status,
                reason=decision.reason,
                sequence=track.sequence,
                as_of_ms=state.closed_ms,
                window_start_ms=track.window_start_ms,
                window_ms=track.window_ms,
                baseline_version="" if role is Role.PRODUCTION else version_to_return_to,
                events=track.events,
                p95_latency_ms=track.p95_latency_ms,
                p99_latency_ms=track.p99_latency_ms,
                findings=(*decision.findings, *shown)[:MOST_FINDINGS],
                offset=offset,
                further_events=decision.further_events,
                further_ms=decision.further_ms,
                upstream=decision.upstream,
                configuration=configuration,
                reference=state.reference,
            )
        )


def retire(
    state: ModelState,
    settings: JudgeSettings,
    wall_ms: int,
    forget: Callable[[str, Role], None],
) -> bool:
    """Forget releases that have long been silent, and production versions that another has
    replaced: silence is then what everybody expects. Tells whether there were any."""
    newest = max(
        (t.last_ms for (_, role), t in state.releases.items() if role is Role.PRODUCTION),
        default=0,
    )
    before = len(state.releases)
    for (version, role), track in list(state.releases.items()):
        silent_ms = wall_ms - track.wall_ms
        replaced = role is Role.PRODUCTION and newest - track.last_ms > settings.blind_after_ms
        if silent_ms >= settings.retire_after_ms or (
            replaced and silent_ms >= settings.blind_after_ms
        ):
            del state.releases[version, role]
            forget(version, role)
    return len(state.releases) < before


def _telling(finding: Finding) -> tuple[bool, bool, float, int, str]:
    """For sorting: what fails and is critical first, then the nearest to proof, then the newest."""
    share = finding.statistic / finding.threshold if finding.threshold else 0.0
    return (
        finding.outcome is not Outcome.FAIL,
        not finding.critical,
        -share if share == share else 0.0,
        -finding.window_start_ms,
        finding.column,
    )

"""Whether the demo went as it must, and the timeline from the first bad answer to the rollback.
Pure: it judges a snapshot."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from detectors.release import Release
from streams.demo_traffic import (
    CANARY,
    CANARY_FROM_MS,
    GPT,
    LOAN_MODEL,
    LOANS,
    PRODUCTION,
    SHADOW,
    drift_at_ms,
)
from streams.demo_watch import Page, Snapshot
from streams.replay import Sent

EXPECTED_PAGES: tuple[Release, ...] = (CANARY, SHADOW, LOAN_MODEL)
"""The canary's page says that a rollback was asked for; the shadow is bad as well, and answers
nobody; the loans drift. Production of gpt-4 is healthy throughout, and nothing may page for it."""

EXPECTED_RUNNING = {GPT: (PRODUCTION.version, ""), LOANS: (LOAN_MODEL.version, "")}


@dataclass(frozen=True, slots=True)
class Moment:
    """A line of the timeline. ``event_ms``: in event time, 0 where there is none; ``wall_ms``: on
    the wall, 0 if unknown."""

    what: str
    event_ms: int
    wall_ms: int


def missing(seen: Snapshot) -> tuple[str, ...]:
    """What must happen and has not yet."""
    waiting = []
    if not any(request.outcome == "executed" for request in seen.requests):
        waiting.append(f"the rollback of {CANARY} was not executed")
    elif not any(step.kind == "rollback" and step.state == "acknowledged" for step in seen.actions):
        waiting.append("the store has no acknowledged rollback")
    paged = {_release_of(page) for page in seen.pages if page.action == "trigger"}
    waiting += [
        f"no page went out for {release}" for release in EXPECTED_PAGES if str(release) not in paged
    ]
    return tuple(waiting)


def wrong(seen: Snapshot, start_ms: int) -> tuple[str, ...]:
    """What must not happen and has. ``start_ms``: event time at which the replay began."""
    found = [
        f"{release} failed before anything was wrong with it"
        for release, from_ms in ((CANARY, CANARY_FROM_MS), (LOAN_MODEL, drift_at_ms()))
        if 0 < first_fail_ms(seen, release) <= start_ms + from_ms
    ]
    outcomes = Counter(request.outcome for request in seen.requests)
    if outcomes["executed"] > 1:
        found.append(f"the deployer executed {outcomes['executed']} rollbacks, not one")
    found += [
        f"the deployer answered '{outcome}' to {outcomes[outcome]} requests"
        for outcome in sorted(set(outcomes) - {"executed", "repeated"})
    ]
    if seen.running and dict(seen.running) != EXPECTED_RUNNING and outcomes["executed"]:
        found.append(f"the deployer runs {dict(seen.running)}, not {EXPECTED_RUNNING}")
    asked = {step.release for step in seen.actions if step.kind == "rollback"} - {CANARY}
    found += [f"a rollback of {release} was asked for" for release in sorted(asked)]
    # A page sent twice under one key is one page to whoever is on call.
    pages = {(_release_of(page), page.action, page.incident) for page in seen.pages}
    counts = Counter((release, action) for release, action, _ in pages)
    for (release, action), count in sorted(counts.items()):
        if action != "trigger" or release not in map(str, EXPECTED_PAGES):
            found.append(f"the pager got '{action}' for {release}, which nobody expects")
        elif count > 1:
            found.append(f"{count} incidents were opened for {release}, not one")
    if seen.refused:
        found.append(f"the pager could not read {seen.refused} pages")
    return tuple(found)


def _release_of(page: Page) -> str:
    """A page's summary begins with its release."""
    return page.summary.partition(": ")[0]


def first_fail_ms(seen: Snapshot, release: Release) -> int:
    """End of the window that brought a release's first FAIL, in event time; 0 if it has none."""
    figures = seen.figures.get(release)
    return 0 if figures is None else figures.first_fail_ms


def timeline(
    seen: Snapshot, sent: Sent, start_ms: int, deciding_window_ms: int
) -> tuple[Moment, ...]:
    """From the first bad answer to the executed rollback. ``deciding_window_ms``: when, on the
    wall, the replay came to the end of the window that decided."""
    decided_at = first_fail_ms(seen, CANARY)
    rollback = [step for step in seen.actions if step.kind == "rollback"]
    first = {step.state: step.at_ms for step in reversed(rollback)}
    executed = [request for request in seen.requests if request.outcome == "executed"]
    moments = [
        Moment(
            "first unusable answer",
            start_ms + sent.first_bad_at_ms,
            sent.first_bad_ms,
        ),
        Moment("the deciding window ends", decided_at, deciding_window_ms),
        Moment("FAIL, rollback asked for", 0, first.get("pending", 0)),
        Moment("deployer executed it", 0, executed[0].at_ms if executed else 0),
        Moment("driftline knows it is done", 0, first.get("acknowledged", 0)),
    ]
    return tuple(moment for moment in moments if moment.wall_ms)

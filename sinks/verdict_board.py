"""The newest verdict of each release, and what a deployer may conclude from it.

Guarantee: only a PASS or a FAIL that was written at most ``max_age_ms`` ago is answered as such.
Everything else (no verdict, an old one, BLIND, HOLD, INSUFFICIENT, an unknown role) is
``inconclusive``, so that silence never promotes a release and never rolls one back. Nor does a PASS
count whose newest data are older than ``max_data_age_ms``: a line that lags behind still writes
verdicts, on what was long ago. A FAIL stays proven of its version, whenever it was read. Memory is
bounded by ``max_releases`` times `MAX_REASONS` reasons.

A release that was rolled back and has fallen silent is still the one that failed: its status is
FAIL, and the reasons say what was found and when it was rolled back. The decision stays
``inconclusive`` even so, as silence is no answer: if the version is deployed again, only new
evidence may take it out again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, assert_never

from detectors.finding import Finding, Outcome
from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from sinks.control import CaseRecord
from sinks.rollback_note import is_rolled_back, rollback_note

MAX_REASONS: Final = 20
MAX_REASON_CHARS: Final = 300

NO_DATA_AGE_SECONDS: Final = 1e9
"""Age of the data of a release nobody has heard of: so large that no "fresh enough" holds."""

DATA_OF_ANY_AGE_MS: Final = 2**62

ROLE_ORDER: Final = (Role.CANARY, Role.VARIANT, Role.SHADOW, Role.PRODUCTION)
"""Whose verdict answers for a version when no role is asked for: the one being tried out first."""


class Decision(StrEnum):
    """What a deployer acts on."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is held of one release: its verdict in short.

    ``received_ms``: when the verdict was written to Kafka. ``checks`` counts the findings that
    decide, ``passed`` those of them that pass. ``failing`` names the others, the worst first.
    """

    release: Release
    status: Status
    reason: str
    sequence: int
    as_of_ms: int
    window_end_ms: int
    baseline_version: str
    events: int
    p95_latency_ms: float
    p99_latency_ms: float
    checks: int
    passed: int
    failing: tuple[str, ...]
    received_ms: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of (model, version, role) now. Every number is finite.

    ``score`` is the share of deciding checks that pass, and 0 while inconclusive, so that a rule
    "score above x" is never met without data. ``role`` is "" where nothing is known. ``rollback``:
    where its rollback stands, which is one of the reasons as well; "" if there is none.
    """

    decision: Decision
    status: Status
    model: str
    version: str
    role: str
    baseline_version: str
    score: float
    samples: int
    checks: int
    data_age_seconds: float
    verdict_age_seconds: float
    window_end_ms: int
    reasons: tuple[str, ...]
    rollback: str = ""


Rollbacks = Callable[[str, str], CaseRecord | None]
"""The rollback of (model, version), whatever became of it; None if there is none."""


class VerdictBoard:
    """Newest verdict per release. Safe to use from several threads.

    ``supersede_after_ms``: a verdict with a lower sequence than the one held replaces it only if
    the held one was not confirmed for this long and is not of later event time. A judge that lost
    its tables counts from 1 again; without this, its verdicts would be taken for old ones until
    the next restart. A replayed verdict is of earlier event time, and so is never taken.
    ``rollbacks`` are looked up for every answer. ``max_data_age_ms``: data older than this let
    nothing pass.
    """

    def __init__(
        self,
        max_releases: int = 10_000,
        supersede_after_ms: int = 300_000,
        rollbacks: Rollbacks = lambda _model, _version: None,
        max_data_age_ms: int = DATA_OF_ANY_AGE_MS,
    ) -> None:
        self._max_data_age_ms = max_data_age_ms
        self._rollbacks = rollbacks
        self._max_releases = max_releases
        self._supersede_after_ms = supersede_after_ms
        # Ordered by last confirmation, oldest first, so that dropping is one step.
        self._standings: OrderedDict[Release, Standing] = OrderedDict()
        self._dropped = 0
        self._lock = threading.Lock()

    def update(self, verdict: Verdict, received_ms: int) -> None:
        """Take in a verdict written at ``received_ms``. Duplicates and reordering do no harm."""
        standing = _standing(verdict, received_ms)
        with self._lock:
            held = self._standings.get(verdict.release)
            if held is not None:
                quiet_ms = received_ms - held.received_ms
                if verdict.sequence < held.sequence and (
                    quiet_ms <= self._supersede_after_ms or verdict.as_of_ms < held.as_of_ms
                ):
                    return
                if verdict.sequence == held.sequence and quiet_ms <= 0:
                    return
            self._standings[verdict.release] = standing
            self._standings.move_to_end(verdict.release)
            if len(self._standings) > self._max_releases:
                self._standings.popitem(last=False)
                self._dropped += 1

    def answer(
        self, model: str, version: str, role: Role | None, now_ms: int, max_age_ms: int
    ) -> Answer:
        """The answer for a version at ``now_ms``; without a role, by `ROLE_ORDER`."""
        roles = ROLE_ORDER if role is None else (role,)
        with self._lock:
            known = [
                held for r in roles if (held := self._standings.get(Release(model, version, r)))
            ]
        if not known:
            return self._told(unknown(model, version, "" if role is None else role.value))
        others = tuple(other.release.role.value for other in known[1:])
        return self._told(_judged(known[0], self._ages(now_ms, max_age_ms), others))

    def answers(
        self, now_ms: int, max_age_ms: int, model: str | None, limit: int
    ) -> tuple[int, tuple[Answer, ...]]:
        """How many releases there are, and the ``limit`` most recently confirmed of them."""
        ages = self._ages(now_ms, max_age_ms)
        with self._lock:
            held = [
                s for s in reversed(self._standings.values()) if model in (None, s.release.model)
            ]
        return len(held), tuple(self._told(_judged(s, ages, ())) for s in held[:limit])

    def standings(self, now_ms: int, max_age_ms: int) -> tuple[tuple[Standing, Answer], ...]:
        """All that is held, the most recently confirmed first, each with what is said of it now."""
        ages = self._ages(now_ms, max_age_ms)
        with self._lock:
            held = list(reversed(self._standings.values()))
        return tuple((s, self._told(_judged(s, ages, ()))) for s in held)

    def _ages(self, now_ms: int, max_age_ms: int) -> _Ages:
        return _Ages(now_ms, max_age_ms, self._max_data_age_ms)

    def counts(self, now_ms: int, max_age_ms: int) -> Mapping[Status, int]:
        """Releases by status, each status present; an old verdict counts as BLIND, unless the
        release was rolled back."""
        ages = self._ages(now_ms, max_age_ms)
        with self._lock:
            held = list(self._standings.values())
        found = dict.fromkeys(Status, 0)
        for standing in held:
            status = _status_now(standing, ages)
            if status is Status.BLIND:
                status = self._told(_judged(standing, ages, ())).status
            found[status] += 1
        return found

    @property
    def dropped(self) -> int:
        """Releases dropped because there were more than ``max_releases``."""
        with self._lock:
            return self._dropped

    def _told(self, answer: Answer) -> Answer:
        """``answer`` with its rollback after the first reason, which stays what was found."""
        case = self._rollbacks(answer.model, answer.version)
        if case is None or (answer.role and case.role.value != answer.role):
            return answer
        note = rollback_note(case)
        if not note:
            return answer
        if answer.status is Status.BLIND and is_rolled_back(case):
            found = (case.reason[:MAX_REASON_CHARS],) if case.reason else ()
            reasons = (*found, note, *answer.reasons)
            return replace(answer, status=Status.FAIL, reasons=reasons, rollback=note)
        reasons = (*answer.reasons[:1], note, *answer.reasons[1:])
        return replace(answer, reasons=reasons, rollback=note)


def unknown(model: str, version: str, role: str, reason: str = "") -> Answer:
    """The answer where there is no verdict."""
    return Answer(
        decision=Decision.INCONCLUSIVE,
        status=Status.BLIND,
        model=model,
        version=version,
        role=role,
        baseline_version="",
        score=0.0,
        samples=0,
        checks=0,
        data_age_seconds=NO_DATA_AGE_SECONDS,
        verdict_age_seconds=NO_DATA_AGE_SECONDS,
        window_end_ms=0,
        reasons=(reason or "no verdict for this model, version and role yet",),
    )


def decision_of(status: Status) -> Decision:
    """Only PASS is healthy, only FAIL is broken."""
    match status:
        case Status.PASS:
            return Decision.PASS
        case Status.FAIL:
            return Decision.FAIL
        case Status.INSUFFICIENT | Status.BLIND | Status.HOLD:
            return Decision.INCONCLUSIVE
        case _:
            assert_never(status)


@dataclass(frozen=True, slots=True)
class _Ages:
    """How old a verdict, and the data of a PASS, may be at ``now_ms``."""

    now_ms: int
    max_verdict_ms: int
    max_data_ms: int

    def too_old(self, standing: Standing) -> str:
        """Why ``standing`` does not count any more; "" if it does."""
        verdict_ms, data_ms = self.now_ms - standing.received_ms, self.now_ms - standing.as_of_ms
        if verdict_ms > self.max_verdict_ms:
            return _older("the last verdict is", verdict_ms, self.max_verdict_ms)
        if standing.status is Status.PASS and data_ms > self.max_data_ms:
            why = _older("the data behind this are", data_ms, self.max_data_ms)
            return f"{why} (serve.max_data_age)"
        return ""


def _older(what: str, age_ms: int, most_ms: int) -> str:
    return f"{what} {age_ms / 1000:.0f} s old; more than {most_ms / 1000:.0f} s"


def _status_now(standing: Standing, ages: _Ages) -> Status:
    return Status.BLIND if ages.too_old(standing) else standing.status


def _judged(standing: Standing, ages: _Ages, others: tuple[str, ...]) -> Answer:
    status, now_ms = _status_now(standing, ages), ages.now_ms
    decision = decision_of(status)
    age_s = max(0.0, (now_ms - standing.received_ms) / 1000)
    reasons = [standing.reason] if standing.reason else []
    if status is not standing.status:
        reasons.insert(0, ages.too_old(standing))
    if others:
        reasons.append(f"answered for role {standing.release.role}; also seen: {', '.join(others)}")
    share = standing.passed / standing.checks if standing.checks else 0.0
    return Answer(
        decision=decision,
        status=status,
        model=standing.release.model,
        version=standing.release.version,
        role=standing.release.role.value,
        baseline_version=standing.baseline_version,
        score=0.0 if decision is Decision.INCONCLUSIVE else share,
        samples=standing.events,
        checks=standing.checks,
        data_age_seconds=max(0.0, (now_ms - standing.as_of_ms) / 1000),
        verdict_age_seconds=age_s,
        window_end_ms=standing.window_end_ms,
        reasons=(*reasons, *standing.failing),
    )


def _standing(verdict: Verdict, received_ms: int) -> Standing:
    deciding = [f for f in verdict.findings if f.decides]
    failing = sorted(
        (f for f in deciding if f.outcome is Outcome.FAIL),
        key=lambda f: (not f.critical, f.column, f.segment, f.detector, f.window_ms),
    )
    return Standing(
        release=verdict.release,
        status=verdict.status,
        reason=_cut(verdict.reason),
        sequence=verdict.sequence,
        as_of_ms=verdict.as_of_ms,
        window_end_ms=verdict.window_start_ms + verdict.window_ms,
        baseline_version=verdict.baseline_version,
        events=verdict.events,
        p95_latency_ms=verdict.p95_latency_ms,
        p99_latency_ms=verdict.p99_latency_ms,
        checks=len(deciding),
        passed=sum(f.outcome is Outcome.PASS for f in deciding),
        failing=tuple(_sentence(f) for f in failing[:MAX_REASONS]),
        received_ms=received_ms,
    )


def _sentence(finding: Finding) -> str:
    against = f" against {finding.against}" if finding.against else ""
    text = (
        f"{finding.column} [{finding.segment}] {finding.detector} {finding.statistic:.4g}"
        f" (limit {finding.threshold:.4g}, n={finding.n}){against}"
    )
    return _cut(text)


def _cut(reason: str) -> str:
    """At most `MAX_REASON_CHARS`; what was cut says so."""
    whole = len(reason) <= MAX_REASON_CHARS
    return reason if whole else f"{reason[: MAX_REASON_CHARS - 1]}…"

"""What the board answers, and that silence is never healthy."""

from __future__ import annotations

import dataclasses
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.finding import Finding, Outcome
from detectors.release import Release, Role
from detectors.rollback_case import RollbackState
from detectors.verdict import Status, Verdict
from sinks.control import CaseRecord
from sinks.receivers import NO_RECEIVER
from sinks.verdict_board import Answer, Decision, VerdictBoard, decision_of

NOW = 1_700_000_000_000
MAX_AGE = 300_000


def verdict(
    status: Status = Status.PASS,
    sequence: int = 1,
    role: Role = Role.CANARY,
    version: str = "2",
    as_of_ms: int = NOW - 5_000,
    findings: tuple[Finding, ...] = (),
) -> Verdict:
    return Verdict(
        release=Release("m", version, role),
        status=status,
        reason=f"it is {status}",
        sequence=sequence,
        as_of_ms=as_of_ms,
        window_start_ms=NOW - 60_000,
        window_ms=60_000,
        baseline_version="1",
        events=500,
        p95_latency_ms=math.nan,
        p99_latency_ms=math.nan,
        findings=findings,
        offset=7,
    )


def finding(outcome: Outcome, *, decides: bool = True, critical: bool = False) -> Finding:
    return Finding(
        release=Release("m", "2", Role.CANARY),
        segment="all",
        column="features.x",
        window_ms=60_000,
        window_start_ms=NOW - 60_000,
        revision=0,
        detector="psi",
        against="production:1",
        statistic=0.5,
        threshold=0.25,
        n=500,
        n_against=5_000,
        outcome=outcome,
        reason="",
        decides=decides,
        critical=critical,
    )


def decision(board: VerdictBoard, now_ms: int = NOW, role: Role | None = Role.CANARY) -> Decision:
    return board.answer("m", "2", role, now_ms, MAX_AGE).decision


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (Status.PASS, Decision.PASS),
        (Status.FAIL, Decision.FAIL),
        (Status.INSUFFICIENT, Decision.INCONCLUSIVE),
        (Status.BLIND, Decision.INCONCLUSIVE),
        (Status.HOLD, Decision.INCONCLUSIVE),
    ],
)
def test_only_pass_passes_and_only_fail_fails(status: Status, said: Decision) -> None:
    board = VerdictBoard()
    board.update(verdict(status), NOW)
    assert decision(board) is said


def test_no_verdict_is_inconclusive_and_its_data_is_very_old() -> None:
    answer = VerdictBoard().answer("m", "2", None, NOW, MAX_AGE)
    assert (answer.decision, answer.status) == (Decision.INCONCLUSIVE, Status.BLIND)
    assert answer.data_age_seconds > 1e6
    assert answer.score == 0


@pytest.mark.parametrize("status", [Status.PASS, Status.FAIL])
def test_an_old_verdict_is_blind_whatever_it_said(status: Status) -> None:
    board = VerdictBoard()
    board.update(verdict(status), NOW)
    assert decision(board, NOW + MAX_AGE) is not Decision.INCONCLUSIVE
    late = board.answer("m", "2", Role.CANARY, NOW + MAX_AGE + 1, MAX_AGE)
    assert (late.decision, late.status) == (Decision.INCONCLUSIVE, Status.BLIND)
    assert "300 s old" in late.reasons[0]
    assert board.counts(NOW + MAX_AGE + 1, MAX_AGE)[Status.BLIND] == 1


@pytest.mark.parametrize(
    ("status", "then"), [(Status.PASS, Status.BLIND), (Status.FAIL, Status.FAIL)]
)
def test_a_new_verdict_on_old_data_passes_nothing_and_what_it_has_proven_stays(
    status: Status, then: Status
) -> None:
    """A line that lags behind goes on writing verdicts."""
    board = VerdictBoard(max_data_age_ms=60_000)
    board.update(verdict(status, as_of_ms=NOW - 60_000), NOW)
    assert board.answer("m", "2", Role.CANARY, NOW, MAX_AGE).status is status
    later = board.answer("m", "2", Role.CANARY, NOW + 1, MAX_AGE)
    assert (later.status, later.decision) == (then, decision_of(then))
    assert board.counts(NOW + 1, MAX_AGE)[then] == 1
    if then is Status.BLIND:
        said = "the data behind this are 60 s old; more than 60 s (serve.max_data_age)"
        assert later.reasons[0] == said


def test_the_highest_sequence_wins_in_any_order() -> None:
    board = VerdictBoard()
    for sequence, status in (
        (3, Status.FAIL),
        (2, Status.PASS),
        (3, Status.FAIL),
        (1, Status.PASS),
    ):
        board.update(verdict(status, sequence), NOW)
    assert decision(board) is Decision.FAIL


def test_a_repeated_verdict_stays_fresh() -> None:
    board = VerdictBoard()
    board.update(verdict(), NOW)
    board.update(verdict(), NOW + MAX_AGE)
    assert decision(board, NOW + 2 * MAX_AGE) is Decision.PASS


def test_a_judge_that_counts_from_one_again_is_believed_once_the_old_verdict_is_old() -> None:
    board = VerdictBoard(supersede_after_ms=MAX_AGE)
    board.update(verdict(Status.PASS, sequence=90), NOW)
    anew = verdict(Status.FAIL, sequence=1, as_of_ms=NOW)
    board.update(anew, NOW + MAX_AGE)
    assert decision(board, NOW + MAX_AGE) is Decision.PASS
    board.update(anew, NOW + MAX_AGE + 1)
    assert decision(board, NOW + MAX_AGE + 1) is Decision.FAIL


def test_a_replayed_old_verdict_is_never_believed() -> None:
    board = VerdictBoard(supersede_after_ms=MAX_AGE)
    board.update(verdict(Status.PASS, sequence=90, as_of_ms=NOW), NOW)
    board.update(verdict(Status.FAIL, sequence=1, as_of_ms=NOW - 1), NOW + 10 * MAX_AGE)
    assert decision(board, NOW + 10 * MAX_AGE) is Decision.INCONCLUSIVE


def test_without_a_role_the_canary_answers_and_the_others_are_named() -> None:
    board = VerdictBoard()
    board.update(verdict(Status.FAIL, role=Role.SHADOW), NOW)
    assert decision(board, role=None) is Decision.FAIL
    board.update(verdict(Status.INSUFFICIENT, role=Role.CANARY), NOW)
    answer = board.answer("m", "2", None, NOW, MAX_AGE)
    assert (answer.role, answer.decision) == ("canary", Decision.INCONCLUSIVE)
    assert "also seen: shadow" in answer.reasons[-1]


def test_the_score_is_the_share_of_deciding_checks_and_zero_while_inconclusive() -> None:
    checks = (
        finding(Outcome.PASS),
        finding(Outcome.PASS),
        finding(Outcome.FAIL, critical=True),
        finding(Outcome.INSUFFICIENT),
        finding(Outcome.FAIL, decides=False),
    )
    board = VerdictBoard()
    board.update(verdict(Status.FAIL, findings=checks), NOW)
    answer = board.answer("m", "2", Role.CANARY, NOW, MAX_AGE)
    assert (answer.score, answer.checks, answer.samples) == (0.5, 4, 500)
    assert answer.reasons[1].startswith("features.x [all] psi 0.5 (limit 0.25, n=500)")
    assert len(answer.reasons) == 2
    board.update(verdict(Status.HOLD, sequence=2, findings=checks), NOW)
    assert board.answer("m", "2", Role.CANARY, NOW, MAX_AGE).score == 0


def test_the_number_of_releases_and_reasons_is_bounded() -> None:
    board = VerdictBoard(max_releases=10)
    many = tuple(finding(Outcome.FAIL) for _ in range(500))
    for number in range(1_000):
        board.update(verdict(version="2", sequence=number, findings=many), NOW + number)
        board.update(verdict(version=f"flood-{number}"), NOW + number)
    total, answers = board.answers(NOW + 1_000, MAX_AGE, None, 5)
    assert (total, len(answers), board.dropped) == (10, 5, 991)
    # The release that is still being judged outlives a flood of others.
    assert decision(board, NOW + 1_000) is Decision.PASS
    assert len(board.answer("m", "2", Role.CANARY, NOW, MAX_AGE).reasons) <= 25


@given(st.permutations([(s, status) for s, status in enumerate(Status)]), st.integers(0, 3))
def test_order_and_duplicates_do_not_change_the_answer(
    arrivals: list[tuple[int, Status]], twice: int
) -> None:
    board = VerdictBoard()
    for sequence, status in [*arrivals, arrivals[twice]]:
        board.update(verdict(status, sequence), NOW)
    newest = max(arrivals)[1]
    assert board.answer("m", "2", Role.CANARY, NOW, MAX_AGE).status is newest


def test_every_number_of_an_answer_is_finite() -> None:
    board = VerdictBoard()
    board.update(verdict(as_of_ms=-(2**62)), 0)
    for answer in (
        board.answer("m", "2", None, NOW, MAX_AGE),
        board.answer("x", "2", None, NOW, MAX_AGE),
    ):
        for value in dataclasses.astuple(answer):
            assert not isinstance(value, float) or math.isfinite(value)


def rollback(state: RollbackState, role: Role = Role.CANARY) -> CaseRecord:
    requested = state not in (RollbackState.PROPOSED, RollbackState.REJECTED)
    return CaseRecord(
        "k", "m", "2", role, "1", state, 4, "automation", "precision fell", requested, NOW, NOW
    )


def answered(status: Status, case: CaseRecord, version: str = "2") -> tuple[VerdictBoard, Answer]:
    def look(model: str, of: str) -> CaseRecord | None:
        return case if (model, of) == ("m", "2") else None

    board = VerdictBoard(rollbacks=look)
    board.update(verdict(status, version=version), NOW)
    return board, board.answer("m", version, None, NOW, MAX_AGE)


@pytest.mark.parametrize("state", [RollbackState.ACKNOWLEDGED, RollbackState.VERIFIED])
def test_a_release_that_fell_silent_after_its_rollback_is_the_one_that_failed(
    state: RollbackState,
) -> None:
    board, answer = answered(Status.BLIND, rollback(state))
    assert (answer.status, answer.decision) == (Status.FAIL, Decision.INCONCLUSIVE)
    assert answer.reasons[0] == "precision fell"
    assert answer.reasons[1] == answer.rollback
    assert answer.rollback.startswith("rolled back to 1")
    assert answer.reasons[2] == "it is blind"
    counts = board.counts(NOW, MAX_AGE)
    assert (counts[Status.BLIND], counts[Status.FAIL]) == (0, 1)
    assert [a.status for _, a in board.standings(NOW, MAX_AGE)] == [Status.FAIL]


def test_a_rollback_without_a_deployer_says_where_to_set_one() -> None:
    case = rollback(RollbackState.EXPIRED)
    _, answer = answered(Status.FAIL, case)
    assert "nobody carried it out" in answer.rollback
    _, answer = answered(Status.FAIL, msgspec.structs.replace(case, by=NO_RECEIVER))
    assert "no deployer is configured for this model; set one under `deployers`" in answer.rollback


@pytest.mark.parametrize("state", RollbackState)
@pytest.mark.parametrize("status", Status)
def test_what_was_found_comes_first_and_a_rollback_changes_no_decision(
    status: Status, state: RollbackState
) -> None:
    _, answer = answered(status, rollback(state))
    _, plain = answered(status, rollback(state), version="3")
    assert answer.decision is plain.decision
    assert not answer.reasons[0].startswith(("rolled back", "a rollback"))


def test_the_silence_of_what_was_not_rolled_back_stays_blind() -> None:
    unfinished = (s for s in RollbackState if s not in ("acknowledged", "verified"))
    for state in unfinished:
        assert answered(Status.BLIND, rollback(state))[1].status is Status.BLIND
    _, other = answered(Status.BLIND, rollback(RollbackState.VERIFIED, Role.VARIANT))
    assert (other.status, other.rollback) == (Status.BLIND, "")

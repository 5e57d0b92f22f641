"""A gate that is missed is told by the exit code, and each step of the hot path has its own."""

from __future__ import annotations

import pytest

from bench.__main__ import exit_code
from bench.hotpath_steps import ALL_THREE, DECODE, MOMENTS, gates
from bench.measure import Spread, report

KEPT = {DECODE: 2.0, MOMENTS: 14.0, ALL_THREE: 17.0}
"""Microseconds a row, and nanoseconds a value."""


def spreads(**changed: float) -> dict[str, Spread]:
    return {name: Spread.of([changed.get(name, value)]) for name, value in KEPT.items()}


def test_steps_within_their_gates_pass() -> None:
    assert [gate["passed"] for gate in gates(spreads()).values()] == [True, True, True]


@pytest.mark.parametrize(
    ("step", "slow", "missed"),
    [(DECODE, 2.3, 0), (MOMENTS, 15.5, 1), (ALL_THREE, 18.5, 2)],
)
def test_a_step_that_is_too_slow_misses_its_own_gate(step: str, slow: float, missed: int) -> None:
    passed = [gate["passed"] for gate in gates(spreads(**{step: slow})).values()]
    assert passed == [number != missed for number in range(3)]


@pytest.mark.parametrize(
    ("fields", "code"), [({"passed": True}, 0), ({"passed": False}, 1), ({"rounds": 2}, 0)]
)
def test_a_missed_gate_is_an_exit_code(fields: dict[str, object], code: int) -> None:
    assert exit_code(report("some", "quick", fields)) == code

"""The split of the traffic: broken ones are found, sound and tolerated ones are left alone."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.release import Role
from detectors.sample_ratio import SampleRatio, SplitSettings, log_evidence

SETTINGS = SplitSettings(shares={Role.CANARY: 0.02})


def run(settings: SplitSettings, share: float, panes: int, seed: int) -> SampleRatio:
    generator = np.random.default_rng(seed)
    state = SampleRatio()
    for canary in generator.binomial(1000, share, panes).tolist():
        state = state.step(settings, {Role.CANARY: canary, Role.PRODUCTION: 1000 - canary})
        if state.broken is not None:
            break
    return state


def test_no_sound_split_is_held_in_two_hundred_runs() -> None:
    assert [s for s in range(200) if run(SETTINGS, 0.02, 300, s).broken is not None] == []


def test_a_split_within_the_tolerance_is_let_pass() -> None:
    assert run(SETTINGS, 0.0203, 3000, 1).broken is None


def test_a_canary_with_half_its_traffic_is_found_and_stays_found() -> None:
    state = run(SETTINGS, 0.01, 300, 2)
    assert state.broken is not None
    assert state.broken.role is Role.CANARY
    assert sum(n for _, n in state.counts) < 20_000
    state = state.step(SETTINGS, {Role.CANARY: 20, Role.PRODUCTION: 980})
    assert state.broken is not None
    assert "no comparison is valid" in state.broken.reason


def test_a_new_split_starts_anew() -> None:
    state = run(SETTINGS, 0.01, 300, 2)
    changed = SplitSettings(shares={Role.CANARY: 0.01})
    assert state.step(changed, {Role.CANARY: 10, Role.PRODUCTION: 990}).broken is None


def test_without_a_configured_split_nothing_is_tested() -> None:
    state = SampleRatio().step(SplitSettings(), {Role.CANARY: 10**9})
    assert state == SampleRatio()


def test_clumps_of_events_need_as_many_times_the_evidence() -> None:
    clumped = SplitSettings(shares={Role.CANARY: 0.02}, clump=10.0)
    counts = {Role.CANARY: 120, Role.PRODUCTION: 9880}
    assert SampleRatio().step(SETTINGS, counts).broken is not None
    assert SampleRatio().step(clumped, counts).broken is None


@pytest.mark.parametrize("n", [0, 1, 2**53])
def test_evidence_is_finite_and_never_for_a_broken_split_where_it_is_exact(n: int) -> None:
    assert log_evidence(n, 2 * n, 0.5) <= 0.0


def test_settings_that_cannot_be_are_refused() -> None:
    for bad in ({Role.CANARY: 0.0}, {Role.CANARY: 1.0}, {Role.CANARY: 0.6, Role.VARIANT: 0.6}):
        with pytest.raises(ValueError, match=r"split\.shares"):
            SplitSettings(shares=bad)
    with pytest.raises(ValueError, match=r"split\.alpha"):
        SplitSettings(alpha=float("nan"))

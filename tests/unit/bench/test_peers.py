"""Peers and driftline say the same of the same data, and the ratios are what they are called."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial import distance

from bench import peers_data, peers_worker
from bench.peers import CODES, CONTESTS, Measured, times_of
from bench.peers_answers import CHECKS, Both, Check, check_scipy, counted, shared_bins
from bench.peers_data import COLUMNS, MOVED, NUMBERS, TEXTS
from detectors import statistics

REFERENCE = peers_data.make(3_000, moved=False)
CURRENT = peers_data.make(20_000, moved=True)


def answers_of(name: str, folder: Path = Path()) -> dict[str, Any]:
    return peers_worker.PEERS[name](REFERENCE, CURRENT, folder)()


@pytest.fixture(scope="module")
def both() -> Both:
    return Both(REFERENCE, CURRENT, answers_of("driftline, strings, without numba"))


def passed(checks: list[Check]) -> bool:
    return all(check.passed for check in checks)


def test_the_same_arguments_give_the_same_data() -> None:
    assert peers_data.make(500, moved=True).equals(peers_data.make(500, moved=True))
    assert not peers_data.make(500, moved=True).equals(peers_data.make(500, moved=False))


def test_scipy_and_driftline_give_the_same_statistics(both: Both) -> None:
    checks = check_scipy(both, answers_of("scipy KS + chi-square"))
    assert passed(checks)
    assert [check.columns for check in checks] == [len(TEXTS), len(NUMBERS), len(NUMBERS)]


def test_driftline_says_the_same_of_codes_and_of_strings(both: Both) -> None:
    plain = peers_worker._driftline(REFERENCE, CURRENT, None)()
    assert json.dumps(plain) == json.dumps(both.ours)


def test_the_columns_that_moved_have_the_larger_statistics(both: Both) -> None:
    moved = min(both.ours[name]["psi"] for name in MOVED)
    others = max(both.ours[name]["psi"] for name in COLUMNS if name not in MOVED)
    assert moved > 2 * others


@pytest.mark.parametrize("statistic", ["chi_square", "kolmogorov_smirnov"])
def test_another_answer_is_no_agreement(both: Both, statistic: str) -> None:
    theirs = copy.deepcopy(answers_of("scipy KS + chi-square"))
    name = TEXTS[2] if statistic == "chi_square" else NUMBERS[5]
    theirs[name][statistic] *= 0.999 if statistic == "chi_square" else 0.5
    assert not passed(check_scipy(both, theirs))


def test_an_answer_that_is_nan_is_no_agreement(both: Both) -> None:
    theirs = copy.deepcopy(answers_of("scipy KS + chi-square"))
    theirs[TEXTS[0]]["chi_square"] = float("nan")
    assert not passed(check_scipy(both, theirs))


def test_counts_are_those_of_numpy_and_what_lies_outside_is_one_cell() -> None:
    values = np.array([-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 7.0])
    edges = np.array([0.0, 1.0, 2.0])
    assert counted(values, edges).tolist() == [*np.histogram(values, edges)[0].tolist(), 2]


@pytest.mark.parametrize("rule", ["sturges", "doane", 10], ids=str)
def test_the_formulas_agree_with_scipy_on_any_bins(both: Both, rule: Any) -> None:
    def edges_of(reference: Any, current: Any) -> Any:
        return np.histogram_bin_edges(np.concatenate((reference, current)), rule)

    for name in NUMBERS[:6]:
        expected, observed = shared_bins(both, name, edges_of)
        theirs = float(distance.jensenshannon(expected, observed, base=2))
        assert statistics.jensen_shannon(expected, observed) == pytest.approx(theirs, rel=1e-9)


def test_each_contest_has_its_check_and_its_step() -> None:
    assert {contest.peer for contest in CONTESTS} == set(CHECKS)
    assert {contest.peer for contest in CONTESTS} < set(peers_worker.PEERS)
    assert all(contest.ours in peers_worker.PEERS for contest in CONTESTS)


def measured(peer: str, theirs: float, ours: float) -> dict[str, Measured]:
    found = {contest.ours: Measured() for contest in CONTESTS}
    found |= {contest.peer: Measured() for contest in CONTESTS}
    found[CODES] = Measured([ours, 2 * ours, 100 * ours])
    found[peer] = Measured([theirs])
    return found


@pytest.mark.parametrize(
    ("peer", "expected"), [("chDB SQL", 3.0), ("frouros PSI", 3.0), ("river ADWIN", 3.0 * 25 / 20)]
)
def test_times_are_a_ratio_of_medians_per_row_or_value(peer: str, expected: float) -> None:
    contest = next(contest for contest in CONTESTS if contest.peer == peer)
    assert times_of(contest, measured(peer, 6.0, 1.0)) == pytest.approx(expected)


def test_without_a_run_there_is_no_ratio() -> None:
    contest = next(contest for contest in CONTESTS if contest.peer == "chDB SQL")
    assert times_of(contest, measured("frouros PSI", 6.0, 1.0)) is None

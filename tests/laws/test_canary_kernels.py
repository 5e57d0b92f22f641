"""Compiled kernels settle canaries as the plain form does, to the last bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import cycle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.arm_variance import ArmVariance, Excess
from detectors.canary import CanaryState, step_all, verdict_all
from detectors.canary_answers import Answer
from detectors.canary_bytes import from_bytes, to_bytes
from detectors.canary_kernels import CanaryKernels
from detectors.canary_metric import ArmsPane
from detectors.canary_rules import CanarySettings, Measure, Rule
from detectors.canary_verdict import CanaryVerdict
from detectors.fixed_point import Grid
from detectors.kernels import Codes, Rows, summarize
from detectors.layout import HEADERS, ColumnSpec, Header, Kind, Layout
from detectors.summary import Summaries
from detectors.upstream import Direction
from streams.evidence_kernels import load

LAYOUT = Layout.of(
    "r",
    [
        *(ColumnSpec(f"x{i}", Kind.NUMERIC, tuple(np.linspace(-2, 2, 19))) for i in range(3)),
        ColumnSpec("scores.a", Kind.NUMERIC, (-1.0, 0.0, 1.0), Grid(0.0, 1.0)),
        ColumnSpec("t", Kind.CATEGORICAL, categories=("x", "y")),
        ColumnSpec("latency_ms", Kind.NUMERIC),
    ],
)
SETTINGS = CanarySettings(min_events=50, fix_events=20)
TAUGHT = ArmVariance(
    {("x0", Measure.LEVEL): Excess(1.5, 40.0, 50), ("t", Measure.MISSING): Excess(3.0, 1e4, 50)}
)
RULES = (
    Rule(Measure.LEVEL, "x0", Direction.UP, margin=0.0),
    Rule(Measure.LEVEL, "*", margin=0.3, critical=True),
    Rule(Measure.MISSING, "*", Direction.UP, margin=0.5, critical=True),
    Rule(Measure.TAIL, "*", Direction.UP, margin=0.2),
)
"""Without one for categories, and for failures."""
NAMES = ["x", "y", "z", "w"]


@pytest.fixture(scope="module")
def kernels() -> CanaryKernels:
    made = load()
    assert made is not None, "numba is part of the extra 'dev': pip install -e '.[dev]'"
    return made.canary


def arm(
    generator: np.random.Generator,
    rows: int,
    moved: float,
    missing: float,
    constant: float | None = None,
) -> Summaries:
    """Events of which each column moves by so many standard deviations, and so many lack one;
    ``constant``: of all values of one column."""
    headers = np.zeros((1, len(HEADERS)), np.int64)
    headers[0, HEADERS.index(Header.PREDICTIONS)] = rows
    headers[0, HEADERS.index(Header.FAILED)] = generator.binomial(rows, min(0.02 + missing, 1.0))
    values = {f"x{i}": generator.normal(moved, 1.0, rows) for i in range(3)}
    values["x1"] = np.where(generator.random(rows) < missing, np.nan, values["x1"])
    values["scores.a"] = generator.normal(-moved, 1.0, rows)
    if constant is not None:
        values["x2"] = np.full(rows, constant)
    values["latency_ms"] = generator.lognormal(3.0 + moved, 0.5, rows)
    codes = generator.integers(-1, 2 if moved else 4, rows).astype(np.int32)
    return summarize(
        Rows(np.array([0, rows]), headers, values, {"t": Codes(codes, NAMES)}, {}), LAYOUT
    )[0]


def assert_alike(
    kernels: CanaryKernels,
    releases: int,
    panes: Sequence[Sequence[ArmsPane]],
    config: CanarySettings,
) -> list[CanaryState]:
    """Without kernels, with them, and with them in every second pane and after restarts."""
    courses = ([None], [kernels], [None, kernels])
    found = []
    for course in courses:
        states = [CanaryState()] * releases
        for used, arms in zip(cycle(course), panes, strict=False):
            states = step_all(states, config, arms, kernels=used)
            assert_same_answers(kernels, states, config)
            if len(course) > 1:
                states = [from_bytes(to_bytes(state)) for state in states]
        found.append(states)
    plain, compiled, mixed = ([to_bytes(state) for state in states] for states in found)
    assert compiled == plain
    assert mixed == plain
    return found[1]


def assert_same_answers(
    kernels: CanaryKernels, states: Sequence[CanaryState], config: CanarySettings
) -> None:
    """What they say now, also if rules and limits are others than those they were stepped with."""
    others = replace(config, host_effect=0.3, min_events=5, alpha=0.2, rules=RULES)
    for asked in (config, others):
        plain, compiled = (
            verdict_all(states, asked, [()] * len(states), used) for used in (None, kernels)
        )
        assert list(map(told, compiled)) == list(map(told, plain))


def told(found: CanaryVerdict) -> str:
    """All of it, to the last bit; NaN equals NaN."""
    answers = {name.name: getattr(found.answers, name.name) for name in fields(found.answers)}
    assert answers.pop("book") is found.answers.book
    return repr((found.status, found.reason, found.further_events, found.further_ms, answers))


@pytest.mark.parametrize("taught", [None, TAUGHT])
@pytest.mark.parametrize("releases", [1, 3])
@pytest.mark.parametrize("share", [20, 2])
def test_canaries_come_to_the_same_bits_with_kernels_and_without(
    kernels: CanaryKernels, share: int, releases: int, taught: ArmVariance | None
) -> None:
    """Of a twentieth of the traffic, and of half of it; one of them gets worse, and a release has
    panes without an arm."""
    generator = np.random.default_rng(share + releases)
    normal = arm(generator, 5_000, 0.0, 0.01)
    panes = []
    for t in range(16):
        production = arm(generator, 600, 0.0, 0.01)
        rows = [0 if t == 5 and number else 600 // share for number in range(releases)]
        moved = [0.8 * (t > 8 and number == 0) for number in range(releases)]
        arms = [arm(generator, *one, 0.02) for one in zip(rows, moved, strict=True)]
        panes.append([ArmsPane(t * 1000, 1000, mine, production, normal, taught) for mine in arms])
    states = assert_alike(kernels, releases, panes, SETTINGS)
    assert states[0].failed
    assert not any(state.failed for state in states[1:])


def test_kernels_bound_what_one_pane_may_add_as_the_plain_form_does(
    kernels: CanaryKernels,
) -> None:
    generator = np.random.default_rng(4)
    normal = arm(generator, 5_000, 0.0, 0.01)
    panes = [
        [
            ArmsPane(
                t * 1000,
                1000,
                arm(generator, 300, 3.0 * (t == 3), 0.3),
                arm(generator, 6_000, 0.0, 0.01),
                normal,
            )
        ]
        for t in range(6)
    ]
    bounded = assert_alike(kernels, 1, panes, replace(SETTINGS, burst=0.3))
    free = assert_alike(kernels, 1, panes, SETTINGS)
    assert to_bytes(bounded[0]) != to_bytes(free[0])


sizes = st.tuples(st.integers(0, 40), st.sampled_from([0.0, 0.5, 1e6, -720.0]), st.floats(0.0, 1.0))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(sizes, sizes, st.integers(1, 5)), max_size=4), st.integers(0, 9))
def test_whatever_panes_hold_kernels_come_to_the_same_bits(
    kernels: CanaryKernels,
    drawn: list[tuple[tuple[int, float, float], tuple[int, float, float], int]],
    seed: int,
) -> None:
    generator = np.random.default_rng(seed)
    panes = []
    for t, (ours, theirs, times) in enumerate(drawn * 2):
        production = arm(generator, *theirs)
        for _ in range(times):
            production = production.merge(production)
        panes.append([ArmsPane(t * 1000, 1000, arm(generator, *ours), production)])
    assert_alike(kernels, 1, panes, SETTINGS)


def test_kernels_read_panes_before_any_tail_has_its_cells(kernels: CanaryKernels) -> None:
    """Of a release with hardly any traffic, and without a reference to say what they are."""
    generator = np.random.default_rng(3)
    panes = [
        [ArmsPane(t * 1000, 1000, arm(generator, 2, 0.0, 0.0), arm(generator, 2, 0.0, 0.0))]
        for t in range(12)
    ]
    (state,) = assert_alike(kernels, 1, panes, SETTINGS)
    assert any(part.measure is Measure.TAIL for part in state.row.rows.cast.parts)


@pytest.mark.parametrize(("theirs", "answer"), [(1.0, Answer.CONSTANT), (1.5, Answer.NO_VARIATION)])
def test_kernels_say_of_constants_what_the_plain_form_does(
    kernels: CanaryKernels, theirs: float, answer: Answer
) -> None:
    generator = np.random.default_rng(5)
    panes = [
        [
            ArmsPane(
                t * 1000,
                1000,
                arm(generator, 100, 0.0, 0.01, 1.0),
                arm(generator, 300, 0.0, 0.01, 1.0),
            )
        ]
        for t in range(6)
    ]
    states = assert_alike(kernels, 1, panes, SETTINGS)
    (found,) = verdict_all(states, SETTINGS, [()], kernels)
    levels = [
        said
        for what, said in zip(found.answers.book.what, found.answers.answer, strict=True)
        if what is not None and (what.column, what.measure) == ("x2", Measure.LEVEL)
    ]
    assert levels == [Answer.CONSTANT]


@pytest.mark.parametrize("rows", [30, 300])
def test_kernels_settle_the_bets_of_canaries_with_much_traffic_and_with_little(
    kernels: CanaryKernels, rows: int
) -> None:
    """Else equal bits would say nothing of them."""
    calls = []

    def earn(*given: object) -> None:
        calls.append(given)
        kernels.earn(*given)

    generator = np.random.default_rng(1)
    normal, production = arm(generator, 5_000, 0.0, 0.01), arm(generator, 600, 0.0, 0.01)
    pane = ArmsPane(0, 1000, arm(generator, rows, 0.0, 0.01), production, normal)
    step_all([CanaryState()], SETTINGS, [pane], kernels=replace(kernels, earn=earn))
    assert len(calls) == 1

"""What a canary is held to: measures, margins, and how one alpha is shared."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import ClassVar

from detectors.sample_ratio import SplitSettings
from detectors.upstream import Direction

LATEST = 0.1
"""The part of alpha that is kept for columns that turn up later."""


class Measure(StrEnum):
    """What of a column is compared."""

    LEVEL = "level"
    """Where a numeric column lies: its mean, and its tails if they grow one way."""
    TAIL = "tail"
    """How long the slowest take: odds of exceeding the median to the 99.8th percentile."""
    ERRORS = "errors"
    """The share of failed predictions."""
    MISSING = "missing"
    """The share of events without a value."""
    CATEGORIES = "categories"
    """How frequent each category is."""


_RISING = (Measure.TAIL, Measure.ERRORS, Measure.MISSING)


@dataclass(frozen=True, slots=True)
class Rule:
    """How ``measure`` of the columns that match ``columns`` is judged.

    ``harm``: the direction that fails a canary; ``margin``: how far it may go that way. For a level
    in standard deviations, for a tail as a relative rise of quantiles (.1: p99 may rise by 10%),
    else as a relative rise of the odds (.2: odds, and with them small rates, may be 1.2 times
    production's). ``floor``: a rise of a rate by so much is always let pass. ``critical``: a
    failing canary is rolled back for it, and a PASS needs it; otherwise people are told. ``share``:
    its part of alpha, shared evenly by its columns; shares of rules without columns go to others.
    Of categories both harms are meant, and a PASS lets every share differ by half a percent of all
    events at least.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    measure: Measure
    columns: str = "*"
    harm: Direction = Direction.BOTH
    margin: float = 0.1
    floor: float = 0.0
    critical: bool = False
    share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 100:
            raise ValueError(f"the margin of {self.measure} must be at least 0 and below 100")
        if not 0 <= self.floor < 1:
            raise ValueError(f"the floor of {self.measure} must be at least 0 and below 1")
        if self.measure in _RISING and self.harm is not Direction.UP:
            raise ValueError(f"a rule on {self.measure} needs harm: up, since only a rise is harm")
        if self.measure is Measure.CATEGORIES and self.harm is not Direction.BOTH:
            raise ValueError("a rule on categories needs harm: both, since they have no order")
        if not 0 < self.share <= 1:
            raise ValueError(f"the share of {self.measure} must be above 0 and at most 1")


_UP, _DOWN = Direction.UP, Direction.DOWN
DEFAULT_RULES = (
    Rule(Measure.ERRORS, "error", _UP, margin=0.2, floor=0.001, critical=True, share=0.25),
    Rule(Measure.TAIL, "latency_ms", _UP, margin=0.1, critical=True, share=0.25),
    Rule(Measure.LEVEL, "scores.*", _DOWN, margin=0.1, critical=True, share=0.25),
    Rule(Measure.MISSING, "*", _UP, margin=0.2, floor=0.005, critical=True, share=0.1),
    Rule(Measure.LEVEL, "*", margin=0.1, share=0.1),
    Rule(Measure.CATEGORIES, "*", margin=0.2, share=0.05),
)


@dataclass(frozen=True, slots=True)
class CanarySettings:
    """How canaries and variants are compared with production.

    ``enabled``: whether they are judged by evidence; without it plain limits decide, if any.
    ``alpha``: chance that a release no worse than its margins is ever failed, over all measures
    and peeks together; also that of each interval. ``host_effect``: a difference that unlike hosts
    may make, in standard deviations of the normal score: a margin is at least that. ``inflation``:
    by what all evidence is divided, as learnt from an A/A period (at least 1). ``burst``: one pane
    may give at most this part of the evidence that fails. ``min_events``: with fewer canary values
    no PASS; ``fix_events``: values that must be seen before cells are fixed; ``narrowest_after``:
    canary values after which intervals are narrowest. ``lower_is_better``: patterns of columns
    whose rise is the harm where a rule says it is their fall.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    enabled: bool = True
    alpha: float = 0.05
    host_effect: float = 0.1
    inflation: float = 1.0
    burst: float = 0.9
    min_events: int = 1000
    fix_events: int = 100
    narrowest_after: int = 5000
    rules: tuple[Rule, ...] = DEFAULT_RULES
    lower_is_better: tuple[str, ...] = ("scores.toxicity",)
    split: SplitSettings = field(default_factory=SplitSettings)

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError("canary.alpha must be between 0 and 1")
        if not 0 <= self.host_effect <= 2:
            raise ValueError("canary.host_effect must be from 0 to 2 standard deviations")
        if not 1 <= self.inflation < math.inf:
            raise ValueError("canary.inflation must be at least 1")
        if not 0 < self.burst <= 1:
            raise ValueError("canary.burst must be above 0 and at most 1")
        if min(self.min_events, self.fix_events, self.narrowest_after) < 2:
            raise ValueError("canary.min_events, fix_events, narrowest_after must be at least 2")


@dataclass(frozen=True, slots=True)
class Judged:
    """A measure of a column and the rule it falls under; ``rule`` is its place among the rules."""

    column: str
    measure: Measure
    rule: int
    harm: Direction
    margin: float
    floor: float
    critical: bool


def judged(settings: CanarySettings, column: str, measure: Measure) -> Judged | None:
    """What a column's measure is held to: the first rule that matches, or None if none does."""
    return judged_by(settings.rules, settings.lower_is_better, column, measure)


def judged_by(
    rules: tuple[Rule, ...], lower_is_better: tuple[str, ...], column: str, measure: Measure
) -> Judged | None:
    """The same of the two settings that it depends on."""
    for place, rule in enumerate(rules):
        if rule.measure is measure and fnmatchcase(column, rule.columns):
            harm = rule.harm
            if harm is Direction.DOWN and any(fnmatchcase(column, p) for p in lower_is_better):
                harm = Direction.UP
            return Judged(column, measure, place, harm, rule.margin, rule.floor, rule.critical)
    return None


def first_alphas(settings: CanarySettings, found: list[Judged]) -> list[float]:
    """The alphas of the measures that the first pane has: together (1 - LATEST) alpha."""
    of_rule: dict[int, int] = {}
    for one in found:
        of_rule[one.rule] = of_rule.get(one.rule, 0) + 1
    total = sum(settings.rules[rule].share for rule in of_rule)
    kept = settings.alpha * (1.0 - LATEST)
    return [kept * settings.rules[one.rule].share / (total * of_rule[one.rule]) for one in found]


def later_alpha(settings: CanarySettings, before: int) -> float:
    """The alpha of a measure that turns up when ``before`` others already came late. They are fixed
    before the first bet and add up to less than LATEST alpha, however many come."""
    return settings.alpha * LATEST / ((before + 1.0) * (before + 2.0))

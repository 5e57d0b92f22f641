"""Is the traffic split as configured? Tested on every pane, valid at every peek.

A canary that gets other requests than it should (a retry storm, a sticky cache, a lost shard) is
compared with unlike traffic, and any verdict from it would be wrong: HOLD. For each arm, events of
that arm against all others are compared with its expected share s by

    e = integral of likelihood x Beta(kappa s, kappa (1-s)) / largest tolerated likelihood

which is an e-process for every share within ``tolerance`` of s (the mixture over shares of Lindon
and Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022, over the largest
likelihood under the null, as in universal inference). An arm is broken at 1/(alpha/arms); it stays
so until the configured split changes.

Exact for independent assignment of events. **Overdispersion**: where whole users or sessions are
assigned, events come in clumps; ``clump``, the mean number of events that share one assignment,
divides the logarithm, which is approximate. Assignment by unit is better tested on counts of units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from scipy import special

from detectors.release import Role

_ROUNDING = 64 * 2.0**-52


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """``shares``: the part of the traffic each role should get (sum at most 1; none: not tested);
    ``alpha``: chance of a false HOLD in the life of a split; ``tolerance``: relative error of a
    share that is let pass; ``clump``: events that share one assignment, at least 1."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    shares: Mapping[Role, float] = field(default_factory=dict)
    alpha: float = 0.001
    tolerance: float = 0.02
    clump: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError("split.alpha must be between 0 and 1")
        if not 0 <= self.tolerance < 1:
            raise ValueError("split.tolerance must be at least 0 and below 1")
        if not 1 <= self.clump < math.inf:
            raise ValueError("split.clump must be at least 1")
        for role, share in self.shares.items():
            if not 0 < share < 1:
                raise ValueError(f"split.shares.{role} must be between 0 and 1")
        if sum(self.shares.values()) > 1 + 1e-9:
            raise ValueError("split.shares must add up to at most 1")


@dataclass(frozen=True, slots=True)
class BrokenSplit:
    """An arm that does not get what it should: shares as found and as expected."""

    role: Role
    share: float
    expected: float

    @property
    def reason(self) -> str:
        return (
            f"{self.role} gets {self.share:.3%} of the traffic, {self.expected:.3%} expected: "
            "no comparison is valid until the split is repaired"
        )


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """``shares``: those that were tested; ``counts``: events per role since they were configured;
    ``broken``: the first arm found to be off."""

    shares: tuple[tuple[Role, float], ...] = ()
    counts: tuple[tuple[Role, int], ...] = ()
    broken: BrokenSplit | None = None

    def step(self, settings: SplitSettings, counts: Mapping[Role, int]) -> SampleRatio:
        """After a pane with so many events per role; a changed split starts anew."""
        if not settings.shares:
            return SampleRatio() if self.shares else self
        shares = tuple(sorted(settings.shares.items()))
        before = self if self.shares == shares else SampleRatio(shares)
        total = dict(before.counts)
        for role, n in counts.items():
            total[role] = total.get(role, 0) + max(int(n), 0)
        broken = before.broken or _broken(settings, total)
        return SampleRatio(shares, tuple(sorted(total.items())), broken)


def log_evidence(n: int, of: int, share: float, tolerance: float = 0.0) -> float:
    """ln e against the share of an arm being within ``tolerance`` of ``share``, from ``n`` of
    ``of`` events. The mixture is worth about 100 events: it is quick where a split is far off."""
    if of <= 0:
        return 0.0
    first = max(100.0 * share, 1.0)
    second = first * (1.0 - share) / share
    rest = of - n
    mixture = float(special.betaln(first + n, second + rest) - special.betaln(first, second))
    low, high = share * (1.0 - tolerance), min(share * (1.0 + tolerance), 1.0 - 1e-12)
    likely = min(max(n / of, low), high)
    null = n * math.log(likely) + rest * math.log1p(-likely)
    # Rounding counts against the evidence.
    return mixture - null - _ROUNDING * (abs(null) + of)


def _broken(settings: SplitSettings, counts: Mapping[Role, int]) -> BrokenSplit | None:
    of = sum(counts.values())
    arms = len(settings.shares)
    for role, share in sorted(settings.shares.items()):
        n = counts.get(role, 0)
        evidence = log_evidence(n, of, share, settings.tolerance) / settings.clump
        if evidence >= math.log(arms / settings.alpha):
            return BrokenSplit(role, n / of, share)
    return None

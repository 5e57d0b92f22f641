"""Common cause: did production move too? Then the canary is not to blame.

A canary is compared with production in the same panes, so what moves both cancels. But a change
of the data often reaches the canary first, or harder: a new client sends other requests, and the
new version answers them worse. If production itself drifts away from its reference in the same
respect and direction at the same time, going back to production's version repairs nothing: the
owner of the data is to be told instead. The respect is a column's values, how often it is missing,
or failures: values that production lacks more often do not explain that a canary's are worse.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from detectors.cells import Aspect

_FROM_SHARE = 0.5
"""From this share of an alarm on production's evidence counts: half of it is enough to hold a
rollback back, since a wrong one does not help."""


class Direction(StrEnum):
    """Which way a column went; BOTH: either, or no order."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Movement:
    """What of a column moved, and which way; ``share`` is the evidence as a share of what an alarm
    needs."""

    column: str
    aspect: Aspect
    direction: Direction
    share: float


@dataclass(frozen=True, slots=True)
class CommonCause:
    """The columns in which production moved the same way; ``all_of_it``: that is all that was held
    against the canary, so nothing is left to roll back for."""

    columns: tuple[str, ...]
    all_of_it: bool

    @property
    def reason(self) -> str:
        return f"production drifts the same way in {', '.join(self.columns)}: the cause is upstream"


def common_cause(canary: Iterable[Movement], production: Iterable[Movement]) -> CommonCause | None:
    """What the canary's failing columns have in common with production's drift against its
    reference in the same panes; None where nothing."""
    failing = tuple(canary)
    moved = [known for known in production if known.share >= _FROM_SHARE]
    shared = [mine for mine in failing if any(_alike(mine, theirs) for theirs in moved)]
    if not shared:
        return None
    columns = sorted({mine.column for mine in shared})
    return CommonCause(tuple(columns), len(shared) == len(failing))


def _alike(mine: Movement, theirs: Movement) -> bool:
    if (mine.column, mine.aspect) != (theirs.column, theirs.aspect):
        return False
    ways = mine.direction, theirs.direction
    return ways[0] is ways[1] or Direction.BOTH in ways

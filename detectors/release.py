"""What is judged: a release of a model, and the slice of traffic it is judged on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ALL = "all"
"""The segment every event belongs to."""

OTHER = "__other__"
"""Where values beyond a cap are folded: categories, segments, versions, models."""


class Role(StrEnum):
    """The part a release plays in the traffic."""

    PRODUCTION = "production"
    CANARY = "canary"
    SHADOW = "shadow"
    VARIANT = "variant"


ROLE_NAMES = frozenset(role.value for role in Role)


@dataclass(frozen=True, slots=True, order=True)
class Release:
    """One version of one model in one role."""

    model: str
    version: str
    role: Role

    def __str__(self) -> str:
        return f"{self.model}@{self.version} ({self.role})"

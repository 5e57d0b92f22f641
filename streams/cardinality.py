"""Bounds on names. Producers choose models, versions, segments and columns; we choose how many.

The first names win, those on the allow-list always; the rest is folded into ``__other__`` and
counted, never dropped silently.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from detectors.release import OTHER


@dataclass(frozen=True, slots=True)
class Limits:
    """How many names of each sort are followed by one worker. ``always_models`` are followed
    whoever came first, and take no room; so are the models that the configuration or a reference
    names."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    models: int = 1_000
    versions_per_model: int = 50
    segments_per_model: int = 100
    columns_per_model: int = 1_000
    always_models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("models", "versions_per_model", "columns_per_model"):
            if getattr(self, name) < 1:
                raise ValueError(f"limits.{name} must be at least 1")
        if self.segments_per_model < 0:
            raise ValueError("limits.segments_per_model must not be negative")
        if len(self.always_models) > 10_000:
            raise ValueError("limits.always_models must name at most 10000")


class Names:
    """The names followed so far, under a cap. ``turned_away``: how often one was not."""

    def __init__(self, cap: int, always: Iterable[str] = ()) -> None:
        self.turned_away = 0
        self._cap = cap
        self._always = frozenset(always)
        self._known: set[str] = set(self._always)

    def admit(self, name: str) -> bool:
        """Whether ``name`` is followed; it is from now on if there is room."""
        if name in self._known:
            return True
        if len(self._known) - len(self._always) >= self._cap:
            self.turned_away += 1
            return False
        self._known.add(name)
        return True

    def fold(self, name: str) -> str:
        """``name``, or ``__other__`` if there is no room for it."""
        return name if self.admit(name) else OTHER

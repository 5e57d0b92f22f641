"""How long and how often an action is tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """How long and how often to try. The wait doubles from ``first_wait_ms`` to ``max_wait_ms``
    (rollbacks: ``rollback_max_wait_ms``), less up to half of it as jitter."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    first_wait_ms: int = 1_000
    max_wait_ms: int = 300_000
    rollback_max_wait_ms: int = 30_000
    horizon_ms: int = 24 * 3_600_000
    page_unacknowledged_rollback_after_ms: int = 120_000
    max_entries: int = 1_000

    def __post_init__(self) -> None:
        for name in (
            "first_wait_ms",
            "max_wait_ms",
            "rollback_max_wait_ms",
            "horizon_ms",
            "page_unacknowledged_rollback_after_ms",
            "max_entries",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"outbox: {name} must be at least 1")

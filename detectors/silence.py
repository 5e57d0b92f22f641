"""Silences and maintenance windows: when nobody is to be paged, and when nothing is rolled back.

A silence is made by a person for a time; a maintenance window comes back every week. Both mute
pages, and what is muted is told when they end, if it still holds. Neither hides a rollback: that
goes on unless ``hold_rollbacks`` says otherwise. Times are epoch milliseconds, days and hours UTC.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import ClassVar

from detectors.release import Release

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
MAX_SILENCE_MS = 30 * DAY_MS
"""Longer than this is a decision for the configuration, not a silence that somebody forgets."""


class Weekday(StrEnum):
    """A day of the week in UTC."""

    MONDAY = "mon"
    TUESDAY = "tue"
    WEDNESDAY = "wed"
    THURSDAY = "thu"
    FRIDAY = "fri"
    SATURDAY = "sat"
    SUNDAY = "sun"


_WEEK = tuple(Weekday)


@dataclass(frozen=True, slots=True)
class Silence:
    """Mutes pages of the releases that match, in [starts_ms, ends_ms). ``model`` and ``version``
    are patterns (``*``, ``?``). ``by`` and ``reason`` are for whoever asks later."""

    id: str
    model: str
    version: str
    starts_ms: int
    ends_ms: int
    by: str
    reason: str
    hold_rollbacks: bool = False

    def covers(self, release: Release, now_ms: int) -> bool:
        return (
            self.starts_ms <= now_ms < self.ends_ms
            and fnmatchcase(release.model, self.model)
            and fnmatchcase(release.version, self.version)
        )


@dataclass(frozen=True, slots=True)
class MaintenanceWindow:
    """Every week on ``days`` from ``start`` (HH:MM, UTC) for ``lasts_ms``."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str = "maintenance"
    models: tuple[str, ...] = ("*",)
    days: tuple[Weekday, ...] = _WEEK
    start: str = "00:00"
    lasts_ms: int = 60 * MINUTE_MS
    hold_rollbacks: bool = True

    def __post_init__(self) -> None:
        if not self.days or not self.models:
            raise ValueError("days and models must each name at least one")
        if not MINUTE_MS <= self.lasts_ms <= DAY_MS:
            raise ValueError("lasts must be from 1m to 1d")
        _minutes(self.start)

    def covers(self, release: Release, now_ms: int) -> bool:
        if not any(fnmatchcase(release.model, pattern) for pattern in self.models):
            return False
        start_ms = _minutes(self.start) * MINUTE_MS
        # It may have begun yesterday and reach into today.
        for back in (0, 1):
            midnight_ms = (now_ms // DAY_MS - back) * DAY_MS
            day = _WEEK[datetime.fromtimestamp(midnight_ms / 1000, UTC).weekday()]
            begun_ms = midnight_ms + start_ms
            if day in self.days and begun_ms <= now_ms < begun_ms + self.lasts_ms:
                return True
        return False


@dataclass(frozen=True, slots=True)
class Muted:
    """Why a release is muted now: the ids or names of what mutes it."""

    by: tuple[str, ...]
    hold_rollbacks: bool


def muted(
    release: Release,
    now_ms: int,
    silences: Iterable[Silence],
    windows: Iterable[MaintenanceWindow],
) -> Muted | None:
    """What mutes ``release`` now; None if it may page. The same for any order of silences."""
    found = [(each.id, each.hold_rollbacks) for each in silences if each.covers(release, now_ms)]
    found += [(each.name, each.hold_rollbacks) for each in windows if each.covers(release, now_ms)]
    if not found:
        return None
    return Muted(tuple(sorted({name for name, _ in found})), any(hold for _, hold in found))


def _minutes(text: str) -> int:
    """Minutes since midnight of ``HH:MM``. Raises ValueError."""
    hours, colon, minutes = text.partition(":")
    valid = colon and len(minutes) == 2 and hours.isdecimal() and minutes.isdecimal()
    if not valid or int(hours) > 23 or int(minutes) > 59:
        raise ValueError("start must be a time such as 22:30 (UTC)")
    return int(hours) * 60 + int(minutes)

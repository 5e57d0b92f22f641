"""Durations as people write them, ``500ms``, ``10s``, ``5m``, ``400d``: text to ms and back.

A number without a unit is refused: whether it means seconds or milliseconds is a guess, and a
wrong guess is a window a thousand times too long.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

PATTERN: Final = r"^([0-9]{1,15}(ms|s|m|h|d|w))+$"
"""What `parse_duration` accepts, for JSON Schema. Parts may follow each other: ``1h30m``."""

_UNITS_MS: Final = {
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_LONGEST_MS: Final = 100 * 365 * 86_400_000
_WHOLE: Final = re.compile(PATTERN)
_PART: Final = re.compile(r"([0-9]+)(ms|s|m|h|d|w)")


class DurationError(ValueError):
    """The text is not a duration. The message says what to write instead."""


def parse_duration(text: str) -> int:
    """Milliseconds of a duration such as ``10s`` or ``1h30m``.

    Units must stand from large to small, each at most once. Raises `DurationError` for a missing
    unit, a sign, a fraction, and anything above a hundred years.

    >>> parse_duration("1h30m"), parse_duration("500ms")
    (5400000, 500)
    """
    cleaned = text.strip()
    if cleaned.startswith("-"):
        raise DurationError("a duration is not negative")
    if _WHOLE.fullmatch(cleaned) is None:
        raise DurationError("not a duration: write a whole number and a unit (ms, s, m, h, d, w)")
    parts = _PART.findall(cleaned)
    sizes = [_UNITS_MS[unit] for _, unit in parts]
    if any(later >= earlier for earlier, later in pairwise(sizes)):
        raise DurationError("units must go from large to small, each once, as in 1h30m")
    total = sum(int(number) * _UNITS_MS[unit] for number, unit in parts)
    if total > _LONGEST_MS:
        raise DurationError("longer than a hundred years")
    return total


def format_duration(ms: int) -> str:
    """The shortest single-unit text: ``parse_duration(format_duration(ms)) == ms`` for ms >= 0.

    >>> format_duration(5_400_000), format_duration(86_400_000), format_duration(0)
    ('90m', '1d', '0s')
    """
    if ms == 0:
        return "0s"
    # Weeks are read but not written: people think of 14d, not of 2w.
    for unit in ("d", "h", "m", "s"):
        if ms % _UNITS_MS[unit] == 0:
            return f"{ms // _UNITS_MS[unit]}{unit}"
    return f"{ms}ms"


RATE_PATTERN: Final = r"^[0-9]{1,9}(\.[0-9]{1,9})? +per +([0-9]{1,15}(ms|s|m|h|d|w))+$"
"""What `parse_rate` accepts, for JSON Schema."""
_RATE: Final = re.compile(RATE_PATTERN)


def parse_rate(text: str) -> tuple[float, int]:
    """How many in how many milliseconds: ``1 per 30d``. Raises `DurationError`.

    >>> parse_rate("1 per 30d")
    (1.0, 2592000000)
    """
    cleaned = " ".join(text.split())
    if _RATE.fullmatch(cleaned) is None:
        raise DurationError("not a rate: write a number, `per` and a duration, as in 1 per 30d")
    count, _, period = cleaned.partition(" per ")
    return float(count), parse_duration(period)


def format_rate(count: float, period_ms: int) -> str:
    """The inverse of `parse_rate`.

    >>> format_rate(1.0, 2592000000)
    '1 per 30d'
    """
    return f"{count:.9g} per {format_duration(period_ms)}"

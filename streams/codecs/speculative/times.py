"""Event times in compiled code: the usual forms of ISO-8601, and epoch integers.

Gives what ``streams.codecs.timestamps.parse_time`` gives, or declines.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from streams.codecs.speculative.machine import byte_at, cold, kernel, word_at
from streams.codecs.speculative.numbers import digits_in, digits_value, read_number

_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], dtype=np.int64)
_SHORTEST = 20
"""Bytes of ``2023-06-13T10:00:00"`` with its closing quote."""


@kernel
def _two(buffer: Any, at: Any) -> Any:
    """Two digits; far below zero if they are not."""
    a = byte_at(buffer, at) - 48
    b = byte_at(buffer, at + 1) - 48
    if a < 0 or a > 9 or b < 0 or b > 9:
        return -100_000
    return 10 * a + b


@kernel
def _days(year: Any, month: Any, day: Any) -> Any:
    """Days since 1970 of the Gregorian calendar, with years that begin in March (H. Hinnant)."""
    y = year - 1 if month <= 2 else year
    m = (month + 9) % 12
    return 365 * y + y // 4 - y // 100 + y // 400 + (153 * m + 2) // 5 + day - 719469


@cold
def _read_decimals(buffer: Any, at: Any) -> Any:
    """Up to 9 decimals of seconds, if there are any: (ms, cut off, position after them)."""
    byte = byte_at(buffer, at)
    word = word_at(buffer, at + 1)
    digits = digits_in(word)
    if (byte != 46 and byte != 44) or digits == 0:
        return 0, at
    more = byte_at(buffer, at + 9)
    after = at + 1 + digits
    if digits == 8 and 48 <= more <= 57:
        after += 1
    if digits == 1:
        return 100 * np.int64(digits_value(word, 1)), after
    if digits == 2:
        return 10 * np.int64(digits_value(word, 2)), after
    return np.int64(digits_value(word, 3)), after


@cold
def _read_zone(buffer: Any, at: Any) -> Any:
    """(minutes ahead of UTC, position after the zone), or (0, -1) if it cannot be read."""
    byte = byte_at(buffer, at)
    if byte == 90 or byte == 122:
        return 0, at + 1
    if byte != 43 and byte != 45:
        return 0, at
    hour = _two(buffer, at + 1)
    minute = _two(buffer, at + 4)
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or byte_at(buffer, at + 3) != 58:
        return 0, -1
    minutes = hour * 60 + minute
    return (minutes if byte == 43 else -minutes), at + 6


@cold
def read_iso(buffer: Any, at: Any, end: Any) -> Any:
    """``at`` is after the opening quote: (ms, position after the closing one), or (0, -1)."""
    if at + _SHORTEST > end:
        return 0, -1
    year = 100 * _two(buffer, at) + _two(buffer, at + 2)
    month = _two(buffer, at + 5)
    day = _two(buffer, at + 8)
    hour = _two(buffer, at + 11)
    minute = _two(buffer, at + 14)
    second = _two(buffer, at + 17)
    between = byte_at(buffer, at + 10)
    marks = byte_at(buffer, at + 4) == 45 and byte_at(buffer, at + 7) == 45
    marks = marks and (between == 84 or between == 116 or between == 32)
    marks = marks and byte_at(buffer, at + 13) == 58 and byte_at(buffer, at + 16) == 58
    if not marks or year < 1970 or month < 1 or month > 12 or day < 1:
        return 0, -1
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > _DAYS[month] + (1 if leap else 0):
        return 0, -1
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 60:
        return 0, -1
    ms, i = _read_decimals(buffer, at + 19)
    shift, i = _read_zone(buffer, i)
    if i < 0 or i >= end or byte_at(buffer, i) != 34:
        return 0, -1
    minutes = (_days(year, month, day) * 24 + hour) * 60 + minute - shift
    return minutes * 60000 + second * 1000 + ms, i + 1


@cold
def _read_fraction(buffer: Any, at: Any, end: Any) -> Any:
    """``read_epoch`` of a float: rounded half to even."""
    value, after = read_number(buffer, at, end)
    if after < 0 or value < 0.0 or value >= 9.2e18:
        return 0, -1
    if value < 1e11:
        ms = np.rint(value * 1e3)
    elif value < 1e14:
        ms = np.rint(value)
    elif value < 1e17:
        ms = np.rint(value / 1e3)
    else:
        ms = np.rint(value / 1e6)
    return np.int64(ms), after


@cold
def read_epoch(buffer: Any, at: Any, end: Any) -> Any:
    """A number of s, ms, us or ns, told apart by size: (ms, position after it) or (0, -1)."""
    value = 0
    i = at
    while i < end and i < at + 19:
        digit = byte_at(buffer, i) - 48
        if digit < 0 or digit > 9:
            break
        value = 10 * value + digit
        i += 1
    if i == at or i > at + 18 or (i > at + 1 and byte_at(buffer, at) == 48):
        return 0, -1
    following = byte_at(buffer, i)
    if following == 46 or following == 69 or following == 101:
        return _read_fraction(buffer, at, end)
    if value < 100_000_000_000:
        return value * 1000, i
    if value < 100_000_000_000_000:
        return value, i
    if value < 100_000_000_000_000_000:
        return value // 1000, i
    return value // 1_000_000, i

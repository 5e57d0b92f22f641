"""Event times: ISO-8601 text or epoch numbers, to milliseconds since 1970 UTC.

Text: ``2023-06-13T10:00:00.123456Z`` and its usual relatives (a space for the T, a comma for the
point, 1 to 9 decimals, no seconds, a date alone, offsets like ``+02:00``, ``+0200`` or ``+02``).
No zone means UTC. What is finer than a millisecond is cut off. A number in quotes is refused:
nobody can tell it from a broken date.

Numbers: epoch seconds, milliseconds, microseconds or nanoseconds, told apart by size (below 1e11,
1e14, 1e17, above), which is unambiguous for times from March 1973 to the year 5138.

``parse_times`` gives exactly what ``parse_time`` gives one by one: a property test holds them
together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

UNREADABLE = np.iinfo(np.int64).min
"""Not a time; smaller than any time, so it falls out of every range."""

_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
    r" ?([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
_LONGEST = 40
_MAX_EPOCH = 2**63 - 1
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_WORTH_A_VECTOR = 16
_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], dtype=np.int64)


def parse_time(value: object) -> int:
    """One event time in ms, or ``UNREADABLE``."""
    if isinstance(value, str):
        return _parse_text(value)
    if isinstance(value, bool):
        return UNREADABLE
    if isinstance(value, int):
        return _int_to_ms(value)
    if isinstance(value, float):
        return _float_to_ms(value)
    return UNREADABLE


def parse_times(values: Sequence[object]) -> NDArray[np.int64]:
    """Many event times in ms, ``UNREADABLE`` where there is none; one form is parsed at once."""
    if len(values) < _WORTH_A_VECTOR:
        return np.array([parse_time(value) for value in values], dtype=np.int64)
    kinds = set(map(type, values))
    if kinds == {str}:
        return _parse_texts(values)  # type: ignore[arg-type]  # all are text
    if kinds == {int}:
        try:
            return ints_to_ms(np.array(values, dtype=np.int64))
        except OverflowError:
            pass
    elif kinds == {float}:
        return floats_to_ms(np.array(values, dtype=np.float64))
    return np.array([parse_time(value) for value in values], dtype=np.int64)


def ints_to_ms(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Epoch integers in s, ms, us or ns to ms."""
    size = np.abs(np.maximum(values, -_MAX_EPOCH))
    ms = np.select(
        [size < 10**11, size < 10**14, size < 10**17],
        [values * (size < 10**11) * 1000, values, values // 1000],
        values // 1_000_000,
    )
    return np.where(values < -_MAX_EPOCH, UNREADABLE, ms).astype(np.int64)


def floats_to_ms(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Epoch floats in s, ms, us or ns to ms, rounded half to even; NaN and inf are unreadable."""
    size = np.abs(values)
    ok = size < 9.2e18
    value = np.where(ok, values, 0.0)
    size = np.abs(value)
    ms = np.select(
        [size < 1e11, size < 1e14, size < 1e17],
        [np.rint(value * 1e3), np.rint(value), np.rint(value / 1e3)],
        np.rint(value / 1e6),
    )
    return np.where(ok, ms.astype(np.int64), UNREADABLE)


def _int_to_ms(value: int) -> int:
    size = abs(value)
    if size > _MAX_EPOCH:
        return UNREADABLE
    if size < 10**11:
        return value * 1000
    if size < 10**14:
        return value
    return value // 1000 if size < 10**17 else value // 1_000_000


def _float_to_ms(value: float) -> int:
    size = abs(value)
    if not size < 9.2e18:
        return UNREADABLE
    if size < 1e11:
        return round(value * 1e3)
    if size < 1e14:
        return round(value)
    return round(value / 1e3) if size < 1e17 else round(value / 1e6)


def _parse_text(text: str) -> int:
    found = _ISO.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        return UNREADABLE
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH_ORDINAL
    except ValueError:
        return UNREADABLE
    hours, minutes, seconds = int(hour or 0), int(minute or 0), int(second or 0)
    shift = _zone_minutes(zone)
    # Second 60 is a leap second: like POSIX, it is the first second of the next minute.
    if hours > 23 or minutes > 59 or seconds > 60 or shift is None:
        return UNREADABLE
    ms = int((fraction or "0").ljust(3, "0")[:3])
    return ((days * 24 + hours) * 60 + minutes - shift) * 60_000 + seconds * 1000 + ms


def _zone_minutes(zone: str | None) -> int | None:
    if zone is None or zone in "Zz":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    if hours > 23 or minutes > 59:
        return None
    return (hours * 60 + minutes) * (-1 if zone[0] == "-" else 1)


def _parse_texts(texts: Sequence[str]) -> NDArray[np.int64]:
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    first = lengths[0]
    if (lengths == first).all():
        return _parse_alike(texts, int(first))
    out = np.empty(len(texts), dtype=np.int64)
    for length in np.unique(lengths):
        at = np.flatnonzero(lengths == length)
        group = [texts[i] for i in at.tolist()]
        few = len(group) < _WORTH_A_VECTOR
        out[at] = [_parse_text(t) for t in group] if few else _parse_alike(group, int(length))
    return out


def _parse_alike(texts: Sequence[str], length: int) -> NDArray[np.int64]:
    """Texts of one length: those written like the first one are parsed together."""
    found = _ISO.fullmatch(texts[0]) if length <= _LONGEST else None
    joined = "".join(texts)
    shift = _zone_minutes(found[8]) if found is not None else None
    if found is None or found[6] is None or shift is None or not joined.isascii():
        return np.array([_parse_text(text) for text in texts], dtype=np.int64)
    # One row a character position: comparing and adding runs along contiguous memory.
    chars = np.ascontiguousarray(
        np.frombuffer(joined.encode("ascii"), dtype=np.uint8).reshape(len(texts), length).T
    )
    zone_from = found.end(7) if found[7] is not None else found.end(6)
    is_digit = np.array([c.isdigit() for c in texts[0][:zone_from]])
    like = np.frombuffer(texts[0].encode("ascii"), dtype=np.uint8)[:, None]
    same = chars == like
    digits = chars[:zone_from] - np.uint8(48)  # wraps around below "0", so one test is enough
    ok = same[zone_from:].all(axis=0)
    ok &= np.where(is_digit[:, None], digits <= 9, same[:zone_from]).all(axis=0)

    def number(group: int) -> NDArray[np.int64]:
        value = np.zeros(len(texts), dtype=np.int64)
        for row in range(found.start(group), found.end(group)):
            value = value * 10 + digits[row]
        return value

    year, month, day, hour, minute, second = (number(group) for group in range(1, 7))
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    last = _DAYS[np.clip(month, 0, 12)] + ((month == 2) & leap)
    ok &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= last)
    ok &= (hour <= 23) & (minute <= 59) & (second <= 60)
    ms = np.zeros(len(texts), dtype=np.int64)
    if found[7] is not None:
        for row in range(found.start(7), min(found.start(7) + 3, zone_from)):
            ms = ms * 10 + digits[row]
        ms *= 10 ** max(0, 3 - len(found[7]))
    minutes = (_days_since_1970(year, month, day) * 24 + hour) * 60 + minute - shift
    out = minutes * 60_000 + second * 1000 + ms
    for i in np.flatnonzero(~ok).tolist():
        out[i] = _parse_text(texts[i])
    return out


def _days_since_1970(
    year: NDArray[np.int64], month: NDArray[np.int64], day: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Days of the proleptic Gregorian calendar.

    Counting years from March puts the leap day last, so that months before it have fixed lengths,
    given by (153 m + 2) / 5 (H. Hinnant, chrono-Compatible Low-Level Date Algorithms).
    """
    y = year - (month <= 2)
    m = (month + 9) % 12
    return 365 * y + y // 4 - y // 100 + y // 400 + (153 * m + 2) // 5 + day - 719_469

"""How the console writes names, numbers, shares and times.

Names come from producers. They are shown as text and nothing else: what could break a line, turn
the direction of writing or hide itself is written out as its code point, and a long name is cut
and says how long it was.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

NAME_CHARS: Final = 60
REASON_CHARS: Final = 300
NOTHING: Final = "–"
"""Shown where there is no figure: an empty cell could be taken for a zero."""
_LONG_MS: Final = 10_000

_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
_UNITS: Final = ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min"), (_SECOND, "s"))
_LARGE: Final = ((1e12, 1e12, "T"), (1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"))
"""From which size on, in what, with which letter."""


def shown(text: str, most: int = NAME_CHARS) -> str:
    r"""``text`` as one line of at most ``most`` characters, with nothing invisible in it.

    >>> shown("gpt-4\u202e\n<b>")
    'gpt-4\\u202e\\u000a<b>'
    >>> shown("x" * 65_536, 8)
    'xxxxxxx… (65,536 characters)'
    """
    cut = text if len(text) <= most else text[: most - 1]
    seen = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in cut)
    return seen if len(text) <= most else f"{seen}… ({len(text):,} characters)"


def brief(text: str, most: int) -> str:
    """As `shown`, for a picture, where the whole name stands elsewhere.

    >>> brief("features.debt_to_income_ratio", 12)
    'features.de…'
    """
    whole = shown(text[:most], most)
    return whole if len(text) <= most and len(whole) <= most else f"{whole[: most - 1]}…"


def number(value: float | None, digits: int = 3) -> str:
    """A figure with ``digits`` significant digits; large ones with a unit of thousands.

    >>> [number(v) for v in (0.00012345, 3.14159, 1234.5, 123456, -2e9, None, float("nan"))]
    ['0.000123', '3.14', '1,234', '123k', '-2G', '–', '–']
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    if abs(value) >= 1e15:
        return f"{value:.2e}"
    for least, size, unit in _LARGE:
        if abs(value) >= least:
            return f"{value / size:.{digits}g}{unit}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def count(value: float | None) -> str:
    """A whole number with its thousands.

    >>> count(1234567), count(None)
    ('1,234,567', '–')
    """
    return NOTHING if value is None or not math.isfinite(value) else f"{value:,.0f}"


def share(value: float | None) -> str:
    """A part of one in percent.

    >>> [share(v) for v in (0, 1e-6, 0.004, 0.0415, 0.5, 12.3, -0.25, None)]
    ['0 %', '< 0.1 %', '0.4 %', '4.2 %', '50 %', '1,230 %', '-25 %', '–']
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    percent = 100 * value
    if percent == 0:
        return "0 %"
    if 0 < percent < 0.095:
        return "< 0.1 %"
    if abs(percent) < 9.95:
        return f"{percent:.2g} %"
    return f"{percent:,.0f} %" if abs(percent) < 1e6 else "over 1,000,000 %"


def duration(ms: float | None) -> str:
    """A length of time in the largest unit that fits.

    >>> [duration(v) for v in (0, 250, 12_300, 95_000, 5_400_000, 200_000_000, None)]
    ['0 ms', '250 ms', '12 s', '95 s', '90 min', '2 d', '–']
    """
    if ms is None or not math.isfinite(ms) or ms >= 1e12:
        return NOTHING
    for size, unit in _UNITS:
        if ms >= (size if unit == "s" else 2 * size):
            return f"{ms / size:,.0f} {unit}"
    return f"{ms:.0f} ms"


def milliseconds(value: float | None) -> str:
    """A latency; from ten seconds on in seconds.

    >>> milliseconds(1234.5), milliseconds(26_480.0), milliseconds(0.123), milliseconds(None)
    ('1,234 ms', '26.5 s', '0.123 ms', '–')
    """
    if value is not None and value >= _LONG_MS:
        return f"{number(value / 1000)} s"
    text = number(value)
    return text if text == NOTHING else f"{text} ms"


def moment(ms: float | None) -> str:
    """A point in time, UTC, to the second; `NOTHING` for what has no time.

    >>> moment(1_686_650_400_123), moment(0)
    ('2023-06-13 10:00:00', '–')
    """
    if not ms or not 0 < ms < 253_402_300_800_000:
        return NOTHING
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%d %H:%M:%S}"

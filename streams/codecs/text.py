"""Names and text values: what is readable, and in which one form.

Two texts that look alike must be one name, and a name must never be able to break a log line, a
label or a query. So a readable text is not blank, has a bounded number of characters, is in
Unicode normal form C, and has no control characters, line separators, lone surrogates or
characters that change the direction of text (the CVE-2021-42574 trick).
"""

from __future__ import annotations

import math
import re
import unicodedata

from detectors.release import OTHER

_UNREADABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

UNREADABLE_TEXT = "\x00"
"""Stands for a value that has no text form within any bound; ``readable`` refuses it."""

_MAX_INT_BITS = 1024
"""A number is written out as text only up to here: longer ones are beyond any bound on values."""

_MAX_WHOLE = 1e15
"""Whole floats below this are written without a fraction, because 1 and 1.0 are one value."""


def readable(text: str, limit: int) -> str | None:
    """The one form of ``text`` with at most ``limit`` characters, or None if it is unreadable.

    ``__other__`` is ours (values beyond a cap are folded there), so no producer may use it.
    """
    if len(text) > limit or not text or text == OTHER:
        return None
    if text.isascii() and text.isprintable():
        return None if text.isspace() else text
    if _UNREADABLE.search(text) is not None or text.isspace():
        return None
    text = unicodedata.normalize("NFC", text)
    return text if len(text) <= limit else None


def as_text(value: object) -> str | None:
    """The text of a scalar: ``true``, ``false``, ``3``, ``0.5``. None stays None.

    What is not a scalar, or is too long to be written, gives ``UNREADABLE_TEXT``.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value.bit_length() <= _MAX_INT_BITS else UNREADABLE_TEXT
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < _MAX_WHOLE else repr(value)
    return UNREADABLE_TEXT

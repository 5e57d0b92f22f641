"""A number and its noun, for sentences that people read."""

from __future__ import annotations


def plural(n: int, one: str, many: str = "") -> str:
    """``n`` with the words for one or for another number; ``many`` is ``one`` with an s if it is
    not given.

    >>> plural(1, "measure"), plural(0, "measure"), plural(1_200, "lies inside", "lie inside")
    ('1 measure', '0 measures', '1200 lie inside')
    """
    return f"{n} {one if n == 1 else many or one + 's'}"

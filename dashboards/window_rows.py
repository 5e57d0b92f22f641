"""The valid rows of some windows: of each window its newest revision."""

from __future__ import annotations

from typing import Final

SHORTEST: Final = (
    "window_ms = (SELECT min(window_ms) FROM {db}.newest_verdicts WHERE window_ms > 0)"
)
"""A condition: of the windows that are closed one after the other, the shortest."""


def window_rows(columns: str, place: str, *varying: str) -> str:
    """A subquery with ``columns`` of the windows in ``place``. ``varying``: the parts of the
    table's key that ``place`` does not fix, beside the window and the reference.

    Not ``FINAL``, which reads all that is asked for of every row beside the wanted ones before it
    looks at the condition: this costs half as much, and a third where histograms are read.
    """
    one = ", ".join([*varying, "window_start", "reference"])
    return (
        f"(SELECT {columns} FROM {{db}}.windows WHERE {place}"  # noqa: S608 - our own text
        f" ORDER BY revision DESC LIMIT 1 BY {one})"
    )

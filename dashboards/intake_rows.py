"""The rows of the intake's ledger in a range of time, each once."""

from __future__ import annotations


def intake_rows(*columns: str) -> str:
    """A subquery with these columns, for the range of time that is looked at.

    Not ``FINAL``: a range of time lies across the sorting key, and ``FINAL`` then reads whole
    partitions to be sure of the newest row of each key. Taking the newest of the few rows that are
    in the range is exact too, as a row's time never changes, and costs half as much for six hours
    and a twentieth for a quarter of an hour (measured on 2.7M rows).
    """
    return (
        f"(SELECT {', '.join(columns)} FROM {{db}}.intake"  # noqa: S608 - names of columns
        " WHERE $__timeFilter(seen_at)"
        " ORDER BY last_offset DESC LIMIT 1 BY topic, partition, first_offset)"
    )

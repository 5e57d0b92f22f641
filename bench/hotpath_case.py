"""The cases of the hot path: what is sent, and what reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.events import (
    Events,
    Shape,
    arrow_messages,
    generate,
    json_messages,
    ndjson_messages,
    reference_of,
)
from detectors.reference import Reference

MODEL = "fraud"
REFERENCE_ROWS = 20_000
REFERENCE_SEED = 7


class Reader(StrEnum):
    """What reads the messages: driftline with and without compiled kernels, or one of two
    yardsticks."""

    DRIFTLINE = "driftline"
    PLAIN = "driftline without kernels"
    CONSUME_ONLY = "consume only"
    NAIVE = "json.loads and dicts"


@dataclass(frozen=True, slots=True)
class Case:
    """``topic`` holds messages with ``rows_per_message`` events each; they are read as ``codec``.
    ``rows_per_partition`` stays below the 5 MB that the embedded broker keeps. ``gate`` and
    ``goal``: events per second and core, with compiled kernels."""

    name: str
    topic: str
    codec: str
    shape: Shape
    rows_per_message: int
    rows_per_partition: int
    write: Callable[[Events], Sequence[bytes]]
    gate: int
    goal: int


CASES = (
    Case(
        "JSON, 1 event a message",
        "json",
        "json",
        Shape(),
        1,
        6_000,
        json_messages,
        200_000,
        350_000,
    ),
    Case(
        "JSON, full-precision floats",
        "precise",
        "json",
        Shape(decimals=None),
        1,
        4_500,
        json_messages,
        140_000,
        250_000,
    ),
    Case(
        "NDJSON, 100 lines a message",
        "ndjson",
        "ndjson",
        Shape(),
        100,
        6_000,
        ndjson_messages,
        400_000,
        650_000,
    ),
    Case(
        "Arrow, 1,000 rows a message",
        "arrow",
        "arrow",
        Shape(),
        1_000,
        18_000,
        arrow_messages,
        1_400_000,
        2_500_000,
    ),
)
PLAIN_GATE, PLAIN_GOAL = 70_000, 120_000
"""JSON, 1 event a message, without compiled kernels."""


def events_of(case: Case, partition: int, share: int = 1) -> Events:
    """What one partition holds; ``share``: only one in so many rows, for the quick form."""
    rows = max(case.rows_per_partition // share, case.rows_per_message)
    return generate(rows, seed=partition, shape=case.shape, per_second=200)


def reference() -> Reference:
    """What is normal for the model: it fixes the edges of the histograms."""
    return reference_of(generate(REFERENCE_ROWS, REFERENCE_SEED), MODEL)

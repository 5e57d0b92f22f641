"""Summaries stay small on the wire, whatever the rate: a longer form of them fails here."""

from __future__ import annotations

import statistics

import pytest

from bench.wire import MOST_BYTES, RATES
from bench.wire_case import MIXES, Mix, batch_bytes, columns_of, deltas, flushes

SECONDS = 10
"""A pane: one of its flushes holds the end of the pane before."""


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("mix", [mix for mix in MIXES if mix.gated], ids=lambda mix: mix.name)
def test_a_release_of_25_columns_takes_less_than_6_kb_a_second(mix: Mix, rate: int) -> None:
    seconds = [deltas(records) for records in flushes(mix, rate, SECONDS)]
    assert {columns_of(each) for records in seconds for each in records} == {25}
    assert statistics.fmean(map(batch_bytes, seconds)) < MOST_BYTES


def test_columns_with_quantiles_take_less_than_a_kilobyte_each() -> None:
    """Nine of 25, at the rate at which a worker flushes no more than once a second."""
    few, many = (
        batch_bytes(deltas(next(flushes(mix, RATES[-1], 1)))) for mix in (MIXES[0], MIXES[2])
    )
    assert (many - few) / 8 < 1_000

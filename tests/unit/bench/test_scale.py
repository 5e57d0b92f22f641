"""The sums of docs/scale.md."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.scale import (
    DOCUMENT,
    LOADS,
    RESULTS,
    FigureMissing,
    Margin,
    document,
    measured,
    need,
)

TEXT = RESULTS.read_text(encoding="utf-8")


def test_the_document_is_what_the_results_say() -> None:
    """Else run `python -m bench.scale --write`."""
    assert DOCUMENT.read_text(encoding="utf-8") == document(measured(TEXT))


def test_cores_are_events_times_their_cost() -> None:
    load = replace(LOADS[0], per_minute=60_000_000)
    assert need(load, measured(TEXT), 2.0).summarize_cores == pytest.approx(2.0)
    assert need(load, measured(TEXT), 2.0, Margin(use=0.5)).workers == 4


def test_no_process_is_without_a_partition() -> None:
    for load in LOADS:
        for event_us in (0.1, 5.0, 70.0):
            found = need(load, measured(TEXT), event_us)
            assert found.input_partitions >= found.workers >= 1


def test_twice_the_cells_cost_the_judge_twice_as_much_and_summarize_nothing() -> None:
    once = need(LOADS[0], measured(TEXT), 5.0)
    twice = need(replace(LOADS[0], segments=10), measured(TEXT), 5.0)
    assert twice.judge_cores == pytest.approx(2 * once.judge_cores)
    assert twice.disk_gb_day == pytest.approx(2 * once.disk_gb_day)
    assert twice.summarize_cores == once.summarize_cores


def test_a_figure_that_is_gone_is_an_error_and_no_guess() -> None:
    with pytest.raises(FigureMissing, match="Arrow"):
        measured(TEXT.replace("| Arrow, 1,000 rows a message |", "| Arrow |"))


def test_of_a_range_the_worse_end_counts() -> None:
    row = "| judge, CPU per release, column and pane | 10 to 20 µs |"
    old = next(line for line in TEXT.splitlines() if line.startswith(row[:40]))
    assert measured(TEXT.replace(old, row)).judge_us == 20

"""How figures are summed up, and the JSON line that ends every benchmark."""

from __future__ import annotations

import json
import os

import pytest

from bench.measure import Spread, figure, percentile, report, resident_mb


def test_a_spread_is_the_median_and_both_ends() -> None:
    spread = Spread.of([3.0, 1.0, 2.0])
    assert spread.fields() == {"median": 2.0, "low": 1.0, "high": 3.0}


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 10), (0.95, 19), (1.0, 20), (0.01, 1)], ids=str
)
def test_a_percentile_is_one_of_the_figures(share: float, expected: int) -> None:
    assert percentile([float(n) for n in range(1, 21)], share) == expected


def test_figures_have_four_significant_digits() -> None:
    assert figure(123456.0) == 123500.0
    assert figure(0.00123456) == 0.001235


def test_the_report_is_one_line_of_json_with_the_machine() -> None:
    line = report("hotpath", "quick", {"rate": 1.5})
    assert "\n" not in line
    body = json.loads(line)
    assert (body["benchmark"], body["form"], body["rate"]) == ("hotpath", "quick", 1.5)
    assert set(body["machine"]) == {"cpu", "cores", "memory_gb", "python", "load"}


def test_the_report_refuses_what_json_cannot_say() -> None:
    with pytest.raises(ValueError, match="JSON"):
        report("hotpath", "quick", {"rate": float("nan")})


def test_resident_memory_is_read_of_a_process_by_its_id() -> None:
    assert 1 < resident_mb(os.getpid()) <= resident_mb(os.getpid(), peak=True)

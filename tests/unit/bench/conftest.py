"""The benchmarks are no installed package, so their folder has to be found first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

sys.path.insert(0, str(Path(__file__).parents[3]))


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """Parts of benchmarks that run in this process silence the logs; other tests read them."""
    yield
    structlog.reset_defaults()

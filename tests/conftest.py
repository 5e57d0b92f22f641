"""For all tests: says at the end what could not run on this machine, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

# Machines that run tests are shared: a slow example says nothing. Examples are the same each run.
hypothesis.settings.register_profile("driftline", deadline=None, derandomize=True)
hypothesis.settings.load_profile("driftline")

pytest_plugins = ["tests.faults.cell_count"]


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test was skipped, as pytest's reports carry it."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(report.longrepr)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the section last, so that a run that tested less never looks like one that did."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(skip_reason(report) for report in skipped)
    terminalreporter.section(f"could not run here: {len(skipped)}")
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"{count} x {reason}")


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A command sets up the logs of its process; what comes after a test of one would write them
    to a stream that has been closed."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds the source folders."""
    return Path(__file__).resolve().parents[1]

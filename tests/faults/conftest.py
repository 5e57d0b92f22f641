"""For the fault tests: a store that can be made to fail, and a count of the cells that were played.

A cell is a test, or one of its parameters, whose id begins with its letter and number in the fault
matrix (``C2-hangs``). A file that is played as a whole must play as many as it has: one that is
left out is a failure and not a skip, unless this machine cannot play it (`UNPLAYABLE`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import clickhouse_connect
import pytest

from sinks.embedded_store import EmbeddedStore
from sinks.http_face import HttpFace
from sinks.migrations import migrate
from sinks.schema import FINDINGS, VERDICTS
from tests.faults.store_fault_switch import Switch, switched
from tests.faults.store_scene import TOPICS, Scene, made

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_CELL: Final = re.compile(r"[\[_-]([A-Ka-k])[0-9]{1,2}[-_]")
UNPLAYABLE: Final = ("C7: ", "D4: ")
"""How the reasons begin for which a cell may be left out."""
EXPECTED: Final = {
    "test_poison.py": 1_150,
    "test_store_faults.py": 29,
    "test_store_schema_faults.py": 7,
    "test_store_full_disk.py": 4,
    "test_times.py": 54,
    "test_cardinality.py": 43,
    "test_configuration.py": 55,
    "test_two_clocks.py": 4,
}
"""Cells of each file; if fewer were played, the run has failed."""

_played: Counter[str] = Counter()
_letters: Counter[str] = Counter()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Counts a cell when it was played, and where this machine cannot play it."""
    found = _CELL.search(report.nodeid)
    if not report.nodeid.startswith("tests/faults/") or found is None:
        return
    reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
    excused = report.skipped and reason.removeprefix("Skipped: ").startswith(UNPLAYABLE)
    if excused or (report.when == "call" and not report.skipped):
        _played[report.nodeid.partition("::")[0].rpartition("/")[2]] += 1
        _letters[found[1].upper()] += not excused


def _whole(config: pytest.Config) -> bool:
    """Whether files are run as they are, and not a choice of their tests."""
    chosen = [config.getoption(name, "") for name in ("keyword", "markexpr", "deselect")]
    return not any(chosen) and not any("::" in each for each in config.args)


def _missing(config: pytest.Config) -> list[str]:
    if not _whole(config) or config.getoption("maxfail", 0):
        return []
    return [
        f"{name}: {_played[name]} of {expected}"
        for name, expected in EXPECTED.items()
        if 0 < _played[name] < expected
    ]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _missing(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _letters:
        played = ", ".join(f"{letter} {count}" for letter, count in sorted(_letters.items()))
        terminalreporter.section(f"fault cells played: {played}")
    for line in _missing(terminalreporter.config):
        terminalreporter.line(f"FAILED cells left out of {line}", red=True)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpFace]:
    with EmbeddedStore(tmp_path_factory.mktemp("store")) as store:
        face = HttpFace(store, 0)
        face.start()
        try:
            yield face
        finally:
            face.stop()


@pytest.fixture
def switch(engine: HttpFace) -> Iterator[Switch]:
    with switched(engine.port) as found:
        yield found


@pytest.fixture
def direct(engine: HttpFace) -> Iterator[Client]:
    """Past the switch."""
    client = clickhouse_connect.get_client(host="127.0.0.1", port=engine.port)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def fresh_scene(switch: Switch, direct: Client, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A scene whose tables may be changed."""
    database = f"d{abs(hash(request.node.nodeid))}"
    migrate(direct, database=database)
    yield made(database, direct, switch)
    direct.command(f"DROP DATABASE {database}")


@pytest.fixture
def scene(switch: Switch, direct: Client) -> Scene:
    """A scene whose tables are empty."""
    migrate(direct, database="shared")
    for table in (*TOPICS.values(), FINDINGS, VERDICTS):
        direct.command(f"TRUNCATE TABLE shared.{table.name}")
    return made("shared", direct, switch)

"""Logs hold no URLs of queries, whatever the libraries below log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import logging, sys
from streams.logs import LogFormat, LogLevel, set_up_logs
set_up_logs("store", LogFormat.JSON, LogLevel.DEBUG)
import clickhouse_connect.driver.httputil  # sets the level of urllib3 by itself
if sys.argv[1] == "unguarded":
    for handler in logging.getLogger().handlers:
        handler.filters.clear()
logging.getLogger("urllib3.connectionpool").warning("Retrying /?param_model=payload")
logging.getLogger("clickhouse_connect.driver").error("failed: SELECT 'payload'")
logging.getLogger("other").warning("said")
"""


@pytest.mark.parametrize("guard", ["guarded", "unguarded"])
def test_libraries_that_log_whole_urls_are_not_heard(repository: Path, guard: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, guard],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert '"said"' in done.stderr
    assert ("payload" in done.stderr) is (guard == "unguarded")

"""The store's engine in a process of its own, as a ClickHouse server is: to be killed, and to stand
behind a proxy. ``python -m tests.faults.engine FOLDER PORT`` runs one until it is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import httpx2

from sinks.embedded_store import EmbeddedStore
from sinks.http_face import HttpFace
from streams.tied_process import tied
from tests.faults.roles import REPOSITORY, wait_until
from tests.ports import free_port

START_S = 180.0


def ask(port: int, query: str) -> list[list[str]]:
    """The rows of an answer; none while the engine is not there."""
    try:
        answer = httpx2.post(f"http://127.0.0.1:{port}/", content=query.encode(), timeout=10)
    except httpx2.HTTPError:
        return []
    return [line.split("\t") for line in answer.text.splitlines()] if answer.is_success else []


class Engine:
    """One engine with its data in ``folder``, at the same port in all its lives."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder / "engine"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Returns when it answers; after `kill` with the data it had."""
        argv = [sys.executable, "-m", __name__, str(self._folder), str(self.port)]
        with (self._folder.parent / "engine.log").open("ab") as output:
            self._process = subprocess.Popen(
                tied(argv),
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_until("the engine answers", lambda: ask(self.port, "SELECT 1"), START_S)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, query: str) -> list[list[str]]:
        return ask(self.port, query)


def main() -> int:
    with EmbeddedStore(sys.argv[1]) as store:
        face = HttpFace(store, int(sys.argv[2]))
        face.start()
        signal.pause()
        face.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())

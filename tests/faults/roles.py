"""Roles as real processes, started as people start them, and treated badly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from streams.failpoints import VARIABLE
from streams.supervise import READY_FILE_VARIABLE
from streams.tied_process import tied

REPOSITORY = Path(__file__).resolve().parents[2]
START_S = 180.0
"""No promise: a busy machine with slow cores takes its time. So it is with every bound here that is
not said to be one; what is waited for is the thing itself."""
STOP_S = 10.0
"""How long a role may take to stop after SIGTERM: that is promised."""


class Trouble(AssertionError):
    """A cell cannot go on: a role did not do what the cell is about. Never a pass."""


def wait_until(what: str, asked: Callable[[], object], seconds: float) -> float:
    """Seconds until ``asked`` was true. Raises `Trouble` when that takes too long."""
    began = time.monotonic()
    while not asked():
        if time.monotonic() - began > seconds:
            raise Trouble(f"after {seconds:g} s still not: {what}")
        time.sleep(0.05)
    return time.monotonic() - began


class RoleProcess:
    """One process of a role. ``failpoint``: as in streams.failpoints. ``mutant``: the guard that is
    removed from it (tests.faults.mutants), "" for the role as it is."""

    def __init__(
        self,
        role: str,
        folder: Path,
        name: str,
        *,
        failpoint: str = "",
        mutant: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.role, self.name = role, name
        self._ready = folder / f"{name}.ready"
        self._ready.unlink(missing_ok=True)
        self.log = folder / f"{name}.log"
        module = ["streams"] if not mutant else ["tests.faults.mutants", mutant]
        argv = [sys.executable, "-m", *module, role, "--config", str(folder / "line.yaml")]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                tied([*argv, "--log-format", "json"]),
                cwd=folder,
                env={
                    **os.environ,
                    "PYTHONPATH": str(REPOSITORY),
                    VARIABLE: failpoint,
                    READY_FILE_VARIABLE: str(self._ready),
                    **(environment or {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None

    def check_alive(self) -> None:
        """Raises `Trouble` with the last that it said if it has ended."""
        if not self.alive():
            raise Trouble(f"{self.name} ended with {self.process.returncode}: {self.said()}")

    def ready(self) -> bool:
        return self._ready.exists()

    def said(self) -> str:
        """The last of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-3000:]

    def wait_ready(self) -> None:
        def ready_or_gone() -> bool:
            return self.ready() or not self.alive()

        wait_until(f"{self.name} ready", ready_or_gone, START_S)
        if not self.ready():
            self.check_alive()

    def wait_killed(self, seconds: float) -> None:
        """Until its failpoint has killed it."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Trouble(f"{self.name} never came to its failpoint: {self.said()}") from None
        if code != -signal.SIGKILL:
            raise Trouble(f"{self.name} ended with {code}, not by its failpoint: {self.said()}")

    def wait_frozen(self, seconds: float) -> None:
        """Until its failpoint has stopped it."""
        stat = Path(f"/proc/{self.pid}/stat")
        wait_until(
            f"{self.name} frozen by its failpoint",
            lambda: stat.read_text().rpartition(")")[2].split()[0] == "T",
            seconds,
        )

    def send(self, number: signal.Signals) -> None:
        if self.alive():
            self.process.send_signal(number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.process.wait()

    def terminate(self) -> tuple[int, float]:
        """SIGTERM: the exit code, and how long it took. SIGKILL after 30 s."""
        began = time.monotonic()
        self.send(signal.SIGTERM)
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            code = -signal.SIGKILL
        return code, time.monotonic() - began

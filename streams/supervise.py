"""Runs the roles of driftline as child processes and keeps them running.

Promises:

- A role that dies is started again after a pause that doubles with every death in the last minute
  (`RestartPolicy`). One that dies too often, or that must not be restarted, stops everything:
  `Supervisor.run` returns 1, and `Supervisor.failure` says which role and its last lines.
- SIGTERM or SIGINT stops everything in less than 10 s: SIGTERM to the roles, the last started
  first; when they have gone, SIGTERM to the services they talk to; after 8 s SIGKILL to whoever is
  left. A second signal does not wait.
- No child outlives the supervisor, even if that is killed with SIGKILL (`streams.tied_process`).

Ready: a role may have a ready file. Its path is in the child's environment variable
``DRIFTLINE_READY_FILE``; the child calls `report_ready` once it serves. The file's text is what
the role has to say to the others, such as its address. The supervisor removes the file before each
start, so that a file that is there belongs to the process that runs.

Children have sessions of their own: Ctrl-C in a terminal reaches the supervisor alone, which then
stops them in order.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Self

import structlog

from streams.tied_process import tied

READY_FILE_VARIABLE = "DRIFTLINE_READY_FILE"
SAYS = "driftline: "
"""How the one line begins that a command ends with when it cannot go on (streams.cli)."""
LOG_BYTES = 16 * 1024 * 1024
"""A role's log file that is larger than this at a start is set aside as ``ROLE.log.1``."""

_TICK_S = 0.05
_TAIL_LINES = 10
_TAIL_BYTES = 8192

log = structlog.get_logger()


class RoleFailed(Exception):
    """A role is down for good. ``role``: its name; ``last_lines``: the end of its log."""

    def __init__(self, role: str, what: str, last_lines: str) -> None:
        self.role = role
        self.last_lines = last_lines
        super().__init__(f"{role} {what}" + (f"; it said: {last_lines}" if last_lines else ""))


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a dead role is started again: at most ``restarts`` times within ``within_ms``."""

    restarts: int = 5
    within_ms: int = 60_000
    first_pause_ms: int = 250
    longest_pause_ms: int = 8_000

    def pause_ms(self, deaths_ms: Sequence[int], now_ms: int) -> int | None:
        """How long to wait before the next start, or None: give up.

        ``deaths_ms``: when the role died, in milliseconds of any steady clock, this death included.
        """
        recent = sum(1 for death in deaths_ms if now_ms - death < self.within_ms)
        if recent > self.restarts:
            return None
        return min(self.longest_pause_ms, self.first_pause_ms << max(0, recent - 1))


@dataclass(frozen=True, slots=True)
class StopPolicy:
    """How long stopping may take: roles get ``roles_ms``, everybody ``all_ms``, then SIGKILL."""

    roles_ms: int = 7_000
    all_ms: int = 8_000


@dataclass(frozen=True, slots=True)
class Role:
    """A child process: its name, its argument list, and how it is treated.

    ``service``: the others talk to it (a broker, a store), so it is stopped after them.
    ``restart``: False where a new process could not take over, because its state is in its memory.
    ``ready_file``: where it says that it is ready. ``environment``: added to ours.
    """

    name: str
    argv: tuple[str, ...]
    service: bool = False
    restart: bool = True
    ready_file: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Child:
    role: Role
    process: subprocess.Popen[bytes] | None = None
    deaths_ms: list[int] = field(default_factory=list)
    start_at_ms: int = 0

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)  # does nothing once the child was waited for


def report_ready(text: str = "") -> None:
    """Called by a role that now serves. Without a supervisor that asked for it, does nothing."""
    path = os.environ.get(READY_FILE_VARIABLE)
    if path:
        partial = Path(f"{path}.{os.getpid()}.part")
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)


class Supervisor:
    """Starts roles, watches them, stops them. To be used in a ``with`` block, in the main thread.

    Inside the block SIGTERM and SIGINT are the supervisor's: they end `run`, and `wait_ready`
    with a KeyboardInterrupt. Leaving the block stops every role, however it is left.

    ``log_folder``: each role writes to ``ROLE.log`` there; None: to our stdout and stderr.
    """

    def __init__(
        self,
        log_folder: Path | None = None,
        restarts: RestartPolicy | None = None,
        stops: StopPolicy | None = None,
    ) -> None:
        self._log_folder = log_folder
        self._restarts = restarts or RestartPolicy()
        self._stops = stops or StopPolicy()
        self._children: list[_Child] = []
        self._signals = 0
        self._handlers: dict[signal.Signals, Any] = {}
        self.failure: RoleFailed | None = None

    def start(self, role: Role) -> None:
        """Starts a role. Raises ValueError if one of that name is there already."""
        if any(child.role.name == role.name for child in self._children):
            raise ValueError(f"there is a role {role.name} already: names must differ")
        child = _Child(role)
        self._children.append(child)
        self._launch(child)

    def wait_ready(self, name: str, timeout_ms: int) -> str:
        """Waits until the role says that it is ready; returns what its ready file says.

        Raises RoleFailed if it ends first (starting up is not retried) or takes too long, and
        KeyboardInterrupt if a signal asks us to stop.
        """
        child = next(child for child in self._children if child.role.name == name)
        path = child.role.ready_file
        if path is None:
            raise ValueError(f"role {name} has no ready file to wait for")
        deadline = _now_ms() + timeout_ms
        while not path.exists():
            if not child.alive():
                raise RoleFailed(name, f"{_ending(child)} while starting", self._last_lines(child))
            if _now_ms() > deadline:
                what = f"runs and was not ready within {timeout_ms / 1000:g} s (a busy machine?)"
                raise RoleFailed(name, what, self._last_lines(child))
            if self._signals:
                raise KeyboardInterrupt
            time.sleep(_TICK_S / 5)
        return path.read_text(encoding="utf-8").strip()

    def pids(self) -> dict[str, int]:
        """The process ids of the roles that run now."""
        children = (child for child in self._children if child.alive())
        return {child.role.name: child.process.pid for child in children if child.process}

    def run(self, until: Callable[[], bool] = lambda: False) -> int:
        """Keeps the roles running until a signal comes, ``until()`` is true, or a role fails for
        good; then stops them all. Returns 0, or 1 after a failure. ``until`` is asked about 20
        times a second and may do short work, such as drawing.
        """
        try:
            while not self._signals and self.failure is None and not until():
                self._watch()
                time.sleep(_TICK_S)
        finally:
            self.stop()
        return 0 if self.failure is None else 1

    def stop(self) -> None:
        """Stops every role, the last started first and services last. Safe to call again."""
        began = _now_ms()
        before = self._signals
        backwards = self._children[::-1]
        roles = [child for child in backwards if not child.role.service]
        services = [child for child in backwards if child.role.service]
        for group, limit_ms in ((roles, self._stops.roles_ms), (services, self._stops.all_ms)):
            for child in group:
                child.send(signal.SIGTERM)
            while (
                any(child.alive() for child in group)
                and _now_ms() - began < limit_ms
                and self._signals <= max(1, before)
            ):
                time.sleep(_TICK_S / 5)
            for child in group:
                if child.alive():
                    log.warning("role_killed", role=child.role.name)
                child.send(signal.SIGKILL)
                if child.process is not None:
                    child.process.wait()
        self._children.clear()

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._handlers[number] = signal.signal(number, self._count_signal)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _count_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._signals += 1

    def _watch(self) -> None:
        for child in self._children:
            if child.alive():
                continue
            if child.process is not None:
                self._bury(child)
            elif _now_ms() >= child.start_at_ms:
                self._launch(child)
            if self.failure is not None:
                return

    def _bury(self, child: _Child) -> None:
        """A child has died: plan the next start, or fail."""
        now = _now_ms()
        child.deaths_ms = [at for at in child.deaths_ms if now - at < self._restarts.within_ms]
        child.deaths_ms.append(now)
        what = _ending(child)
        pause = self._restarts.pause_ms(child.deaths_ms, now) if child.role.restart else None
        if pause is None:
            if child.role.restart:
                seconds = self._restarts.within_ms / 1000
                what += f", {len(child.deaths_ms)} times within {seconds:g} s"
            self.failure = RoleFailed(child.role.name, what, self._last_lines(child))
            return
        log.warning("role_restarts", role=child.role.name, what=what, pause_ms=pause)
        child.process, child.start_at_ms = None, now + pause

    def _launch(self, child: _Child) -> None:
        role = child.role
        environment = {**os.environ, **role.environment}
        environment.pop(READY_FILE_VARIABLE, None)
        if role.ready_file is not None:
            role.ready_file.parent.mkdir(parents=True, exist_ok=True)
            role.ready_file.unlink(missing_ok=True)
            environment[READY_FILE_VARIABLE] = str(role.ready_file)
        path = self._log_path(role)
        if path is None:
            child.process = _popen(role.argv, environment, None)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and path.stat().st_size > LOG_BYTES:
                path.replace(path.with_name(f"{path.name}.1"))
            with path.open("ab") as output:
                child.process = _popen(role.argv, environment, output.fileno())
        log.info("role_started", role=role.name, pid=child.process.pid)

    def _log_path(self, role: Role) -> Path | None:
        return None if self._log_folder is None else self._log_folder / f"{role.name}.log"

    def _last_lines(self, child: _Child) -> str:
        path = self._log_path(child.role)
        if path is None or not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
        lines = text.strip().splitlines()
        # A role that ends for a reason people can put right says so in its last line, alone.
        if lines and lines[-1].startswith(SAYS):
            return lines[-1].removeprefix(SAYS)
        return "\n".join(lines[-_TAIL_LINES:])


def _popen(
    argv: Sequence[str], environment: Mapping[str, str], output: int | None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        tied(argv),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def _ending(child: _Child) -> str:
    code = child.process.returncode if child.process is not None else None
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000

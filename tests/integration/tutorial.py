"""A tutorial as its reader would follow it: its files are written and its commands are run.

What is done with a fenced block stands behind its language:

    yaml file=NAME        (any language) written to NAME in an empty folder
    sh run                run; must end with 0
    sh until              run again and again, until it prints what the `text output` after it says
    sh background=NAME    started and left running; what ran as NAME before gets a Ctrl-C
    sh elsewhere          not run, since it needs what is not here; must be valid shell
    text output           what the command before it prints: each line, in this order; … is anything
    text                  not looked at

The only things changed are the ports of `serve` and of the store, as several tests may run at once.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

BASH: Final = shutil.which("bash") or "/bin/bash"
REPOSITORY: Final = Path(__file__).resolve().parents[2]
TUTORIALS: Final = REPOSITORY / "docs" / "tutorials"
DEFAULT_SERVE: Final = "127.0.0.1:8780"
DEFAULT_STORE: Final = "127.0.0.1:8123"
COMMAND_S: Final = 240
UNTIL_S: Final = 180
STOP_S: Final = 20
_FENCE: Final = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: ``marks`` are the words behind its language, as ``run`` or ``file=NAME``."""

    language: str
    marks: Mapping[str, str]
    text: str
    line: int

    @property
    def runs(self) -> bool:
        return self.language == "sh" and "elsewhere" not in self.marks

    @property
    def is_output(self) -> bool:
        return self.language == "text" and "output" in self.marks


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        language, *words = match[1].split()
        marks = {name: value for name, _, value in (word.partition("=") for word in words)}
        found.append(Block(language, marks, match[2], text.count("\n", 0, match.start()) + 1))
    return found


def first_missing(expected: str, said: str) -> str:
    """The first line of ``expected`` that does not follow in ``said``; "" if all are there."""
    rest = [" ".join(line.split()) for line in said.splitlines()]
    for line in filter(None, (" ".join(each.split()) for each in expected.splitlines())):
        pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
        at = next((i for i, each in enumerate(rest) if pattern.fullmatch(each)), None)
        if at is None:
            return line
        rest = rest[at + 1 :]
    return ""


@dataclass
class Reader:
    """Somebody who follows a tutorial in ``folder``. ``said``: what each block printed."""

    folder: Path
    serve_port: int
    store_port: int
    said: dict[int, str] = field(default_factory=dict)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def follow(self, page: Path) -> None:
        """Do what the page says. Fails where it does not go as the page says."""
        parts = blocks(page)
        for block, after in zip(parts, [*parts[1:], None], strict=True):
            where = f"{page.name}:{block.line}"
            expected = after.text if after is not None and after.is_output else ""
            if "file" in block.marks:
                (self.folder / block.marks["file"]).write_text(block.text, encoding="utf-8")
            elif block.runs and "background" in block.marks:
                self._start(block, expected, where)
            elif block.runs and "until" in block.marks:
                assert expected, f"{where}: says until, but not until what"
                self._until(block, expected, where)
            elif block.runs:
                said, code = self._ran(block.text)
                self.said[block.line] = said
                assert code == 0, f"{where}: ended with {code}:\n{said[-2000:]}"
                missing = first_missing(expected, said)
                assert not missing, f"{where}: did not print {missing!r} but:\n{said[-3000:]}"

    def _until(self, block: Block, expected: str, where: str) -> None:
        deadline = time.monotonic() + UNTIL_S
        while True:
            said, _ = self._ran(block.text)
            self.said[block.line] = said
            missing = first_missing(expected, said)
            if not missing:
                return
            if time.monotonic() > deadline:
                pytest.fail(f"{where}: never printed {missing!r}, at last:\n{said[-3000:]}")
            time.sleep(1)

    def _start(self, block: Block, expected: str, where: str) -> None:
        name = block.marks["background"]
        if name in self._running:
            self._stop(self._running.pop(name))
        log = self.folder / f".{name}.said"
        with log.open("wb") as output:
            # exec, so that Ctrl-C reaches the program itself and not only a shell around it.
            self._running[name] = process = subprocess.Popen(
                [BASH, "-c", f"exec {self._here(block.text).strip()}"],
                cwd=self.folder,
                env=self._environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + UNTIL_S
        while missing := first_missing(expected, log.read_text(encoding="utf-8", errors="replace")):
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(encoding="utf-8", errors="replace")
                pytest.fail(f"{where}: did not print {missing!r} but:\n{said[-3000:]}")
            time.sleep(0.2)

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        """Ctrl-C, as a terminal gives it: to all processes in the foreground."""
        try:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(STOP_S)
        except ProcessLookupError:
            process.wait()
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            pytest.fail(f"{shlex.join(map(str, process.args))[:80]}: Ctrl-C did not end it")  # type: ignore[arg-type]

    def leave(self) -> None:
        """End what still runs, the newest first."""
        while self._running:
            self._stop(self._running.pop(list(self._running)[-1]))

    def _ran(self, text: str) -> tuple[str, int]:
        done = subprocess.run(
            [BASH, "-e", "-c", self._here(text)],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_S,
            check=False,
        )
        return done.stdout.decode("utf-8", "replace"), done.returncode

    def _here(self, text: str) -> str:
        return text.replace(DEFAULT_SERVE, f"127.0.0.1:{self.serve_port}").replace(
            DEFAULT_STORE, f"127.0.0.1:{self.store_port}"
        )

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("DRIFTLINE")}
        return kept | {
            "PATH": f"{self._programs()}{os.pathsep}{kept.get('PATH', '')}",
            "PYTHONPATH": str(REPOSITORY),
            "COLUMNS": "120",
            "DRIFTLINE__SERVE__PORT": str(self.serve_port),
            "DRIFTLINE__STORE__HTTP_PORT": str(self.store_port),
            "DRIFTLINE_URL": f"http://127.0.0.1:{self.serve_port}",
        }

    def _programs(self) -> Path:
        """``python`` and ``driftline`` as they are in an activated environment."""
        programs = self.folder / ".bin"
        programs.mkdir(exist_ok=True)
        python = shlex.quote(sys.executable)
        for name, command in (("python", python), ("driftline", f"{python} -m streams")):
            program = programs / name
            if not program.exists():
                program.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
                program.chmod(0o755)
        return programs


@contextmanager
def reader(folder: Path, serve_port: int, store_port: int) -> Iterator[Reader]:
    """A reader who ends everything that the tutorial has started."""
    somebody = Reader(folder, serve_port, store_port)
    # Where tests run in the background of a shell Ctrl-C is ignored, and what is started from there
    # ignores it as well.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield somebody
    finally:
        somebody.leave()
        signal.signal(signal.SIGINT, before)

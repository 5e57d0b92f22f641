"""C7, C8: the disk of the store is full, or takes no writes; see test_store_faults.py."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import clickhouse_connect
import pytest

from sinks.migrations import migrate
from tests.faults.store_fault_switch import switched
from tests.faults.store_scene import (
    Outcome,
    guarded,
    made,
    play,
    skips_errors,
)

_MOUNT, _UMOUNT = shutil.which("mount") or "mount", shutil.which("umount") or "umount"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MB. Mounting needs root."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = [_MOUNT, "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("C7: no small disk can be mounted here (needs root)")
    try:
        yield folder
    finally:
        subprocess.run([_UMOUNT, "-l", str(folder)], capture_output=True, check=False)


_ENGINE: Final = """
import sys, time
from sinks.embedded_store import EmbeddedStore
from sinks.http_face import HttpFace
with EmbeddedStore(sys.argv[1]) as store:
    face = HttpFace(store, 0)
    face.start()
    print("port", face.port, flush=True)
    sys.stdin.read()
    face.stop()
"""


@contextmanager
def engine_in(folder: Path, repository: Path) -> Iterator[tuple[int, int]]:
    """An engine of its own process: there can be one engine in a process. Gives port and pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", _ENGINE, str(folder)],
        cwd=repository,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = next(line for line in process.stdout if line.startswith("port "))
        yield int(said.split()[1]), process.pid
    finally:
        process.kill()
        process.wait(10)


def filled(disk: Path, engine: int) -> Callable[[], None]:
    """Fill the disk to its last byte; gives what makes room again."""
    del engine
    ballast = disk / "ballast"
    with ballast.open("wb") as file, suppress(OSError):
        while True:
            file.write(b"\0" * 65_536)
            file.flush()
    return ballast.unlink


def refusing(disk: Path, engine: int) -> Callable[[], None]:
    """Every write of the engine fails, as with a device that errs; gives what ends it."""
    del disk
    before = resource.prlimit(engine, resource.RLIMIT_FSIZE)
    resource.prlimit(engine, resource.RLIMIT_FSIZE, (0, before[1]))

    def end() -> None:
        resource.prlimit(engine, resource.RLIMIT_FSIZE, before)

    return end


Harm = Callable[[Path, int], Callable[[], None]]


@pytest.mark.parametrize(
    ("harm", "guard"),
    [(filled, True), (filled, False), (refusing, True), (refusing, False)],
    ids=["C7-full-disk", "C7-no-guard", "C8-writes-fail", "C8-no-guard"],
)
def test_a_disk_that_takes_nothing_is_waited_for_and_loses_nothing(
    small_disk: Path, repository: Path, harm: Harm, guard: bool
) -> None:
    with (
        engine_in(small_disk / "store", repository) as (port, engine),
        switched(port) as switch,
        closing(clickhouse_connect.get_client(host="127.0.0.1", port=port)) as direct,
    ):
        migrate(direct, database="driftline")
        full = made("driftline", direct, switch)
        healed = threading.Timer(2.0, harm(small_disk, engine))
        healed.start()
        began = time.monotonic()
        outcome = play(full, insert_of=guarded if guard else skips_errors, seconds=40)
        healed.join()
        if guard:
            assert outcome == Outcome(0, 0, 0)
            assert time.monotonic() - began >= 2.0
            sound = direct.query("CHECK TABLE driftline.dead_letters").result_rows
            assert all(passed for _, passed, *_ in sound)
        else:
            assert outcome.lost

"""Child processes that cannot outlive the process that started them.

Linux sends a process a signal when its parent dies (prctl PR_SET_PDEATHSIG), however it dies. The
request has to be made in the child, between fork and exec; ``subprocess`` offers ``preexec_fn``
for that, which can deadlock when the parent has threads. So a short launcher runs first in the
child's own process, asks for the signal, and becomes the real program by exec, which keeps the
request. It costs about 20 ms a start. Where there is no prctl the child is started all the same.

Note: the kernel means the *thread* that started the child. Start children from a thread that
lives as long as they shall live.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

# The parent may be gone before the request is made: then nobody would send the signal.
_LAUNCHER = """
import os, sys
parent, argv = int(sys.argv[1]), sys.argv[2:]
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
try:
    os.execvp(argv[0], argv)
except OSError as error:
    sys.exit(f"cannot run {argv[0]}: {error.strerror}")
"""


def tied(argv: Sequence[str]) -> list[str]:
    """The argument list that runs ``argv`` so that it is killed when this process dies.

    The process that runs keeps the pid that ``subprocess.Popen`` gives. If the program cannot be
    run, the child exits with 1 and says why on stderr.
    """
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *argv]


def end(process: subprocess.Popen[Any], within_s: float) -> None:
    """Ask a process to stop (SIGTERM), and kill it if that takes too long. It is gone then."""
    process.terminate()
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

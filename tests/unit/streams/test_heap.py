"""Free memory goes back to the system, also from between what stays."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

HOLES = """
import ctypes, sys
from pathlib import Path
from streams.heap import give_back

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def resident_kb():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

blocks = [libc.malloc(100_000) for _ in range(400)]
for block in blocks:
    ctypes.memset(block, 1, 100_000)
stays = libc.malloc(50_000)  # above them all
for block in blocks[:-1]:
    libc.free(block)
before = resident_kb()
if sys.argv[1] == "given back":
    assert give_back()
print(before - resident_kb())
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc"
)
@pytest.mark.parametrize(("how", "given_back"), [("given back", True), ("as it is", False)])
def test_free_memory_below_what_stays_is_given_back(how: str, given_back: bool) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", HOLES, how], capture_output=True, text=True, check=True
    )
    assert (int(ran.stdout) > 30_000) is given_back

"""Large blocks go back to the system when they are freed, however large those before them were."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from streams.heap import OWN_MAPPING_BYTES

MAPPINGS = """
import ctypes, sys
from streams.heap import keep_flat

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ord", "sm", "hblks", *"abcdef")]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
if sys.argv[1] == "flat":
    assert keep_flat()
libc.free(libc.malloc(20 << 20))
before = libc.mallinfo2().hblks
libc.malloc(int(sys.argv[2]))
print(libc.mallinfo2().hblks - before)
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library is not glibc 2.33 or newer"
)
@pytest.mark.parametrize(("how", "mappings"), [("flat", 1), ("as it is", 0)])
def test_a_large_block_has_a_mapping_of_its_own_after_a_larger_one_was_freed(
    how: str, mappings: int
) -> None:
    size = str(2 * OWN_MAPPING_BYTES)
    ran = subprocess.run(
        [sys.executable, "-c", MAPPINGS, how, size], capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) == mappings

"""Powers of ten as 128-bit truncated mantissas, for reading decimal numbers exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMALLEST = -342
LARGEST = 308
"""Beyond these a number of at most 19 digits is zero or infinite."""

_LAST_ROUNDED_UP = -27


def mantissas() -> NDArray[np.uint64]:
    """For each power of ten from SMALLEST on, its leading 128 bits: uint64 [powers, 2], high first.

    Only the power of five matters. All are cut off, but for reciprocals of powers of five that
    fit 64 bits: these are rounded up, so that their exact products are told from near ones.
    """
    table = np.empty((LARGEST - SMALLEST + 1, 2), dtype=np.uint64)
    for power in range(SMALLEST, LARGEST + 1):
        five: int = 5 ** abs(power)
        if power >= 0:
            shift = five.bit_length() - 128
            bits = five >> shift if shift > 0 else five << -shift
        else:
            near = power >= _LAST_ROUNDED_UP
            width = five.bit_length() + (127 if near else 256)
            bits = (1 << width) // five + (1 if near else 0)
            bits >>= bits.bit_length() - 128
        table[power - SMALLEST] = (bits >> 64, bits & (2**64 - 1))
    return table

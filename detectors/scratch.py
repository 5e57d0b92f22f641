"""Room that the compiled kernels work in, made once and left as it was found: all zeros.

The table has a place for every bucket that a double can have (1 MB), of which a column touches the
few hundred that its values fall into.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 1024
"""Values that are worked on at once: with what is made of them they stay in the nearest cache. A
block's sums stay below 2**63: each value is below 2**43."""

MIDDLE = 1 << 17
"""The place of bucket 0 in the table: keys lie between -131,007 and 131,007."""


COARSE_BITS = 4


class Scratch(NamedTuple):
    """``block``, ``first``, ``second``: values, and what is made of each, with their bits;
    ``table``: counts by bucket; ``coarse``: whether any of 16 buckets has some, by byte
    and eight at once; ``edged``: whether an
    edge of the histogram falls into a bucket."""

    block: NDArray[np.float64]
    bits: NDArray[np.int64]
    first: NDArray[np.float64]
    first_bits: NDArray[np.int64]
    second: NDArray[np.float64]
    second_bits: NDArray[np.int64]
    table: NDArray[np.int32]
    coarse: NDArray[np.uint8]
    coarse_words: NDArray[np.uint64]
    edged: NDArray[np.uint8]

    @classmethod
    def new(cls) -> Scratch:
        block, first, second = (np.zeros(BLOCK) for _ in range(3))
        coarse = np.zeros(2 * MIDDLE >> COARSE_BITS, np.uint8)
        return cls(
            block,
            block.view(np.int64),
            first,
            first.view(np.int64),
            second,
            second.view(np.int64),
            np.zeros(2 * MIDDLE, np.int32),
            coarse,
            coarse.view(np.uint64),
            np.zeros(2 * MIDDLE, np.uint8),
        )

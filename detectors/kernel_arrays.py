"""Arrays as compiled kernels take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def kernel_arrays(*values: NDArray[Any] | int) -> tuple[Any, ...]:
    """Kernels are compiled for writable arrays of adjacent elements and for no others: those that
    are something else are copied. Integers stay.

    >>> every_second, n = kernel_arrays(np.arange(4)[::2], 2)
    >>> every_second, every_second.flags.c_contiguous, n
    (array([0, 2]), True, 2)
    """
    return tuple(
        value if isinstance(value, int) else np.require(value, None, ["C", "W"]) for value in values
    )

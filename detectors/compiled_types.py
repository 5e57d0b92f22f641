"""The types of what compiled code takes, in numba's words: contiguous arrays, and tuples of them.

The digit is the number of axes, the letter the elements: I for int64, F for float64, B for flags.
"""

from __future__ import annotations

I1, I2, I3 = "int64[::1]", "int64[:,::1]", "int64[:,:,::1]"
F1, F2, F3 = "float64[::1]", "float64[:,::1]", "float64[:,:,::1]"
F4 = "float64[:,:,:,::1]"
B1, B2 = "boolean[::1]", "boolean[:,::1]"


def tuple_of(*types: str) -> str:
    """
    >>> tuple_of(I1, F2)
    'Tuple((int64[::1], float64[:,::1]))'
    """
    return f"Tuple(({', '.join(types)}))"

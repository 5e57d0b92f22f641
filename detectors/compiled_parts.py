"""What compiled code is made of, for numba: parts, and sums in numpy's order.

**Guarantee.** :func:`added` gives what ``np.add.reduceat`` gives for a run of an array whose last
axis is contiguous, to the last bit. numpy takes the first element and adds the *pairwise* sum of
the others: eight sums side by side, and halves where there are more than 128 elements. That is how
this numpy does it and promised by nobody, so :func:`sums_like_numpy` is asked before kernels that
add doubles are used; where numpy has changed, they are not.

numba is imported in this folder by files named ``compiled`` and by no others.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

_PART: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
_ENTRY: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
_LONGEST_TRIED = 300


def part(function: Any) -> Any:
    """A part of compiled code, which Python does not call; the GIL is not held."""
    return numba.njit(**_PART)(function)


def entry(function: Any, signature: str, cache: bool) -> Any:
    """Compiled code that Python calls, for arguments of these types alone. ``cache``: keep the
    machine code where numba's ``CACHE_DIR`` says, which must be set before."""
    return numba.njit([signature], cache=cache, **_ENTRY)(function)


@part
def larger(a: Any, b: Any) -> Any:
    """As ``np.maximum``: NaN if either is."""
    if a != a or a >= b:
        return a
    return b


@part
def smaller(a: Any, b: Any) -> Any:
    """As ``np.minimum``: NaN if either is."""
    if a != a or a <= b:
        return a
    return b


@part
def _pairwise(values: Any, first: Any, size: Any) -> Any:
    if size < 8:
        total = -0.0
        for i in range(first, first + size):
            total += values[i]
        return total
    if size <= 128:
        a, b, c, d = values[first], values[first + 1], values[first + 2], values[first + 3]
        e, f, g, h = values[first + 4], values[first + 5], values[first + 6], values[first + 7]
        whole = size - size % 8
        for i in range(first + 8, first + whole, 8):
            a += values[i]
            b += values[i + 1]
            c += values[i + 2]
            d += values[i + 3]
            e += values[i + 4]
            f += values[i + 5]
            g += values[i + 6]
            h += values[i + 7]
        total = ((a + b) + (c + d)) + ((e + f) + (g + h))
        for i in range(first + whole, first + size):
            total += values[i]
        return total
    half = size // 2
    half -= half % 8
    return _pairwise(values, first, half) + _pairwise(values, first + half, size - half)


@part
def added(values: Any, first: Any, size: Any) -> Any:
    """The sum of ``size`` doubles, at least one, from ``first`` on; see above."""
    if size == 1:
        return values[first]
    return values[first] + _pairwise(values, first + 1, size - 1)


def _sums(values: Any, totals: Any) -> None:
    for i in range(totals.size):
        totals[i] = added(values, i, values.size - i)


def sums_like_numpy(cache: bool) -> bool:
    """Whether this numpy adds in the order that :func:`added` was written for."""
    sums = entry(_sums, "void(float64[::1], float64[::1])", cache)
    n = np.arange(1.0, _LONGEST_TRIED + 1.0)
    # Of all sizes and both signs, so that another order shows in the last bits.
    values = np.sin(n * n) * 10.0 ** (n % 17.0 - 8.0)
    found, wanted = np.empty(_LONGEST_TRIED), np.empty((1, _LONGEST_TRIED))
    sums(values, found)
    for i in range(_LONGEST_TRIED):
        wanted[:, i] = np.add.reduceat(values[None, i:], [0], axis=-1)[:, 0]
    return found.tobytes() == wanted.tobytes()

"""Whether all or any of some flags are set: what ``flags.all()`` and ``flags.any()`` say of small
arrays, at a fifth of their cost, which is that of a call and counts where a pane has dozens."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def all_of(flags: NDArray[Any]) -> bool:
    """Whether none is false or 0; of none at all, True.

    >>> all_of(np.array([1, 2])), all_of(np.array([True, False])), all_of(np.array([]))
    (True, False, True)
    """
    return bool(np.count_nonzero(flags) == flags.size)


def any_of(flags: NDArray[Any]) -> bool:
    """Whether one is true, or not 0.

    >>> any_of(np.array([False, True])), any_of(np.array([0, 0])), any_of(np.array([]))
    (True, False, False)
    """
    return bool(np.count_nonzero(flags) > 0)

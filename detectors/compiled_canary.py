"""How a pane of canaries is entered, for numba: all that lies between logarithms.

**Guarantee.** Every bit is that of the numpy form (:mod:`detectors.canary_ledger`,
:mod:`detectors.canary_evidence`, :mod:`detectors.canary_wealth`), which is what runs where numba is
not installed and says what each line is for; property tests hold the two equal. So operations come
in its order, sums in numpy's (:mod:`detectors.compiled_parts`), and logarithms and exponentials,
whose last bit is not the compiler's, are numpy's own: :mod:`detectors.canary_kernels` takes them
between one of these functions and the next.

P releases with the same book, M parts, B bets, C cells, H shares held to a limit.
"""

from __future__ import annotations

from detectors.canary_kernels import CanaryKernels
from detectors.compiled_answers import compile_answers
from detectors.compiled_canary_bets import (
    close,
    earn,
    excuse,
    put_in,
    settle,
    stake,
    tolerate,
    total,
)
from detectors.compiled_canary_bounds import compile_bounds
from detectors.compiled_canary_pane import tell
from detectors.compiled_parts import entry, sums_like_numpy
from detectors.compiled_reading import compile_reading

_WEALTH = "Tuple((int64[::1], float64[::1], float64[::1], int64[::1], int64[::1], int64[::1]))"
_I1, _I2, _I3 = "int64[::1]", "int64[:,::1]", "int64[:,:,::1]"
_F1, _F2, _F3 = "float64[::1]", "float64[:,::1]", "float64[:,:,::1]"
_B1, _B2 = "boolean[::1]", "boolean[:,::1]"


def _tuple(*types: str) -> str:
    return f"Tuple(({', '.join(types)}))"


def compile_canary(*, cache: bool) -> CanaryKernels:
    """The kernels, compiled for the types in use and no others. ``cache``: as of
    :func:`detectors.compiled.compile_all`. Raises RuntimeError where this numpy adds in another
    order than they do."""
    if not sums_like_numpy(cache):
        raise RuntimeError("numpy adds doubles in an order that the kernels do not know")
    ranges, pair = _tuple(*[_I1] * 4, *[_F1] * 4), _tuple(_F2, _I2)
    signatures = {
        tell: (
            _tuple(_I1, _I1, _F1, _F1, _B1, _B1, *[_I1] * 6, "int64"),
            _tuple(_I3, _I3, _F3, _F3, _B2),
            _tuple(_I2, *[_F2] * 5),
            _tuple(*[_I2] * 5),
            _tuple(_I2, _I2, _F2, _F2, _F2, _F2, _I2),
            _tuple(_I2, _F2),
            _F2,
            _I2,
            _tuple(_F1, _F1),
            "Tuple((float64, int64, float64))",
            "UniTuple(int64, 2)",
            _I3,
            _F3,
            _tuple(_I2, _F2),
            _tuple(_I3, _I3, _F2, _B2, _F2, _F2, _F2),
        ),
        excuse: ("float64", _F2, _F2),
        tolerate: (_tuple(_F1, _F1), _F2, _F2),
        stake: (
            ranges,
            _tuple(_I1, _I1, _I1, _F2),
            _tuple(_I1, _I1, _I1, _F1, _I1, _I1, _F1),
            _I3,
            _I3,
            _I3,
            _F2,
            _F3,
            _F1,
            _F2,
            _F1,
            _I1,
        ),
        earn: (
            ranges,
            _tuple(_I1, _I1, _F1, _F1, _I1, "int64"),
            _tuple(_I1, _I1, _I1, _I1, _F1, _F1),
            _I1,
            _I3,
            _I3,
            _F2,
            _F2,
            _F3,
            _F1,
            _F1,
            _F2,
            _F2,
        ),
        put_in: (
            _WEALTH,
            "UniTuple(float64, 2)",
            "int64",
            _F2,
            _F2,
            _F2,
            _I2,
            pair,
            _F2,
            _F2,
            _I2,
        ),
        settle: (_WEALTH, _B2, pair, _F2, _F2, _F2, _I2, _F2),
        total: (_WEALTH, _F2, _F2),
        close: (
            _WEALTH,
            "float64",
            _B2,
            _F2,
            _F2,
            _F2,
            _I2,
            _tuple(_I2, _F2, _F2, _I2),
            _tuple(_I2, _F2, _F2, _I2),
        ),
    }
    gives = {stake: "int64", close: "boolean"}
    made = (
        entry(function, f"{gives.get(function, 'void')}({', '.join(types)})", cache)
        for function, types in signatures.items()
    )
    return CanaryKernels(
        compile_answers(cache=cache),
        compile_reading(cache=cache),
        compile_bounds(cache=cache),
        *made,
    )

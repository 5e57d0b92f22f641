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
from detectors.compiled_types import B1, B2, F1, F2, F3, I1, I2, I3, tuple_of

_WEALTH = tuple_of(I1, F1, F1, I1, I1, I1)


def compile_canary(*, cache: bool) -> CanaryKernels:
    """The kernels, compiled for the types in use and no others. ``cache``: as of
    :func:`detectors.compiled.compile_all`. Raises RuntimeError where this numpy adds in another
    order than they do."""
    if not sums_like_numpy(cache):
        raise RuntimeError("numpy adds doubles in an order that the kernels do not know")
    ranges, pair = tuple_of(*[I1] * 4, *[F1] * 4), tuple_of(F2, I2)
    signatures = {
        tell: (
            tuple_of(I1, I1, F1, F1, B1, B1, *[I1] * 6, "int64"),
            tuple_of(I3, I3, F3, F3, B2),
            tuple_of(I2, *[F2] * 5),
            tuple_of(*[I2] * 5),
            tuple_of(I2, I2, F2, F2, F2, F2, I2),
            tuple_of(I2, F2),
            F2,
            I2,
            tuple_of(F1, F1),
            tuple_of("float64", "int64", "float64"),
            "UniTuple(int64, 2)",
            I3,
            F3,
            tuple_of(I2, F2),
            tuple_of(I3, I3, F2, B2, F2, F2, F2),
        ),
        excuse: ("float64", F2, F2),
        tolerate: (tuple_of(F1, F1), F2, F2),
        stake: (
            ranges,
            tuple_of(I1, I1, I1, F2),
            tuple_of(I1, I1, I1, F1, I1, I1, F1),
            I3,
            I3,
            I3,
            F2,
            F3,
            F1,
            F2,
            F1,
            I1,
        ),
        earn: (
            ranges,
            tuple_of(I1, I1, F1, F1, I1, "int64"),
            tuple_of(I1, I1, I1, I1, F1, F1),
            I1,
            I3,
            I3,
            F2,
            F2,
            F3,
            F1,
            F1,
            F2,
            F2,
        ),
        put_in: (
            _WEALTH,
            "UniTuple(float64, 2)",
            "int64",
            F2,
            F2,
            F2,
            I2,
            pair,
            F2,
            F2,
            I2,
        ),
        settle: (_WEALTH, B2, pair, F2, F2, F2, I2, F2),
        total: (_WEALTH, F2, F2),
        close: (
            _WEALTH,
            "float64",
            B2,
            F2,
            F2,
            F2,
            I2,
            tuple_of(I2, F2, F2, I2),
            tuple_of(I2, F2, F2, I2),
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

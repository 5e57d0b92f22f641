"""Whether the peers and driftline say the same of the same data.

Tools differ in where they put bins, so what is compared is driftline's formula on the peer's own
bins (its published rule, counted with driftline's kernel), or both on driftline's bins. What is
compared with raw values rather than bins can only be bounded, and the bound is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bench.peers_data import COLUMNS, MOVED, NUMBERS, TEXTS
from detectors import statistics
from detectors.kernels import histogram

Answers = Mapping[str, Mapping[str, Any]]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

EXACT: Final = 1e-9
SINGLE: Final = 1e-5
"""alibi-detect gives its statistics in single precision."""
SKETCHED: Final = 0.02
"""whylogs takes distribution functions from a KLL sketch, within about 1.3 % of rank each."""


@dataclass(frozen=True, slots=True)
class Check:
    """``worst``: the greatest difference over ``columns`` columns (relative where EXACT is the
    tolerance, absolute else); NaN where something could not be compared, which is no agreement."""

    what: str
    columns: int
    worst: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.columns > 0 and self.worst <= self.tolerance


@dataclass(frozen=True, slots=True, eq=False)
class Both:
    """The two tables, and what driftline answered on them."""

    reference: pa.Table
    current: pa.Table
    ours: Answers

    def numbers(self, name: str) -> tuple[Floats, Floats]:
        return self.reference[name].to_numpy(), self.current[name].to_numpy()

    def counts(self, name: str) -> tuple[Counts, Counts]:
        """Counts by category of both sides."""
        found = [table[name].combine_chunks() for table in (self.reference, self.current)]
        size = len(found[0].dictionary)
        codes = [np.bincount(side.indices.to_numpy(), minlength=size) for side in found]
        return codes[0].astype(np.int64), codes[1].astype(np.int64)


def counted(values: Floats, edges: Floats) -> Counts:
    """Counts as ``np.histogram`` has them: the last bin is closed; and one cell for all values
    outside the edges, which stands last."""
    bounds = np.append(edges[:-1], np.nextafter(edges[-1], math.inf))
    (counts,) = histogram(values, np.array([0, len(values)]), bounds)
    return np.append(counts[1:-1], counts[0] + counts[-1])


def shared_bins(both: Both, name: str, rule: Callable[[Floats, Floats], Floats]) -> list[Counts]:
    """Counts of both sides in the bins that ``rule`` makes of their values."""
    reference, current = both.numbers(name)
    edges = rule(reference, current)
    return [counted(side, edges) for side in (reference, current)]


def _sturges(reference: Floats, current: Floats) -> Floats:
    return np.histogram_bin_edges(np.concatenate((reference, current)), "sturges")


def _ten(reference: Floats, current: Floats) -> Floats:
    return np.histogram_bin_edges(np.concatenate((reference, current)), 10)


def _doane(reference: Floats, _: Floats) -> Floats:
    return np.histogram_bin_edges(reference, "doane")


def check_evidently(both: Both, theirs: Answers) -> list[Check]:
    return [
        _exact(
            "PSI, our formula and kernel on its bins",
            [
                (statistics.psi(*shared_bins(both, n, _sturges)), theirs[n]["psi"])
                for n in _filled(both, _sturges)
            ],
        ),
        _exact(
            "PSI of texts, our findings",
            [(both.ours[n]["psi"], theirs[n]["psi"]) for n in TEXTS],
        ),
    ]


def check_frouros(both: Both, theirs: Answers) -> list[Check]:
    pairs = [
        (statistics.psi(*shared_bins(both, n, _ten)), theirs[n]["psi"]) for n in _filled(both, _ten)
    ]
    return [_exact("PSI, our formula and kernel on its bins", pairs)]


def check_nannyml(both: Both, theirs: Answers) -> list[Check]:
    return [
        _exact(
            "Jensen-Shannon, our formula and kernel on its bins",
            [
                (
                    statistics.jensen_shannon(*shared_bins(both, n, _doane)),
                    theirs[n]["jensen_shannon"],
                )
                for n in NUMBERS
            ],
        ),
        _exact(
            "Jensen-Shannon of texts, our findings",
            [(both.ours[n]["jensen_shannon"], theirs[n]["jensen_shannon"]) for n in TEXTS],
        ),
    ]


def check_scipy(both: Both, theirs: Answers, tolerance: float = EXACT) -> list[Check]:
    """Our Kolmogorov-Smirnov is read at the bins' edges: never above that of the raw values, and
    below it by less than the share of the largest bin."""
    chi = [(both.ours[n]["chi_square"], theirs[n]["chi_square"]) for n in TEXTS]
    gaps = [theirs[n]["kolmogorov_smirnov"] - both.ours[n]["kolmogorov_smirnov"] for n in NUMBERS]
    room = [_largest_share(both.ours[n]["bins"]) for n in NUMBERS]
    above = max((max(-gap, 0.0) for gap in gaps), default=math.nan)
    below = max((gap - most for gap, most in zip(gaps, room, strict=True)), default=math.nan)
    return [
        _exact("chi-square of texts, our findings", chi, tolerance),
        Check("Kolmogorov-Smirnov: ours is not above", len(gaps), above, tolerance),
        Check("and within the largest bin below", len(gaps), max(below, 0.0), tolerance),
    ]


def check_alibi(both: Both, theirs: Answers) -> list[Check]:
    return check_scipy(both, theirs, SINGLE)


def check_whylogs(both: Both, theirs: Answers) -> list[Check]:
    gaps = []
    for name in NUMBERS:
        reference, current = (np.sort(side) for side in both.numbers(name))
        points = np.concatenate((reference, current))
        below = [np.searchsorted(s, points, "right") / len(s) for s in (reference, current)]
        exact = float(np.abs(below[0] - below[1]).max())
        gaps.append(abs(theirs[name]["kolmogorov_smirnov"] - exact))
    worst = max(gaps, default=math.nan)
    return [
        Check("Kolmogorov-Smirnov of raw values, within its sketch", len(gaps), worst, SKETCHED)
    ]


def check_chdb(both: Both, theirs: Answers) -> list[Check]:
    unlike = [n for n in COLUMNS if list(both.ours[n]["bins"]) != list(theirs[n]["bins"])]
    means = [(both.ours[n]["mean"], theirs[n]["mean"]) for n in NUMBERS]
    deviations = [(both.ours[n]["sd"], theirs[n]["sd"]) for n in NUMBERS]
    return [
        Check("counts in our bins, all equal", len(COLUMNS), float(len(unlike)), 0.0),
        # Ours are sums on a grid of 2**-20 standard deviations.
        _exact("means and standard deviations", [*means, *deviations], 1e-6),
    ]


def check_river(_: Both, theirs: Answers) -> list[Check]:
    """ADWIN takes numbers one by one and keeps no bins: it must find the columns that moved."""
    missed = [n for n in NUMBERS if n in MOVED and not theirs[n]["drift"]]
    return [Check("drift in each column that moved", len(NUMBERS), float(len(missed)), 0.0)]


CHECKS: Final[Mapping[str, Callable[[Both, Answers], list[Check]]]] = {
    "evidently PSI": check_evidently,
    "whylogs": check_whylogs,
    "nannyml JS": check_nannyml,
    "scipy KS + chi-square": check_scipy,
    "chDB SQL": check_chdb,
    "frouros PSI": check_frouros,
    "alibi-detect TabularDrift": check_alibi,
    "river ADWIN": check_river,
}


def _filled(both: Both, rule: Callable[[Floats, Floats], Floats]) -> list[str]:
    """Columns without an empty cell on either side: what is put there differs between tools."""
    return [n for n in NUMBERS if all(side[:-1].all() for side in shared_bins(both, n, rule))]


def _exact(what: str, pairs: list[tuple[float, float]], tolerance: float = EXACT) -> Check:
    gaps = [abs(a - b) / max(abs(a), abs(b), 1e-12) for a, b in pairs]
    worst = math.nan if any(map(math.isnan, gaps)) else max(gaps, default=math.nan)
    return Check(what, len(pairs), worst, tolerance)


def _largest_share(bins: list[int]) -> float:
    return max(bins) / sum(bins)

"""HDDM and KSWIN: two stretches of a stream compared by a bound for one comparison.

HDDM-A compares the mean of everything with the mean up to the best cut so far (Hoeffding's bound),
HDDM-W does so with fading means (McDiarmid's): Frias-Blanco et al., IEEE TKDE 2014. KSWIN compares
the newest values with older ones by the two-sample Kolmogorov-Smirnov test: Raab, Heusinger and
Schleif, Neurocomputing 2020. Parameters are those of the library river; HDDM's alarms are the same
as its, value by value. The bounds hold for one comparison, and there is one at each value: they are
no budget of false alarms.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import lru_cache

from detectors.online_adwin import MOST_VALUES, Memory, Parameters

MOST_WINDOW = 1000
"""Values that KSWIN may keep."""
_SMALLEST_DISTANCE = 0.1
_FADING_START = (0.0, 0.0, 1.0)


def hddm_a(memory: Memory, value: float, p: Parameters) -> tuple[Memory, bool, float]:
    """``value``: 0 to 1. Alarms when the mean has risen; with ``two_sided_test`` 1 also when it
    has fallen."""
    n, mean, low_n, low, high_n, high = memory or (0.0,) * 6
    n += 1.0
    mean += (value - mean) / n
    if not low_n:
        low_n, low, high_n, high = n, mean, n, mean
    confidence = p["drift_confidence"]
    reach = _hoeffding(n, confidence)
    if low + _hoeffding(low_n, confidence) >= mean + reach:
        low_n, low = n, mean
    if high - _hoeffding(high_n, confidence) <= mean - reach:
        high_n, high = n, mean
    way = _beyond(mean - low, low_n, n, confidence)
    if p["two_sided_test"]:
        way = max(way, _beyond(high - mean, high_n, n, confidence))
    if way >= 1.0:
        return (), True, way
    return (n, mean, low_n, low, high_n, high), False, max(way, 0.0)


def hddm_w(memory: Memory, value: float, p: Parameters) -> tuple[Memory, bool, float]:
    """As :func:`hddm_a`, with means that fade by ``lambda_val``."""
    confidence, weight = p["drift_confidence"], p["lambda_val"]
    if memory:
        total, rise, fall = memory[:3], memory[3:10], memory[10:17]
    else:
        total, rise, fall = _FADING_START, (math.inf, *_FADING_START, *_FADING_START), ()
        fall = (-math.inf, *_FADING_START, *_FADING_START)
    total = _faded(total, value, weight)
    reach = math.sqrt(total[2] * math.log(1.0 / confidence) / 2.0)
    if total[1] + reach < rise[0]:
        rise = (total[1] + reach, *total, *_FADING_START)
    else:
        rise = (*rise[:4], *_faded(rise[4:], value, weight))
    if total[1] - reach > fall[0]:
        fall = (total[1] - reach, *total, *_FADING_START)
    else:
        fall = (*fall[:4], *_faded(fall[4:], value, weight))
    way = _apart(rise, 1.0, confidence)
    if p["two_sided_test"]:
        way = max(way, _apart(fall, -1.0, confidence))
    if way > 1.0:
        return (), True, way
    return (*total, *rise, *fall), False, max(way, 0.0)


def kswin(memory: Memory, value: float, p: Parameters) -> tuple[Memory, bool, float]:
    """The newest ``stat_size`` of ``window_size`` values against as many of the older ones, spread
    evenly over them. river draws them at random; a replay must find the same ones. Where the older
    ones are just as many, alarms are the same as river's."""
    window, size = int(p["window_size"]), int(p["stat_size"])
    kept = (*memory[-(window - 1) :], value) if window > 1 else (value,)
    if len(kept) < window:
        return kept, False, 0.0
    older, newer = window - size, sorted(kept[window - size :])
    chosen = sorted(kept[i * older // size] for i in range(size))
    steps = _largest_gap(chosen, newer)
    needed = _steps_needed(size, p["alpha"])
    if steps >= needed and steps > _SMALLEST_DISTANCE * size:
        return (), True, steps / needed
    return kept, False, min(steps / needed, 1.0)


def hddm_a_readable(memory: Memory) -> bool:
    """Whether numbers from outside can be a memory of :func:`hddm_a`."""
    if not memory:
        return True
    if len(memory) != 6 or not all(map(math.isfinite, memory)):
        return False
    n, _, low_n, _, high_n, _ = memory
    return 1 <= low_n <= n <= MOST_VALUES and 1 <= high_n <= n


def hddm_w_readable(memory: Memory) -> bool:
    """Whether numbers from outside can be a memory of :func:`hddm_w`."""
    if not memory:
        return True
    if len(memory) != 17 or any(map(math.isnan, memory)):
        return False
    samples = (memory[:3], memory[4:7], memory[7:10], memory[11:14], memory[14:17])
    return all(n in (0, 1) and math.isfinite(mean) and 0 < sq <= 1 for n, mean, sq in samples)


def kswin_readable(memory: Memory) -> bool:
    """Whether numbers from outside can be a memory of :func:`kswin`."""
    return len(memory) <= MOST_WINDOW and all(map(math.isfinite, memory))


def _hoeffding(n: float, confidence: float) -> float:
    return math.sqrt(math.log(1.0 / confidence) / (2.0 * n))


def _beyond(apart: float, cut: float, n: float, confidence: float) -> float:
    """A difference of the mean of n values and that of the first ``cut``, over its bound."""
    if cut == n:
        return 0.0
    bound = math.sqrt((n - cut) / cut / n / 2.0 * math.log(2.0 / confidence))
    return apart / bound


def _faded(sample: Memory, value: float, weight: float) -> Memory:
    """(values, fading mean, sum of squared weights) after one more value."""
    n, mean, squares = sample
    mean = value if n == 0 else weight * value + (1.0 - weight) * mean
    return (1.0, mean, weight * weight + (1.0 - weight) ** 2 * squares)


def _apart(cut: Memory, sign: float, confidence: float) -> float:
    before, after = cut[1:4], cut[4:7]
    if not before[0] or not after[0]:
        return 0.0
    bound = math.sqrt((before[2] + after[2]) * math.log(1.0 / confidence) / 2.0)
    return sign * (after[1] - before[1]) / bound


def _largest_gap(first: list[float], second: list[float]) -> int:
    """The largest difference of two empirical distribution functions of the same size, in steps."""
    return max(abs(bisect_right(first, x) - bisect_right(second, x)) for x in (*first, *second))


@lru_cache(maxsize=64)
def _steps_needed(size: int, alpha: float) -> int:
    """The smallest distance of two samples of ``size`` values, in steps of 1/size, whose exact
    p-value is at most ``alpha``; ``size + 1`` if there is none. (Gnedenko and Korolyuk, 1951.)

    >>> _steps_needed(30, 0.005)
    14
    """
    whole = math.comb(2 * size, size)
    for steps in range(1, size + 1):
        tail = sum(
            (-1) ** (i + 1) * math.comb(2 * size, size - i * steps)
            for i in range(1, size // steps + 1)
        )
        if 2 * tail / whole <= alpha:
            return steps
    return size + 1

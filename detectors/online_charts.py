"""Page-Hinkley, DDM and EDDM: control charts on a running mean, remembered in a few numbers.

Each is the method that people know, with the parameters and the alarms of the library river, value
by value. None keeps a budget of false alarms: the running estimates that they compare with are
compared again at every value.
"""

from __future__ import annotations

import math

from detectors.online_adwin import MOST_VALUES, Memory, Parameters


def page_hinkley(memory: Memory, value: float, p: Parameters) -> tuple[Memory, bool, float]:
    """The sum of deviations from the running mean, less a slack, has risen by ``threshold`` above
    its lowest point (or fallen as far below its highest): Page, Biometrika 1954, in the form of
    Sebastiao and Fernandes (2017) that fades sums by ``alpha``.

    Returns the memory (empty after an alarm), whether it is an alarm, and how far it is on the way
    (1: at the threshold). ``value`` should have a standard deviation of about 1.
    """
    n, mean, risen, fallen, lowest, highest = memory or (0.0, 0.0, 0.0, 0.0, math.inf, -1.0)
    n += 1.0
    mean += (value - mean) / n
    away = value - mean
    risen = p["alpha"] * risen + away - p["delta"]
    fallen = p["alpha"] * fallen + away + p["delta"]
    lowest, highest = min(lowest, risen), max(highest, fallen)
    if n < p["min_instances"]:
        return (n, mean, risen, fallen, lowest, highest), False, 0.0
    most = max(risen - lowest, highest - fallen)
    if most > p["threshold"]:
        return (), True, most / p["threshold"]
    return (n, mean, risen, fallen, lowest, highest), False, most / p["threshold"]


def ddm(memory: Memory, value: float, p: Parameters) -> tuple[Memory, bool, float]:
    """The error rate lies ``drift_threshold`` of its standard errors above the lowest level that
    it ever had: Gama et al., "Learning with drift detection", SBIA 2004. ``value``: 0 to 1."""
    n, rate, lowest_rate, lowest_error = memory or (0.0, 0.0, math.inf, 0.0)
    n += 1.0
    rate += (value - rate) / n
    if n <= p["warm_start"]:
        return (n, rate, lowest_rate, lowest_error), False, 0.0
    error = math.sqrt(max(rate * (1.0 - rate), 0.0) / n)
    if rate + error <= lowest_rate + lowest_error:
        lowest_rate, lowest_error = rate, error
    above = rate + error - lowest_rate
    limit = p["drift_threshold"] * lowest_error
    way = above / limit if limit > 0 else (math.inf if above > 0 else 0.0)
    if above > limit:
        return (), True, way
    return (n, rate, lowest_rate, lowest_error), False, min(way, 1.0)


def eddm(memory: Memory, value: float, p: Parameters) -> tuple[Memory, bool, float]:
    """Errors come closer together than they ever did, mean and twice the standard deviation of
    their distances taken together: Baena-Garcia et al., "Early drift detection method", 2006.
    ``value``: exactly 1 is an error. The way to an alarm is measured from a ratio of 1."""
    n, last, errors, mean, squares, farthest, way = memory or (0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    n += 1.0
    if value != 1.0:
        return (n, last, errors, mean, squares, farthest, way), False, way
    errors += 1.0
    distance = n - last
    before = mean
    mean += (distance - mean) / errors
    squares += (distance - mean) * (distance - before)
    if n > p["warm_start"]:
        variance = squares / (errors - 1.0) if errors > 1.0 else 0.0
        reach = mean + 2.0 * math.sqrt(max(variance, 0.0))
        if reach > farthest:
            farthest, way = reach, 0.0
        elif errors > p["warm_start"]:
            ratio = reach / farthest
            way = (1.0 - ratio) / (1.0 - p["beta"])
            if ratio < p["beta"]:
                return (), True, way
    return (n, n, errors, mean, squares, farthest, way), False, min(way, 1.0)


def page_hinkley_readable(memory: Memory) -> bool:
    """Whether numbers from outside can be a memory of :func:`page_hinkley`."""
    return not memory or (len(memory) == 6 and _counted(memory[0]) and not _holes(memory))


def ddm_readable(memory: Memory) -> bool:
    """Whether numbers from outside can be a memory of :func:`ddm`."""
    if not memory:
        return True
    if len(memory) != 4 or _holes(memory) or not _counted(memory[0]):
        return False
    return 0 <= memory[1] <= 1 and memory[2] >= 0 and memory[3] >= 0


def eddm_readable(memory: Memory) -> bool:
    """Whether numbers from outside can be a memory of :func:`eddm`."""
    if not memory:
        return True
    if len(memory) != 7 or not all(map(math.isfinite, memory)) or not _counted(memory[0]):
        return False
    n, last, errors, mean, squares, farthest, way = memory
    counts = 0 <= last <= n and 0 <= errors <= n
    return counts and mean >= 0 <= squares and way >= 0 and (farthest == -1 or farthest > 0)


def _counted(n: float) -> bool:
    return 1 <= n <= MOST_VALUES


def _holes(memory: Memory) -> bool:
    return any(map(math.isnan, memory))

"""What the measures of canaries say now, for numba: all that lies between logarithms.

**Guarantee.** Every bit is that of the numpy form (:mod:`detectors.canary_answers`,
:mod:`detectors.canary_shares`), which is what runs where numba is not installed and says what each
line is for; property tests hold the two equal. See :mod:`detectors.compiled_canary` for how.

P releases with the same book, M parts, L levels, H shares held to a limit, B bets.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.answer_kernels import AnswerKernels
from detectors.canary_answers import FEWEST_CASES, MOST_EVENTS, NEVER, WAYS, Answer
from detectors.compiled_parts import entry, larger, part, smaller
from detectors.compiled_types import B1, B2, F1, F2, F3, I1, I2, I3, tuple_of
from detectors.upstream import Direction

_FAILED, _NO_VALUES, _NO_PAIRS, _CONSTANT, _NO_VARIATION = map(int, tuple(Answer)[:5])
_FEW_VALUES, _FEW_CASES, _INSIDE, _BEYOND, _OPEN = map(int, tuple(Answer)[5:])
_UP, _DOWN = WAYS.index(Direction.UP), WAYS.index(Direction.DOWN)


def look(
    held: Any, levels: Any, sequences: Any, shares: Any, factor: Any, limits: Any, logs: Any
) -> None:
    """How far each share may go, [8, P, H]: the share, the highest at a limit, and for the ways up
    and down the room, the variance and r2. ``logs``: what logarithms are taken of, for shares [2,
    P, H] and levels [P, L]. ``held``: of each share; ``levels``: the parts that are."""
    owner, tail, _, beyond, margins, floors = held
    values, against, _, variance, _, r2, _ = sequences
    cases, expected = shares
    of_shares, of_levels = logs
    for p in range(factor.shape[0]):
        for h in range(owner.size):
            i = owner[h]
            n = np.float64(max(values[p, i], 1))
            usual = expected[p, h] / n + 0.5 / (np.float64(against[p, i]) + 1.0)
            usual = beyond[h] if tail[h] else smaller(usual, 1.0)
            margin, floor = margins[h], floors[h]
            spread, odds = usual * (1.0 - usual), 1.0 + margin
            at = 1.0 + margin * usual
            by_odds, by_floor = odds * usual / at, smaller(usual + floor, 1.0)
            most = larger(by_odds, by_floor)
            up = odds / (at * at) if by_odds >= by_floor else 1.0
            at = odds - margin * usual
            fall = usual - usual / at
            down = odds / (at * at) if fall >= floor else 1.0
            ours, theirs = most * (1.0 - most), larger(variance[p, i] - n, 0.0)
            limits[0, p, h] = (np.float64(cases[p, h]) - expected[p, h]) / n
            limits[1, p, h] = most
            limits[2, p, h] = 0.0 if tail[h] else most - usual
            limits[3, p, h] = 0.0 if tail[h] else larger(fall, floor)
            limits[4, p, h] = n * ours + theirs * (up * up * spread)
            limits[5, p, h] = n * spread + theirs * (down * down * spread)
            limits[6, p, h] = r2[p, i] * ours
            limits[7, p, h] = r2[p, i] * spread
            for way in range(2):
                noise = factor[p, i] * limits[4 + way, p, h]
                of_shares[way, p, h] = noise / limits[6 + way, p, h]
        for level in range(levels.size):
            i = levels[level]
            of_levels[p, level] = factor[p, i] / (r2[p, i] / variance[p, i])


@part
def _half(limits: Any, logs: Any, way: Any, p: Any, h: Any, n: Any, factor: Any, twice: Any) -> Any:
    noise = factor * limits[4 + way, p, h]
    return np.sqrt((noise + limits[6 + way, p, h]) * (logs[way, p, h] - twice)) / n


@part
def _share(
    held: Any, limits: Any, logs: Any, factor: Any, n: Any, twice: Any, p: Any, at: Any
) -> Any:
    """Of a part the share that is nearest to its limit: its figures as in :func:`answer`, the
    rarest at a limit, and whether all are inside. ``at``: where its shares begin and how many."""
    _, tail, both, _, _, _ = held
    worst, nearest, way, ups, downs, rarest = np.inf, -1, 0, 0.0, 0.0, np.inf
    for h in range(at[0], at[0] + at[1]):
        share = limits[0, p, h]
        up = _half(limits, logs, 0, p, h, n, factor, twice)
        down = _half(limits, logs, 1, p, h, n, factor, twice)
        above = limits[2, p, h] - share - up
        below = limits[3, p, h] - -share - down if both[h] else np.inf
        # What is not a number is farthest.
        above = -np.inf if np.isnan(above) else above
        below = -np.inf if np.isnan(below) else below
        least = smaller(above, below)
        rarest = smaller(rarest, limits[1, p, h])
        if nearest < 0 or least < worst:
            worst, nearest, way, ups, downs = least, h, int(below < above), up, down
    share, room = limits[0, p, nearest], limits[2 + way, p, nearest]
    margin = np.nan if tail[nearest] else room
    room = room - -share if way else room - share
    spread, r2 = limits[4 + way, p, nearest], limits[6 + way, p, nearest]
    return (share, share - downs, share + ups, margin, spread, r2, room), rarest, worst > 0


@part
def _level(sequence: Any, log: Any, factor: Any, twice: Any, margin: Any, sign: Any) -> Any:
    """Of a level its figures as in :func:`answer`, and whether it is inside."""
    n, against, total, variance, within, r2 = sequence
    estimate = total / np.float64(n)
    limit = margin * np.sqrt(within / np.float64(against))
    unit = r2 / variance
    inner = (factor + unit) * (log - twice)
    half = np.sqrt(variance) * (np.sqrt(inner) / np.float64(n))
    known = n > 0 and variance > 0 and unit > 0 and np.isfinite(unit) and np.isfinite(factor)
    half = half if known else np.nan
    room = limit - (abs(estimate) if sign == 0 else sign * estimate)
    return (estimate, estimate - half, estimate + half, limit, variance, r2, room), half < room


@part
def _said(failed: Any, n: Any, unmatched: Any, flat: Any, still: Any, enough: Any) -> Any:
    """The first of :class:`detectors.canary_answers.Answer` that holds. ``enough``: whether there
    are values and cases; whether all is inside, or could be."""
    if failed:
        return _FAILED
    if n == 0:
        return _NO_VALUES if unmatched == 0 else _NO_PAIRS
    if flat:
        return _CONSTANT if still else _NO_VARIATION
    values, cases, inside, room = enough
    if not values:
        return _FEW_VALUES
    if not cases:
        return _FEW_CASES
    if inside:
        return _INSIDE
    return _OPEN if room else _BEYOND


@part
def _until_failed(wealth: Any, needed: Any, tallies: Any, p: Any, i: Any, bets: Any) -> Any:
    """``bets``: where those of part ``i`` begin, and how many it has."""
    log_wealth, onset_ms, all_evidence = wealth[:3]
    n, _, _, first_ms, last_ms = tallies
    evidence, span = all_evidence[p, i], last_ms[p, i] - first_ms[p, i]
    if not (evidence > 0 and span > 0):
        return NEVER
    leader = bets[0]
    for b in range(bets[0], bets[0] + bets[1]):
        if log_wealth[p, b] > log_wealth[p, leader]:
            leader = b
    since = last_ms[p, i] - (onset_ms[p, leader] if bets[1] else 0)
    part_of = smaller(larger(np.float64(since) / np.float64(max(span, 1)), 0.0), 1.0)
    further = np.ceil((needed - evidence) * (n[p, i] * part_of) / evidence)
    return np.int64(further) if further < MOST_EVENTS else NEVER


def answer(
    held: Any,
    parts: Any,
    bets: Any,
    numbers: Any,
    wealth: Any,
    tallies: Any,
    sequences: Any,
    factor: Any,
    limits: Any,
    logs: Any,
    figures: Any,
    told: Any,
    open_: Any,
) -> None:
    """``figures`` [8, P, M]: estimate, low, high, margin, variance, r2, room, and events per ms;
    ``told`` [5, P, M]: answer, way, cases, events until it fails and until it passes. Those wait
    for the interval where it is ``open_`` [P, M]. ``numbers``: 2 ln alpha, fewest events."""
    level_at, share_starts, share_sizes, margins, signs, ways, both_ways, needed = parts
    twice, min_events = numbers
    of_shares, of_levels = logs
    for p in range(factor.shape[0]):
        first_bet = 0
        for i in range(level_at.size):
            n, unmatched = tallies[0][p, i], tallies[2][p, i]
            values, against, total = sequences[0][p, i], sequences[1][p, i], sequences[2][p, i]
            variance, within, r2 = sequences[3][p, i], sequences[4][p, i], sequences[5][p, i]
            level, inside, rarest = level_at[i] < of_levels.shape[1], False, np.nan
            found = np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan
            if level:
                found, inside = _level(
                    (values, against, total, variance, within, r2),
                    of_levels[p, level_at[i]],
                    factor[p, i],
                    twice,
                    margins[i],
                    signs[level_at[i]],
                )
            elif share_sizes[i] and values > 0 and variance > 0 and r2 > 0:
                found, rarest, inside = _share(
                    held,
                    limits,
                    of_shares,
                    factor[p, i],
                    np.float64(values),
                    twice,
                    p,
                    (share_starts[i], share_sizes[i]),
                )
            for k in range(7):
                figures[k, p, i] = found[k]
            span = tallies[4][p, i] - tallies[3][p, i]
            figures[7, p, i] = np.float64(n) / np.float64(max(span, 1)) if span > 0 else 0.0
            cases = larger(np.ceil(FEWEST_CASES / rarest) - n, 0.0)
            cases = 0.0 if np.isnan(cases) else cases
            failed = wealth[3][p, i] >= needed[i]
            still = values > 0 and sequences[6][p, i] == 0 and total == 0
            flat = level and not variance > 0
            enough = n >= min_events, cases <= 0, inside, found[6] > 0
            said = _said(failed, n, unmatched, flat, still, enough)
            told[0, p, i] = said
            went = _UP if total > 0 else _DOWN
            told[1, p, i] = went if both_ways[i] and values > 0 else ways[i]
            told[2, p, i] = np.int64(smaller(cases, MOST_EVENTS))
            of_part = first_bet, bets[i]
            first_bet += bets[i]
            told[3, p, i] = 0
            if not failed:
                told[3, p, i] = _until_failed(wealth, needed[i], tallies, p, i, of_part)
            further = larger(larger(np.float64(min_events - n), cases), 0.0)
            # What is at its limit or beyond never passes if things go on as they have.
            passes = not failed and n > 0 and (inside or found[6] > 0)
            told[4, p, i] = np.int64(smaller(further, MOST_EVENTS)) if passes else NEVER
            open_[p, i] = passes and not inside


def compile_answers(*, cache: bool) -> AnswerKernels:
    """The kernels, compiled for the types in use and no others; see
    :func:`detectors.compiled_canary.compile_canary`."""
    held, logs = tuple_of(I1, B1, B1, F1, F1, F1), tuple_of(F3, F2)
    sequences = tuple_of(I2, I2, F2, F2, F2, F2, I2)
    look_at = held, I1, sequences, tuple_of(I2, F2), F2, F3, logs
    answered = (
        held,
        tuple_of(I1, I1, I1, F1, F1, I1, B1, F1),
        I1,
        tuple_of("float64", "int64"),
        tuple_of(F2, I2, F2, F2),
        tuple_of(*[I2] * 5),
        sequences,
        F2,
        F3,
        logs,
        F3,
        I3,
        B2,
    )
    return AnswerKernels(
        entry(look, f"void({', '.join(look_at)})", cache),
        entry(answer, f"void({', '.join(answered)})", cache),
    )

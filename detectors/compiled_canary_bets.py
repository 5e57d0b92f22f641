"""How the bets on canaries are settled and what they earn, for numba; see
:mod:`detectors.compiled_canary`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from detectors.canary_bets import LEAST_RATE, MOST_BY_HOST
from detectors.canary_evidence import ROUNDING, ROWS
from detectors.compiled_parts import added, larger, part, smaller
from detectors.conditional import TIGHT_SHARE

_DENSITIES = math.sqrt(2.0 * math.pi)


def excuse(host: Any, rate: Any, odds: Any) -> None:
    """The first part of :func:`detectors.canary_bets.tolerated_odds`: the logarithm of the odds
    ratio that hosts may make at each ``rate``, [P, Q]. ``odds``: exp(-z**2 / 2) of the rate's
    normal score, in place of which it is left."""
    for p in range(rate.shape[0]):
        for q in range(rate.shape[1]):
            here = rate[p, q]
            found = host * (odds[p, q] / _DENSITIES) / (here * (1.0 - here))
            odds[p, q] = smaller(found, MOST_BY_HOST)


def tolerate(table: Any, rate: Any, odds: Any) -> None:
    """The rest of it. ``table``: margin and floor, [Q]; ``odds``: by now the odds ratio that hosts
    may make, in place of which is left what is let pass, [P, Q]."""
    margin, floor = table
    for p in range(rate.shape[0]):
        for q in range(rate.shape[1]):
            here = rate[p, q]
            risen = smaller(here + floor[q], 1.0 - LEAST_RATE)
            by_floor = risen / (1.0 - risen) * (1.0 - here) / here
            found = larger(larger(1.0 + margin[q], odds[p, q]), by_floor)
            odds[p, q] = np.ceil(found * 100.0) / 100.0


@part
def _sum_levels(levels: Any, ends: Any, pane: Any, p: Any, sums: Any, gains: Any) -> Any:
    """Sums over the cells of levels in each law, and the shares at the ends of their scales, times
    what is won there. Returns whether one of them has much of the pane."""
    owner, cells, starts, weights = levels
    level, place, end_cells, end_weights, end_starts, on, gain = ends
    counts, n = pane
    rows, width = weights.shape
    shares, room = np.empty(width), np.empty(max(width, end_cells.size))
    tight = False
    for i in range(owner.size):
        ours = np.float64(n[0, p, owner[i]])
        events = larger(np.float64(n[0, p, owner[i]] + n[1, p, owner[i]]), 1.0)
        tight |= ours > TIGHT_SHARE * events
        stop = starts[i + 1] if i + 1 < owner.size else width
        for c in range(starts[i], stop):
            pooled = counts[0, p, cells[c]] + counts[1, p, cells[c]]
            shares[c] = np.float64(pooled) / events
    for row in range(rows):
        for c in range(width):
            room[c] = weights[row, c] * shares[c]
        for i in range(owner.size):
            stop = starts[i + 1] if i + 1 < owner.size else width
            sums[(p * rows + row) * owner.size + i] = added(room, starts[i], stop - starts[i])
    for c in range(end_cells.size):
        room[c] = shares[end_cells[c]] * end_weights[c]
    base = p * rows * owner.size
    found = np.empty(level.size)
    for d in range(level.size):
        stop = end_starts[d + 1] if d + 1 < level.size else end_cells.size
        inside = added(room, end_starts[d], stop - end_starts[d])
        found[d] = inside / sums[base + place[d]]
    for e in range(on.size):
        gains[p * on.size + e] = gain[e] * found[on[e]]
    return tight


def stake(
    ranges: Any,
    levels: Any,
    ends: Any,
    cells: Any,
    upto: Any,
    n: Any,
    rate_tilt: Any,
    bets: Any,
    gains: Any,
    share: Any,
    sums: Any,
    chosen: Any,
) -> Any:
    """What logarithms are taken of to settle bets. ``bets``: logarithms of bet and of tilt of those
    on ranges, [2, P, R], and the ``share`` that each range has, [P, R]; ``gains`` of those on ends,
    [P * E]; ``sums`` over levels, [P * rows * L]. ``chosen``, [P]: filled with the releases whose
    canary has so much of any part that the tighter bound is to be tried; returns how many."""
    owner, first, stop, rate_of, tilt, sign, log_factor, _ = ranges
    many = 0
    for p in range(cells.shape[1]):
        tight = False
        for r in range(owner.size):
            i = owner[r]
            events = larger(np.float64(n[0, p, i] + n[1, p, i]), 1.0)
            tight |= np.float64(n[0, p, i]) > TIGHT_SHARE * events
            ours = upto[0, p, stop[r]] - upto[0, p, first[r]]
            theirs = upto[1, p, stop[r]] - upto[1, p, first[r]]
            share[p, r] = np.float64(ours + theirs) / events
            by_rate = rate_tilt[p, rate_of[r]] if rate_of[r] < rate_tilt.shape[1] else 0.0
            tilted = tilt[r] + sign[r] * by_rate
            bets[0, p, r] = tilted + log_factor[r]
            bets[1, p, r] = tilted
        tight |= _sum_levels(levels, ends, (cells, n), p, sums, gains)
        if tight:
            chosen[many] = p
            many += 1
    return many


def earn(
    ranges: Any,
    shifts: Any,
    ends: Any,
    order: Any,
    upto: Any,
    n: Any,
    first: Any,
    rate_tilt: Any,
    bets: Any,
    gains: Any,
    logs: Any,
    bounds: Any,
    log_e: Any,
) -> None:
    """Logarithms of e-values, ``log_e`` [P, B]. ``bets``, ``gains``: by now ln(1 + share *
    expm1(...)) and ln(1 + ...); ``logs``: of sums; ``bounds``: tighter ones of what is owed on
    ranges and behind them on shifts, [P, R + rows * L], or none if no canary has much of the
    pane."""
    owner, begins, stop, rate_of, _, _, log_factor, magnitude = ranges
    part_of, place, shift, shift_magnitude, level_of, levels = shifts
    on, end_part, end_first, end_stop, end_factor, end_magnitude = ends
    rows = 2 * ROWS
    count = owner.size + part_of.size + on.size
    found = np.empty(count)
    for p in range(n.shape[1]):
        for r in range(owner.size):
            ours = np.float64(n[0, p, owner[r]])
            fair = (bets[0, p, r] - bets[1, p, r]) * ours
            if bounds.size:
                fair = smaller(fair, bounds[p, r])
            drawn = np.float64(upto[0, p, stop[r]] - upto[0, p, begins[r]])
            by_rate = rate_tilt[p, rate_of[r]] if rate_of[r] < rate_tilt.shape[1] else 0.0
            found[r] = log_factor[r] * drawn - fair - (magnitude[r] + by_rate) * (ROUNDING * ours)
        base = p * rows * levels
        for s in range(part_of.size):
            ours = np.float64(n[0, p, part_of[s]])
            row, level = place[s] // levels, place[s] % levels
            plain = logs[base + (row // ROWS) * ROWS * levels + level]
            owed = (logs[base + place[s]] - plain) * np.float64(n[0, p, level_of[level]])
            if bounds.size:
                owed = smaller(owed, bounds[p, owner.size + place[s]])
            won = shift[s] * first[p, part_of[s]] - owed
            found[owner.size + s] = won - ROUNDING * shift_magnitude[s] * ours
        for e in range(on.size):
            d = on[e]
            ours = np.float64(n[0, p, end_part[d]])
            drawn = np.float64(upto[0, p, end_stop[d]] - upto[0, p, end_first[d]])
            won = end_factor[e] * drawn - ours * gains[p * on.size + e]
            found[owner.size + part_of.size + e] = won - ROUNDING * end_magnitude[e] * ours
        for b in range(count):
            log_e[p, b] = found[order[b]]


def put_in(
    table: Any,
    numbers: Any,
    start_ms: Any,
    log_e: Any,
    factor: Any,
    fresh: Any,
    panes: Any,
    old: Any,
    wealth: Any,
    apart: Any,
    onset: Any,
) -> None:
    """The first part of :meth:`detectors.canary_wealth.Wealth.step`: the new money, and what bets
    win, which is left in ``log_e``. ``wealth`` + ln(1 + e**``apart``) is the logarithm of the money
    with the new; ``fresh``: logarithms of the new, put right for parts that were not bet on yet."""
    owner, log_part, needed, _, _, _ = table
    burst, at_once = numbers
    log_wealth, onset_ms = old
    for p in range(log_e.shape[0]):
        for i in range(needed.size):
            if panes[p, i] == 0:
                fresh[p, i] = at_once
        for b in range(owner.size):
            i = owner[b]
            new = fresh[p, i] + log_part[b]
            before = log_wealth[p, b]
            onset[p, b] = start_ms if new > before else onset_ms[p, b]
            won = log_e[p, b] / factor[p, i]
            log_e[p, b] = smaller(0.0 if won != won else won, burst * needed[i] - log_part[b])
            most = larger(before, new)
            wealth[p, b] = most
            apart[p, b] = smaller(before, new) - most


def settle(
    table: Any, bet_on: Any, old: Any, apart: Any, gain: Any, wealth: Any, onset: Any, best: Any
) -> None:
    """Wealth after the pane. ``apart``: ln(1 + e**...); left in it: what each bet has less than the
    ``best`` of its part, [P, betting parts]."""
    _, _, _, betting, starts, held = table
    log_wealth, onset_ms = old
    for p in range(wealth.shape[0]):
        for k in range(betting.size):
            moved = bet_on[p, betting[k]]
            first, stop = starts[k], starts[k] + held[k]
            most = -np.inf
            for b in range(first, stop):
                if moved:
                    wealth[p, b] = wealth[p, b] + apart[p, b] + gain[p, b]
                else:
                    wealth[p, b] = log_wealth[p, b]
                    onset[p, b] = onset_ms[p, b]
                most = larger(most, wealth[p, b])
            best[p, k] = most
            known = most if np.isfinite(most) else 0.0
            for b in range(first, stop):
                apart[p, b] = wealth[p, b] - known


def total(table: Any, parts: Any, totals: Any) -> None:
    """The wealth of each part that has bets, [P, betting parts], in units of its best bet's."""
    _, _, _, betting, starts, held = table
    for p in range(parts.shape[0]):
        for k in range(betting.size):
            totals[p, k] = added(parts[p], starts[k], held[k])


def close(
    table: Any,
    burst: Any,
    bet_on: Any,
    best: Any,
    totals: Any,
    wealth: Any,
    onset: Any,
    old: Any,
    new: Any,
) -> Any:
    """The rest of it: evidence, and peaks. ``totals``: their logarithms. Returns whether a part won
    more than one pane may add; then nothing is said of peaks."""
    _, _, needed, betting, starts, held = table
    panes, evidence, peak, since = old
    new_panes, new_evidence, new_peak, new_since = new
    over = False
    for p in range(panes.shape[0]):
        for i in range(needed.size):
            new_panes[p, i] = panes[p, i] + bet_on[p, i]
            new_evidence[p, i] = evidence[p, i]
            new_peak[p, i] = peak[p, i]
            new_since[p, i] = since[p, i]
        for k in range(betting.size):
            i = betting[k]
            if bet_on[p, i]:
                new_evidence[p, i] = best[p, k] + totals[p, k]
            over |= new_evidence[p, i] - evidence[p, i] > burst * needed[i]
            if new_evidence[p, i] > peak[p, i]:
                new_peak[p, i] = new_evidence[p, i]
                for b in range(starts[k], starts[k] + held[k]):
                    if wealth[p, b] == best[p, k]:
                        new_since[p, i] = onset[p, b]
                        break
    return over

"""What a pane of canaries changes but for their money, for numba; see
:mod:`detectors.compiled_canary`."""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.canary_bets import LEAST_RATE
from detectors.compiled_parts import added, larger, part, smaller
from detectors.dispersion import ERROR, FEWEST_PANES, MOST_CORRELATION, MOST_FACTOR
from detectors.e_process import AT_ONCE


@part
def _factor(panes: Any, squares: Any, products: Any) -> Any:
    """Of :class:`detectors.dispersion.Dispersion`."""
    if not (panes >= FEWEST_PANES and squares > 0):
        return 1.0
    n = np.float64(max(panes, 1))
    together = smaller(larger(products / squares, 0.0), MOST_CORRELATION)
    found = squares / n * (1.0 + together) / (1.0 - together)
    found /= 1.0 + np.sqrt(ERROR / n)
    return smaller(larger(found, 1.0), MOST_FACTOR)


@part
def _sum_up(cells: Any, p: Any, values: Any, scores: Any, upto: Any, valued: Any) -> None:
    """Running counts of both arms, and in ``valued`` what their cells stand for, and the canary's
    scores. Of all cells in one go, which the compiler takes several of at once."""
    for arm in range(2):
        sum_ = 0
        upto[arm, p, 0] = 0
        for c in range(values.size):
            sum_ += cells[arm, p, c]
            upto[arm, p, c + 1] = sum_
        counts, into = cells[arm, p], valued[arm]
        for c in range(values.size):
            into[c] = np.float64(counts[c]) * values[c]
    counts, into = cells[0, p], valued[2]
    for c in range(values.size):
        into[c] = np.float64(counts[c]) * scores[c]


@part
def _gap(
    cells: Any, values: Any, valued: Any, room: Any, p: Any, at: Any, stop: Any, n: Any, m: Any
) -> Any:
    """Of :func:`detectors.dispersion.differences`: gap, weight, and whether they are known."""
    ours_sum = added(valued[0], at, stop - at)
    theirs_sum = added(valued[1], at, stop - at)
    ours, theirs = np.float64(max(n, 1)), np.float64(max(m, 1))
    total = ours + theirs
    center = (ours_sum + theirs_sum) / total
    for c in range(at, stop):
        apart = values[c] - center
        room[c] = np.float64(cells[0, p, c] + cells[1, p, c]) * (apart * apart)
    squares = added(room, at, stop - at)
    known = n > 0 and m > 0 and squares > 0
    spread = np.sqrt((squares if known else 1.0) / (total - 1.0))
    gap = (ours_sum / ours - theirs_sum / theirs) / spread
    return gap, ours * (theirs / total), known


@part
def _scatter(old: Any, new_ints: Any, new: Any, p: Any, i: Any, pane: Any, seen: Any) -> None:
    """:meth:`detectors.dispersion.Dispersion.step`."""
    panes, weight, weighted, squares, products, last = old
    gap, mine, known = pane
    more, moved = weight[p, i] + mine, weighted[p, i] + mine * gap
    add = seen and known and np.isfinite(more + moved)
    so_far = weight[p, i]
    started = so_far > 0
    if not started:
        so_far = 1.0
    residual = (gap - weighted[p, i] / so_far) * np.sqrt(mine / (1.0 + mine / so_far))
    later = add and started
    new_ints[0, p, i] = panes[p, i] + later
    new[1, p, i] = more if add else weight[p, i]
    new[2, p, i] = moved if add else weighted[p, i]
    new[3, p, i] = squares[p, i] + residual * residual if later else squares[p, i]
    new[4, p, i] = products[p, i] + residual * last[p, i] if later else products[p, i]
    new[5, p, i] = residual if later else last[p, i]


@part
def _told(old: Any, new: Any, p: Any, i: Any, n: Any, m: Any, asked: Any, times: Any) -> None:
    """Of :mod:`detectors.canary_ledger`, the tallies."""
    ours, theirs, unmatched, first_ms, last_ms = old
    seen = asked and n > 0 and m > 0
    new[1, p, i] = ours[p, i] + (n if seen else 0)
    new[2, p, i] = theirs[p, i] + (m if seen else 0)
    new[3, p, i] = unmatched[p, i] + (n + m if asked and not seen else 0)
    new[4, p, i] = times[0] if seen and ours[p, i] == 0 else first_ms[p, i]
    new[5, p, i] = max(last_ms[p, i], times[1]) if seen else last_ms[p, i]


@part
def _compared(
    old: Any, new_ints: Any, new: Any, p: Any, i: Any, values: Any, seen: Any, narrow: Any
) -> None:
    """:meth:`detectors.canary_sequences.Sequences.step`."""
    so_far, against, total, variance, within, r2, skipped = old
    n, m, mean, mean_against, sd, sd_against = values
    ours, theirs = np.float64(max(n, 1)), np.float64(max(m, 1))
    seen = seen and n >= 1 and m >= 1 and n + m >= 3
    mine = sd * sd * (np.float64(n) / larger(np.float64(n) - 1.0, 1.0))
    other = sd_against * sd_against * (np.float64(m) / larger(np.float64(m) - 1.0, 1.0))
    if n < 2:
        mine = other if m >= 2 else np.nan
    if m < 2:
        other = mine if n >= 2 else np.nan
    sum_ = total[p, i] + ours * (mean - mean_against)
    spread = variance[p, i] + (mine * ours + other * (ours * (ours / theirs)))
    inside = within[p, i] + theirs * other
    usable = np.isfinite(sum_ + spread + inside)
    unit = r2[p, i]
    if unit == 0:
        first = spread / ours * narrow
        unit = first if np.isfinite(first) else 0.0
    add = seen and usable
    new_ints[6, p, i] = so_far[p, i] + (n if add else 0)
    new_ints[7, p, i] = against[p, i] + (m if add else 0)
    new_ints[8, p, i] = skipped[p, i] + (seen and not usable)
    new[6, p, i] = sum_ if add else total[p, i]
    new[7, p, i] = spread if add else variance[p, i]
    new[8, p, i] = inside if add else within[p, i]
    new[9, p, i] = unit if add else r2[p, i]


def tell(
    table: Any,
    pane: Any,
    dispersion: Any,
    tallies: Any,
    sequences: Any,
    shares: Any,
    learnt: Any,
    panes: Any,
    excess: Any,
    numbers: Any,
    times: Any,
    new_ints: Any,
    new: Any,
    new_shares: Any,
    said: Any,
) -> None:
    """All but the bets: the new state but for wealth, and what bets are settled by.

    ``numbers``: inflation, events before a rate is bet on, and what first variances are multiplied
    by; ``excess``: what an A/A period taught of each part: factor, usual weight. ``said``: counts
    [2, P, M], running counts [2, P, C + 1], sums of scores [P, M], which parts are bet on [P, M],
    what rates are about [P, Q], by what evidence is divided [P, M], the new money [P, M] (to take
    the logarithm of)."""
    starts, sizes, values, scores, judged, no_rate, rates, rate_share = table[:8]
    held_owner, held_first, held_stop, level_at, levels = table[8:]
    cells, arm_n, arm_mean, arm_sd, ready = pane
    cases, usual = shares
    new_cases, new_usual = new_shares
    counts, upto, first, bet_on, rate, factor, fresh = said
    inflation, fix_events, narrow = numbers
    learnt_factor, learnt_weight = excess
    room, valued = np.empty(cells.shape[2]), np.empty((3, cells.shape[2]))
    for p in range(cells.shape[1]):
        _sum_up(cells, p, values, scores, upto, valued)
        for i in range(starts.size):
            at, stop = starts[i], starts[i] + sizes[i]
            n, m = upto[0, p, stop] - upto[0, p, at], upto[1, p, stop] - upto[1, p, at]
            counts[0, p, i], counts[1, p, i] = n, m
            found = _gap(cells, values, valued, room, p, at, stop, n, m)
            first[p, i] = added(valued[2], at, stop - at)
            asked = ready[p, i] and judged[i]
            seen = asked and n > 0 and m > 0
            taught = learnt[p, i]
            if learnt_factor.size:
                more = larger(found[1] / learnt_weight[i], 1.0)
                more = more if np.isfinite(more) else 1.0
                taught = larger(taught, 1.0 + (learnt_factor[i] - 1.0) * more)
            new[0, p, i] = taught
            before = tallies[0][p, i] + tallies[1][p, i]
            bet = seen and (no_rate[i] or before >= fix_events)
            bet_on[p, i] = bet
            here = _factor(dispersion[0][p, i], dispersion[3][p, i], dispersion[4][p, i])
            factor[p, i] = inflation * larger(here, taught)
            _scatter(dispersion, new_ints, new, p, i, found, bet)
            _told(tallies, new_ints, p, i, n, m, asked, times)
            level = level_at[i]
            if level < levels:
                side = arm_n[0, p, level], arm_n[1, p, level]
                means = arm_mean[0, p, level], arm_mean[1, p, level]
                sds = arm_sd[0, p, level], arm_sd[1, p, level]
                _compared(sequences, new_ints, new, p, i, side + means + sds, seen, narrow)
            else:
                unit = n, m, 0.0, 0.0, 1.0, 1.0
                _compared(sequences, new_ints, new, p, i, unit, seen, narrow)
            t = np.float64(max(panes[p, i], 1))
            fresh[p, i] = (1.0 - AT_ONCE) / t / (t + 1.0)
        for q in range(rates.size):
            i, share = rates[q], rate_share[q]
            n_before, m_before = np.float64(tallies[0][p, i]), np.float64(tallies[1][p, i])
            expected = usual[p, share] * (m_before / larger(n_before, 1.0))
            seen_cases = np.float64(cases[p, share]) + expected + 0.5
            about = larger(seen_cases / (n_before + m_before + 1.0), LEAST_RATE)
            rate[p, q] = smaller(about, 1.0 - LEAST_RATE)
        for h in range(held_owner.size):
            i = held_owner[h]
            n, m = counts[0, p, i], counts[1, p, i]
            seen = ready[p, i] and judged[i] and n > 0 and m > 0
            ours = upto[0, p, held_stop[h]] - upto[0, p, held_first[h]]
            theirs = np.float64(upto[1, p, held_stop[h]] - upto[1, p, held_first[h]])
            scaled = theirs * (np.float64(n) / np.float64(max(m, 1)))
            new_cases[p, h] = cases[p, h] + (ours if seen else 0)
            new_usual[p, h] = usual[p, h] + scaled * (1.0 if seen else 0.0)

"""What the evidence of drift says to people: which way, how much, since when, on what promise."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.bets import Move
from detectors.cells import RARER, Aspect, Family, Watch
from detectors.comparison import readable
from detectors.drift_settings import DriftSettings
from detectors.drift_state import Alarm, DriftState, failing_until_ms, masses
from detectors.finding import Evidence, Finding, Outcome
from detectors.payoffs import MEMORIES, Payoffs
from detectors.release import OTHER
from detectors.thresholds import Place

Floats = NDArray[np.float64]

_TAILS = (0.01, 0.99)
_WORTH_NAMING = 0.02
_DETECTORS = {
    Aspect.VALUES: "drift",
    Aspect.PRESENCE: "drift_missing",
    Aspect.FAILURES: "drift_failures",
}


# Not a dataclass, as findings are not: every window makes one for each watch.
class Reading(msgspec.Struct, frozen=True, gc=False):
    """What drift says of one watch at present.

    ``share``: its mass as a share of the mass that raises an alarm. ``contribution``: its part of
    all mass of the (release, segment), for ranking. ``direction`` and ``size`` are words, empty
    where nothing is failing; ``effect`` is NaN and ``onset_ms`` 0 there. ``rows``: of the window
    judged.
    """

    column: str
    aspect: Aspect
    outcome: Outcome
    share: float
    contribution: float
    direction: str
    size: str
    effect: float
    onset_ms: int
    rows: int
    rows_against: int
    reason: str


def alarm_of(
    state: DriftState,
    paid: Payoffs,
    counts: Floats,
    watch: int,
    length_ms: int,
    settings: DriftSettings,
) -> Alarm:
    """The alarm of a watch whose mass has reached the budget."""
    dictionary = paid.normal.dictionary
    own = np.flatnonzero(dictionary.watch_of == watch)
    mass = state.mass[own]
    votes: dict[tuple[Move, int], float] = {}
    for bet, part in zip(own.tolist(), mass.tolist(), strict=True):
        what = dictionary.moves[bet], int(dictionary.cell_of[bet])
        votes[what] = votes.get(what, 0.0) + part
    move, cell = max(votes, key=lambda what: (votes[what], what))
    won = np.array([(dictionary.moves[b], int(dictionary.cell_of[b])) == (move, cell) for b in own])
    weights = np.where(won, mass, 0.0)
    top = weights.max()
    # The heaviest first: sums of very large masses could overflow.
    onset = float((weights / top * state.onset[own]).sum() / (weights / top).sum())
    span = slice(int(dictionary.cells.starts[watch]), int(dictionary.cells.starts[watch + 1]))
    recent = _recent(state, counts, (state.upto_ms - onset) / length_ms)[span]
    law = paid.law[span]
    first = span.start
    move, local = _named(move, cell - first if cell >= 0 else -1, law, recent, paid, watch)
    before, after = size(move, local, law, recent)
    if _contradicted(move, before, after):
        # A bet describes the whole law: it may win although what it is named for went back.
        move, local = Move.BUMP, -1
        before, after = size(move, local, law, recent)
    onset_ms = min(round(onset), state.upto_ms)
    last = next((alarm for alarm in state.alarms if alarm.watch == watch), None)
    lasts = last is not None and state.upto_ms <= failing_until_ms(last, settings)
    return Alarm(
        watch,
        state.upto_ms,
        onset_ms,
        min(last.since_ms, onset_ms) if lasts and last is not None else onset_ms,
        move,
        first + local if local >= 0 else -1,
        before,
        after,
        float(recent.sum()),
    )


def size(move: Move, cell: int, law: Floats, counts: Floats) -> tuple[float, float]:
    """The size of a change, before and after: a shift in standard deviations of the reference's
    normal scores (before: 0), a ratio of spreads (before: 1), or the share of a tail or a cell.
    ``law``: float64 [cells]; ``counts``: float64 [cells]. NaN after if there are no counts."""
    rows = counts.sum()
    if rows <= 0:
        return 0.0, math.nan
    now = counts / rows
    match move:
        case Move.UP | Move.DOWN:
            return 0.0, _shift_and_spread(law, now)[0]
        case Move.WIDER | Move.NARROWER:
            return 1.0, _shift_and_spread(law, now)[1]
        case Move.HEAVIER_LOWER_TAIL:
            tail = _outer(law)[0]
        case Move.HEAVIER_UPPER_TAIL | Move.LIGHTER_UPPER_TAIL:
            tail = _outer(law)[1]
        case Move.HEAVIER_TAILS | Move.LIGHTER_TAILS:
            tail = _outer(law)[0] | _outer(law)[1]
        case Move.CELL_UP | Move.CELL_DOWN:
            return float(law[cell]), float(now[cell])
        case Move.BUMP | Move.LEARNT:
            return 0.0, float(np.abs(now - law).sum() / 2)
    return float(law[tail].sum()), float(now[tail].sum())


def readings(
    state: DriftState, paid: Payoffs, rows: Floats, now_ms: int, settings: DriftSettings
) -> list[Reading]:
    """What drift says of every watch, and of every column that cannot be watched.

    ``rows``: float64 [watches], rows of each watch in the window that is judged.
    """
    normal, said = paid.normal, _said_of(paid)
    cells = normal.dictionary.cells
    mass = masses(state, normal.dictionary)
    total = float(mass.sum())
    alarms = {
        alarm.watch: alarm for alarm in state.alarms if now_ms <= failing_until_ms(alarm, settings)
    }
    found: list[Reading] = []
    figures = zip(
        said,
        (mass / settings.false_alarms.between_ms).tolist(),
        (mass / total if total > 0 else np.zeros(len(mass))).tolist(),
        rows.tolist(),
        state.seen.tolist(),
        strict=True,
    )
    # By place and not by name, which takes twice as long: there are dozens in every window.
    for w, (what, share, part, here, seen) in enumerate(figures):
        alarm = alarms.get(w)
        if alarm is not None:
            way = direction(cells.watches[w], alarm, int(cells.starts[w]))
            much = size_in_words(alarm)
            since = np.datetime64(alarm.since_ms, "ms").astype("datetime64[s]")
            outcome = Outcome.FAIL
            reason = f"{way}, {much}, since {since}Z; {what.basis}"
            effect, since_ms = alarm.after, alarm.since_ms
        else:
            way = much = ""
            effect, since_ms = math.nan, 0
            outcome, reason = _judge(what, here, seen, share, settings)
        found.append(
            Reading(
                what.column,
                what.aspect,
                outcome,
                share if alarm is None else max(share, 1.0),
                part,
                way,
                much,
                effect,
                since_ms,
                int(here),
                what.rows,
                reason,
            )
        )
    found += [
        Reading(
            gone.column,
            gone.aspect,
            Outcome.INSUFFICIENT,
            math.nan,
            0,
            "",
            "",
            math.nan,
            0,
            0,
            0,
            gone.reason,
        )
        for gone in normal.dictionary.cells.unwatched
    ]
    return found


def ranked(found: Iterable[Reading]) -> list[Reading]:
    """Failing ones first, then by what each contributes to the evidence."""
    return sorted(
        found,
        key=lambda r: (
            r.outcome is not Outcome.FAIL,
            -r.share if math.isfinite(r.share) else math.inf,
            r.column,
            r.aspect,
        ),
    )


def finding_of(
    reading: Reading, place: Place, against: str, decides: bool = True, critical: bool = False
) -> Finding:
    """A reading as a finding: the statistic is the share of the false-alarm budget, its threshold
    1. A share of 1 is where at most one alarm per budget is expected without a change."""
    return Finding(
        place.release,
        place.segment,
        reading.column,
        place.window_ms,
        place.window_start_ms,
        place.revision,
        _DETECTORS[reading.aspect],
        against,
        reading.share,
        1.0,
        reading.rows,
        reading.rows_against,
        reading.outcome,
        reading.reason,
        decides,
        critical,
        Evidence.FINAL,
        reading.effect,
        math.nan,
        math.nan,
        reading.direction,
        reading.onset_ms,
    )


def direction(watch: Watch, alarm: Alarm, first: int) -> str:
    """Which way, in words. A category's name is data: cut and made printable, for people only."""
    if alarm.cell < 0 or not watch.names:
        return alarm.move.value
    name = watch.names[alarm.cell - first]
    way = "up" if alarm.move is Move.CELL_UP else "down"
    if watch.family is Family.NAMED and name == OTHER and way == "up":
        return "new or other categories up"
    label = {OTHER: "other categories", RARER: "rarer categories"}.get(name) or readable(name, 50)
    return f"{label} {way}"


def size_in_words(alarm: Alarm) -> str:
    """How much, in units people know."""
    match alarm.move:
        case Move.UP | Move.DOWN:
            return f"shifted by {alarm.after:+.2g} standard deviations of the reference (by rank)"
        case Move.WIDER | Move.NARROWER:
            return f"spread {alarm.after:.3g} times the reference's"
        case Move.BUMP | Move.LEARNT:
            return f"{alarm.after:.2%} of events in other places"
        case _:
            ratio = alarm.after / alarm.before if alarm.before > 0 else math.inf
            return f"{alarm.after:.3%} of events, was {alarm.before:.3%} ({ratio:.3g} times)"


class _Said(NamedTuple):
    """What is said of a watch whatever its evidence. ``rows``: of the reference; ``unjudged``: why
    it is not judged in this slot, "" if it is."""

    column: str
    aspect: Aspect
    rows: int
    unjudged: str
    basis: str


@lru_cache(maxsize=256)
def _said_of(paid: Payoffs) -> tuple[_Said, ...]:
    normal = paid.normal
    watches = normal.dictionary.cells.watches
    return tuple(
        _Said(watch.column, watch.aspect, int(rows), unjudged, basis.value)
        for watch, rows, unjudged, basis in zip(
            watches, paid.rows.tolist(), paid.reasons, normal.basis, strict=True
        )
    )


def _judge(
    said: _Said, rows: float, seen: float, share: float, settings: DriftSettings
) -> tuple[Outcome, str]:
    """Of a watch without an alarm. No answer is INSUFFICIENT with a reason; it is never PASS."""
    if said.unjudged:
        return Outcome.INSUFFICIENT, said.unjudged
    if rows < 1:
        return Outcome.INSUFFICIENT, "no events to judge in this window"
    if seen < settings.min_events:
        return (
            Outcome.INSUFFICIENT,
            f"{int(seen)} events seen so far, {settings.min_events} needed",
        )
    if not math.isfinite(share):
        return Outcome.INSUFFICIENT, "the evidence could not be computed"
    return Outcome.PASS, f"evidence at {share:.2g} of the false-alarm budget; {said.basis}"


def _recent(state: DriftState, counts: Floats, panes: float) -> Floats:
    """Counts since the change began, as nearly as they are kept."""
    fitting = [i for i, kept in enumerate(MEMORIES) if 1 / (1 - kept) <= panes]
    recent: Floats = state.memory[fitting[-1]] if fitting else counts
    return recent


def _named(
    move: Move, cell: int, law: Floats, recent: Floats, paid: Payoffs, watch: int
) -> tuple[Move, int]:
    """What an expert has learnt, in words: the plainest description that fits the counts."""
    rows = recent.sum()
    if move is not Move.LEARNT or rows <= 0:
        return move, cell
    now = recent / rows
    family = paid.normal.dictionary.cells.watches[watch].family
    if family in (Family.NAMED, Family.RATES):
        excess = (now - law) / np.sqrt(law)
        cell = int(np.abs(excess[int(family is Family.RATES) :]).argmax())
        cell += int(family is Family.RATES)
        return (Move.CELL_UP if excess[cell] > 0 else Move.CELL_DOWN), cell
    shift, spread = _shift_and_spread(law, now)
    change = math.sqrt(2) * math.log(min(max(spread, 1e-9), 1e9)) if math.isfinite(spread) else 0.0
    if max(abs(shift), abs(change)) < _WORTH_NAMING:
        return Move.BUMP, -1
    if abs(shift) >= abs(change):
        return (Move.UP if shift > 0 else Move.DOWN), -1
    return (Move.WIDER if change > 0 else Move.NARROWER), -1


_RISES = frozenset(
    {
        Move.UP,
        Move.WIDER,
        Move.HEAVIER_LOWER_TAIL,
        Move.HEAVIER_UPPER_TAIL,
        Move.HEAVIER_TAILS,
        Move.CELL_UP,
    }
)


def _contradicted(move: Move, before: float, after: float) -> bool:
    """Whether the counts since the change went the other way than the words for it."""
    if move in (Move.BUMP, Move.LEARNT):
        return False
    return after < before if move in _RISES else after > before


def _shift_and_spread(law: Floats, now: Floats) -> tuple[float, float]:
    """Of normal scores: the mean of a standard normal law within each cell of the reference."""
    edges = special.ndtri(np.clip(np.cumsum(law)[:-1], 0.0, 1.0))
    density = np.exp(-(edges**2) / 2) / math.sqrt(2 * math.pi)
    density = np.concatenate(([0.0], density, [0.0]))
    scores = (density[:-1] - density[1:]) / law
    sd = math.sqrt(float((law * scores * scores).sum()))
    if sd <= 0:
        return 0.0, math.nan
    mean = float((now * scores).sum())
    spread = math.sqrt(max(float((now * (scores - mean) ** 2).sum()), 0.0))
    return mean / sd, spread / sd


def _outer(law: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The lowest and the highest cells, about one percent each; the outermost alone if more."""
    upto = np.cumsum(law)
    low, high = upto <= _TAILS[0] * 1.2, upto - law >= 1 - (1 - _TAILS[1]) * 1.2
    low[0], high[-1] = True, True
    return low, high

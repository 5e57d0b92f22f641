"""Where the evidence of drift points: what of which columns moves, and which way.

Long before an alarm the masses of the bets lean: that is what :mod:`detectors.upstream` asks of
production when a canary fails.
"""

from __future__ import annotations

import numpy as np

from detectors.bets import Move
from detectors.cells import Aspect, Watch
from detectors.drift_settings import DriftSettings
from detectors.drift_state import DriftState, failing_until_ms, masses
from detectors.payoffs import Payoffs
from detectors.upstream import Direction, Movement

_DIRECTIONS = {
    Move.UP: Direction.UP,
    Move.HEAVIER_UPPER_TAIL: Direction.UP,
    Move.LIGHTER_UPPER_TAIL: Direction.DOWN,
    Move.DOWN: Direction.DOWN,
    Move.HEAVIER_LOWER_TAIL: Direction.DOWN,
}
"""Of the values of a column. Whatever else it does has no direction."""


def movements(
    state: DriftState, paid: Payoffs, now_ms: int, settings: DriftSettings, from_share: float = 0.25
) -> list[Movement]:
    """Every watch whose evidence is at least ``from_share`` of an alarm, or whose alarm
    still stands (then its share is at least 1)."""
    dictionary = paid.normal.dictionary
    shares = masses(state, dictionary) / settings.false_alarms.between_ms
    standing = {
        alarm.watch: alarm for alarm in state.alarms if now_ms <= failing_until_ms(alarm, settings)
    }
    found = []
    for w in sorted({*np.flatnonzero(shares >= from_share).tolist(), *standing}):
        watch = dictionary.cells.watches[w]
        alarm = standing.get(w)
        move, cell = (alarm.move, alarm.cell) if alarm else _leading(state, paid, w)
        first = int(dictionary.cells.starts[w])
        share = max(float(shares[w]), 1.0) if alarm else float(shares[w])
        direction = _direction(watch, move, cell - first)
        found.append(Movement(watch.column, watch.aspect, direction, share))
    return found


def _leading(state: DriftState, paid: Payoffs, watch: int) -> tuple[Move, int]:
    dictionary = paid.normal.dictionary
    own = np.flatnonzero(dictionary.watch_of == watch)
    best = int(own[state.mass[own].argmax()])
    return dictionary.moves[best], int(dictionary.cell_of[best])


def _direction(watch: Watch, move: Move, cell: int) -> Direction:
    if watch.aspect is Aspect.VALUES:
        return _DIRECTIONS.get(move, Direction.BOTH)
    # Of rates the first cell is where nothing is wrong: each of the others up is more of it.
    match move:
        case Move.CELL_UP:
            return Direction.UP if cell > 0 else Direction.DOWN
        case Move.CELL_DOWN:
            return Direction.DOWN if cell > 0 else Direction.UP
        case _:
            return Direction.BOTH

"""What drift remembers of one (release, segment), and how it is written down."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from detectors.bets import Move
from detectors.drift_settings import DriftSettings
from detectors.payoffs import MEMORIES, Dictionary

Floats = NDArray[np.float64]

_VERSION = 1
_ALARM_NUMBERS = 9
_HEAD = struct.Struct("<B16sqq")
_MOVES = tuple(Move)


class UnreadableState(ValueError):
    """Bytes that are no drift state, or one of other bets: start with an empty state."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm of one watch. ``onset_ms``: when its evidence began: the mean starting time of the
    evidence that won. ``since_ms``: when the change is thought to have begun, which for an alarm
    that was raised again while the last one stood is the beginning of the first. ``move`` and
    ``cell`` (in the flat vector; -1: none): what changed; ``before`` and ``after``: its size, as
    ``drift_evidence.size`` measures it; ``rows``: how many it was measured on."""

    watch: int
    at_ms: int
    onset_ms: int
    since_ms: int
    move: Move
    cell: int
    before: float
    after: float
    rows: float


@dataclass(frozen=True, slots=True, eq=False)
class DriftState:
    """``upto_ms``: end of the last pane settled; ``mass`` and ``onset``: float64 [bets], the
    masses in ms and their mean starting time; ``memory``: float64 [experts, cells], fading counts;
    ``seen``: float64 [watches], rows settled so far; ``alarms``: the last one of each watch."""

    upto_ms: int
    mass: Floats
    onset: Floats
    memory: Floats
    seen: Floats
    alarms: tuple[Alarm, ...]


def empty_state(dictionary: Dictionary) -> DriftState:
    """Nothing seen yet."""
    return DriftState(
        0,
        np.zeros(dictionary.bets),
        np.zeros(dictionary.bets),
        np.zeros((len(MEMORIES), dictionary.cells.width)),
        np.zeros(len(dictionary.cells.watches)),
        (),
    )


def masses(state: DriftState, dictionary: Dictionary) -> Floats:
    """The mass of each watch, float64 [watches]: an alarm is raised when it reaches the budget."""
    watches = len(dictionary.cells.watches)
    found = np.bincount(dictionary.watch_of, weights=state.mass, minlength=watches)
    return found.astype(np.float64, copy=False)


def failing_until_ms(alarm: Alarm, settings: DriftSettings) -> int:
    """Until when an alarm stands if it is not raised again. A change that lasts raises it again
    after about as long as it took the first time."""
    return alarm.at_ms + max(settings.hold_ms, 3 * (alarm.at_ms - alarm.onset_ms))


def to_bytes(state: DriftState, dictionary: Dictionary) -> bytes:
    """The state compactly: a version byte, which bets it belongs to, and arrays of doubles."""
    alarms = [
        (
            *(a.watch, a.at_ms, a.onset_ms, a.since_ms),
            *(_MOVES.index(a.move), a.cell, a.before, a.after, a.rows),
        )
        for a in state.alarms
    ]
    head = _HEAD.pack(_VERSION, fingerprint(dictionary), state.upto_ms, len(state.alarms))
    arrays = (state.mass, state.onset, state.memory, state.seen, np.array(alarms))
    return head + b"".join(np.ascontiguousarray(a, "<f8").tobytes() for a in arrays)


def from_bytes(data: bytes, dictionary: Dictionary) -> DriftState:
    """The state back, bit for bit; :class:`UnreadableState` if it is one of other bets."""
    if len(data) < _HEAD.size:
        raise UnreadableState(f"a drift state has at least {_HEAD.size} bytes, not {len(data)}")
    version, owner, upto_ms, alarms = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise UnreadableState(f"the drift state has version {version}, not {_VERSION}")
    if owner != fingerprint(dictionary):
        raise UnreadableState("the drift state belongs to another reference or to other columns")
    bets, cells, watches = dictionary.bets, dictionary.cells.width, len(dictionary.cells.watches)
    memory = len(MEMORIES) * cells
    ends = np.cumsum([bets, bets, memory, watches])
    if alarms < 0 or len(data) != _HEAD.size + 8 * (int(ends[-1]) + _ALARM_NUMBERS * alarms):
        raise UnreadableState("the drift state is cut off or too long")
    values = np.frombuffer(data, "<f8", offset=_HEAD.size).astype(np.float64)
    if not np.isfinite(values).all():
        raise UnreadableState("the drift state holds numbers that are not finite")
    mass, onset, faded, seen, told = np.split(values, ends)
    try:
        raised = tuple(
            Alarm(int(w), int(at), int(began), int(since), _MOVES[int(move)], int(cell), *sizes)
            for w, at, began, since, move, cell, *sizes in told.reshape(
                alarms, _ALARM_NUMBERS
            ).tolist()
        )
    except IndexError as error:
        raise UnreadableState("the drift state holds an alarm of an unknown kind") from error
    return DriftState(upto_ms, mass, onset, faded.reshape(len(MEMORIES), cells), seen, raised)


@lru_cache(maxsize=256)
def fingerprint(dictionary: Dictionary) -> bytes:
    """Names the reference and the bets, 16 bytes: a state fits only its own. Remembered by the
    identity of the dictionary, which every checkpoint of its states asks for."""
    cells = dictionary.cells
    text = repr((cells.reference, cells.watches, dictionary.bets, MEMORIES))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

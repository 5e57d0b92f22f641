"""How the state of the online detectors is written down: numbers and names, read back bit for bit.

Nothing is run to read it: what is not exactly a state of this version is refused.
"""

from __future__ import annotations

import math

import msgspec

from detectors.online import OnlineState, Track
from detectors.online_feed import MOST_TRACKS
from detectors.online_rules import ALGORITHMS, Method

_VERSION = 1


class UnreadableState(ValueError):
    """Bytes that are no state of online detectors: start with an empty one."""


class _Record(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    version: int
    state: OnlineState


def to_bytes(state: OnlineState) -> bytes:
    """The state compactly, in MessagePack."""
    return msgspec.msgpack.encode(_Record(_VERSION, state))


def from_bytes(data: bytes) -> OnlineState:
    """The state back; :class:`UnreadableState` if it is none that this version can go on with."""
    try:
        record = msgspec.msgpack.decode(data, type=_Record)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnreadableState("they are no state of online detectors") from error
    if record.version != _VERSION:
        raise UnreadableState(f"the state has version {record.version}, not {_VERSION}")
    if len(record.state.tracks) > MOST_TRACKS:
        raise UnreadableState(f"the state follows more than {MOST_TRACKS} columns")
    for track in record.state.tracks:
        if not _sound(track):
            raise UnreadableState("the state holds a memory that its method cannot have")
    return record.state


def _sound(track: Track) -> bool:
    method = next((m for m in _LONGEST_FIRST if track.name.startswith(f"{m}_")), None)
    if method is None or track.values < 0 or track.panes < 0:
        return False
    levels = (track.way, track.usual, track.recent)
    return ALGORITHMS[method].readable(track.memory) and not any(map(math.isnan, levels))


_LONGEST_FIRST = sorted(Method, key=len, reverse=True)

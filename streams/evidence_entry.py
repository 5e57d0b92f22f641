"""What is stored of a model's evidence: entries, what names them, and both as bytes."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from detectors.budget import Budget, Stream
from detectors.release import ALL, Role


class Part(StrEnum):
    """What an entry holds."""

    DRIFT = "drift"
    CANARY = "canary"
    ONLINE = "online"
    BUDGET = "budget"


class EvidenceKey(msgspec.Struct, array_like=True, frozen=True, order=True):
    """An entry of one model; the budget's has no release."""

    part: Part
    version: str = ""
    role: Role = Role.PRODUCTION
    segment: str = ALL

    @property
    def stream(self) -> Stream:
        return Stream(self.version, self.role, self.segment)


BUDGET_KEY: Final = EvidenceKey(Part.BUDGET)


def key_of(part: Part, stream: Stream) -> EvidenceKey:
    return EvidenceKey(part, stream.version, stream.role, stream.segment)


class Entry(msgspec.Struct, array_like=True):
    """``upto_ms``: end of the last pane taken in; ``against``: the reference that drift stands on,
    the production version that a canary was last compared with; ``data``: the state in bytes;
    ``before``: an interval in bytes, see :class:`streams.evidence_canary.Canaries`."""

    upto_ms: int
    against: str
    data: bytes
    before: bytes = b""


def budget_entry(budget: Budget, upto_ms: int) -> Entry:
    rows = [(s.version, s.role, s.segment, at) for s, at in budget.seen]
    return Entry(upto_ms, "", msgspec.msgpack.encode(rows))


def budget_of(entry: Entry) -> Budget:
    rows = msgspec.msgpack.decode(entry.data, type=list[tuple[str, Role, str, int]])
    return Budget(tuple(sorted((Stream(v, r, s), at) for v, r, s, at in rows)))


def encode_evidence_key(model: str, key: EvidenceKey) -> bytes:
    return msgspec.msgpack.encode((model, key))


def decode_evidence_key(value: bytes) -> tuple[str, EvidenceKey]:
    return msgspec.msgpack.decode(value, type=tuple[str, EvidenceKey])


def encode_entry(entry: Entry) -> bytes:
    return msgspec.msgpack.encode(entry)


def decode_entry(value: bytes) -> Entry:
    return msgspec.msgpack.decode(value, type=Entry)

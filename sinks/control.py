"""What everybody who acts must know at once: the switch, silences, the fleet's limit, rollbacks.

The topic ``control`` has one partition and is compacted; every deliver and every serve reads it
whole and goes on reading. As all read the same records in the same order, they agree on whether a
rollback has a place within the fleet's limit: the record that asks for it is judged by those before
it. `ControlBoard` is what has been read so far.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar, Final, TypeVar

import msgspec

from detectors.policy_settings import HOUR_MS, Automation, FleetOrders
from detectors.release import Role
from detectors.rollback_case import RollbackState
from detectors.silence import Silence

MAX_SILENCES: Final = 1_000
MAX_CASES: Final = 10_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """``max_rollbacks_per_hour`` over all models together; beyond it a person is asked."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    max_rollbacks_per_hour: int = 20

    def __post_init__(self) -> None:
        if self.max_rollbacks_per_hour < 1:
            raise ValueError("max_rollbacks_per_hour must be at least 1")


class SwitchRecord(msgspec.Struct, frozen=True, tag="switch"):
    """Automation of the whole fleet, by whom and why."""

    automation: Automation
    at_ms: int
    by: str
    reason: str


class SilenceRecord(msgspec.Struct, frozen=True, tag="silence"):
    """A silence; one that ends before it began was taken back."""

    silence: Silence


class ClaimRecord(msgspec.Struct, frozen=True, tag="claim"):
    """A rollback asks for a place within the fleet's limit."""

    key: str
    model: str
    version: str
    at_ms: int


class CaseRecord(msgspec.Struct, frozen=True, tag="case"):
    """Where a rollback stands."""

    key: str
    model: str
    version: str
    role: Role
    return_to: str
    state: RollbackState
    revision: int
    by: str
    reason: str
    requested: bool
    proposed_ms: int
    changed_ms: int


ControlRecord = SwitchRecord | SilenceRecord | ClaimRecord | CaseRecord

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[ControlRecord] = msgspec.json.Decoder(ControlRecord)


def control_key(record: ControlRecord) -> bytes:
    """The key under which compaction keeps the newest record."""
    match record:
        case SwitchRecord():
            return b"switch"
        case SilenceRecord():
            return f"silence/{record.silence.id}".encode()
        case ClaimRecord():
            return f"claim/{record.key}".encode()
        case CaseRecord():
            return f"case/{record.key}".encode()


def encode_control(record: ControlRecord) -> bytes:
    """A record of ``control``."""
    return _ENCODER.encode(record)


def decode_control(value: bytes) -> ControlRecord:
    """The inverse of `encode_control`. Raises ValueError for anything else."""
    try:
        return _DECODER.decode(value)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"not a control record: {type(error).__name__}") from None


class ControlBoard:
    """What has been read of ``control``. Safe to use from several threads. Memory is bounded: the
    oldest silences and rollbacks give way."""

    def __init__(self, max_rollbacks_per_hour: int, usual: Automation = Automation.ON) -> None:
        self._limit = max_rollbacks_per_hour
        self._usual = usual
        self._switch: SwitchRecord | None = None
        self._silences: OrderedDict[str, Silence] = OrderedDict()
        self._claims: OrderedDict[str, tuple[int, bool]] = OrderedDict()
        self._cases: OrderedDict[str, CaseRecord] = OrderedDict()
        self._by_version: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def take(self, record: ControlRecord) -> None:
        """Enter the next record of the topic."""
        with self._lock:
            match record:
                case SwitchRecord():
                    self._switch = record
                case SilenceRecord(silence=silence):
                    _put(self._silences, silence.id, silence, MAX_SILENCES)
                case ClaimRecord():
                    self._claim(record)
                case CaseRecord():
                    known = self._cases.get(record.key)
                    if known is None or record.revision >= known.revision:
                        _put(self._cases, record.key, record, MAX_CASES)
                        self._by_version[record.model, record.version] = record.key
                        if len(self._by_version) > 2 * MAX_CASES:
                            del self._by_version[next(iter(self._by_version))]

    def orders(self, now_ms: int) -> FleetOrders:
        """What is in force now, for the policy."""
        with self._lock:
            return FleetOrders(
                automation=None if self._switch is None else self._switch.automation,
                usual=self._usual,
                silences=tuple(s for s in self._silences.values() if s.ends_ms > now_ms),
                admission=True,
            )

    def switch(self) -> SwitchRecord:
        """The switch, or what the configuration says if nobody has touched it."""
        with self._lock:
            return self._switch or SwitchRecord(self._usual, 0, "configuration", "")

    def silences(self, now_ms: int) -> list[Silence]:
        """Those that are not over, the one that ends first before the others."""
        with self._lock:
            found = [each for each in self._silences.values() if each.ends_ms > now_ms]
        return sorted(found, key=lambda silence: (silence.ends_ms, silence.id))

    def silence(self, silence_id: str) -> Silence | None:
        with self._lock:
            return self._silences.get(silence_id)

    def admitted(self, key: str) -> bool | None:
        """Whether the rollback has a place within the limit; None if it has not asked yet."""
        with self._lock:
            found = self._claims.get(key)
        return None if found is None else found[1]

    def case(self, key: str) -> CaseRecord | None:
        with self._lock:
            return self._cases.get(key)

    def case_of(self, model: str, version: str) -> CaseRecord | None:
        """The rollback of a version, whatever became of it."""
        with self._lock:
            key = self._by_version.get((model, version))
            return None if key is None else self._cases.get(key)

    def cases(self) -> list[CaseRecord]:
        """All of them, the one that changed last before the others."""
        with self._lock:
            found = list(self._cases.values())
        return sorted(found, key=lambda case: (-case.changed_ms, case.key))

    def _claim(self, record: ClaimRecord) -> None:
        if record.key in self._claims:
            return  # asked again after a crash: the first answer stands
        since_ms = record.at_ms - HOUR_MS
        taken = sum(1 for at_ms, granted in self._claims.values() if granted and at_ms > since_ms)
        _put(self._claims, record.key, (record.at_ms, taken < self._limit), MAX_CASES)


def _put(found: OrderedDict[str, T], key: str, value: T, most: int) -> None:
    found[key] = value
    found.move_to_end(key)
    if len(found) > most:
        found.popitem(last=False)

"""What people and other systems tell driftline to do, on their way from the API to deliver.

A command is a record of the topic ``commands``, keyed by model. Its id is a function of what is
said and not of when it was sent, so that a command that is sent again, by a hook that repeats
itself or by a client that heard no answer, has one effect.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from detectors.release import Role

MAX_COMMAND_BYTES: Final = 64 * 1024


class _Command(msgspec.Struct, frozen=True, kw_only=True):
    """``at_ms``: when it was taken in; ``by``: the name of the token or the hook."""

    id: str
    model: str
    at_ms: int
    by: str


class AlertCommand(_Command, frozen=True, kw_only=True, tag="alert"):
    """Another system's alert about a release fires or is over. ``ended``: the id of the command
    that ends the same alert; if that came first, this one comes too late."""

    version: str
    role: Role
    fingerprint: str
    firing: bool
    reason: str
    source: str
    roll_back: bool
    ended: str = ""


class DecisionCommand(_Command, frozen=True, kw_only=True, tag="decision"):
    """A person approves or rejects the rollback ``key``, as of ``revision``."""

    key: str
    revision: int
    approved: bool


class BeginCommand(_Command, frozen=True, kw_only=True, tag="begin"):
    """A deployment tool says that a version begins to be rolled out."""

    version: str
    source: str


class NoteCommand(_Command, frozen=True, kw_only=True, tag="note"):
    """Something that has taken effect elsewhere and belongs into the audit trail."""

    kind: str
    subject: str
    body: dict[str, Any]


Command = AlertCommand | DecisionCommand | BeginCommand | NoteCommand

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)


def command_id(*parts: str | int) -> str:
    """An id for what is said: the same parts give the same id."""
    joined = msgspec.json.encode([str(part) for part in parts])
    return hashlib.sha256(joined).hexdigest()[:32]


def encode_command(command: Command) -> bytes:
    """A record of ``commands``."""
    return _ENCODER.encode(command)


def decode_command(value: bytes) -> Command:
    """The inverse of `encode_command`. Raises ValueError for anything else."""
    if len(value) > MAX_COMMAND_BYTES:
        raise ValueError("longer than any command")
    try:
        return _DECODER.decode(value)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"not a command: {type(error).__name__}") from None

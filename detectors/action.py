"""An action: what driftline asks people and deployers to do about one release, and its key.

A key is a function of what is asked, never of when or by whom: every worker, replay and retry
that asks for the same thing uses the same key, so that receivers can tell repeats apart.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum

from detectors.release import Release

MAX_REASON_CHARS = 500
KEY_HEX_CHARS = 40
"""160 bits: no two actions of one installation ever share a key by chance."""


class ActionKind(StrEnum):
    """What is asked for."""

    ROLLBACK = "rollback"
    PAGE = "page"
    ACKNOWLEDGE = "acknowledge"
    """Somebody has taken an incident up: stop waking the next in line."""
    RESOLVE = "resolve"


class Audience(StrEnum):
    """Which of a model's people an action is for."""

    OWNER = "owner"
    DATA_OWNER = "data_owner"
    """Who answers for the data that the model is given."""
    ESCALATION = "escalation"
    """The owner, and whoever is called when the owner has not come."""


class Severity(StrEnum):
    """How soon a person must look, in the words of PagerDuty."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One finding that led to an action, as far as a receiver needs it. May hold NaN."""

    column: str
    segment: str
    detector: str
    statistic: float
    threshold: float
    n: int


@dataclass(frozen=True, slots=True)
class ActionLink:
    """Where a person can go from a message."""

    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Action:
    """A request to a receiver. ``return_to`` is the version to run instead ("" if none).

    ``reason`` says what was found, ``note`` what is done about it. ``incident_key`` is shared by
    the page that opens an incident and the one that resolves it. ``dry_run``: to be recorded and
    not sent. ``approves``: the key and the revision of the rollback that it asks a person for.
    """

    key: str
    kind: ActionKind
    release: Release
    return_to: str
    reason: str
    note: str
    evidence: tuple[Exhibit, ...]
    severity: Severity
    incident_key: str
    created_ms: int
    dry_run: bool = False
    audience: Audience = Audience.OWNER
    links: tuple[ActionLink, ...] = ()
    approves: tuple[str, int] | None = None


def action_key(*parts: str | int) -> str:
    """A name for ``parts``: the same parts give the same key, other parts another one.

    The parts are joined as a JSON list, so that no choice of model or version names can make two
    lists of parts look alike. The key has no dot: Standard Webhooks reserves it.
    """
    joined = json.dumps([str(part) for part in parts], ensure_ascii=True).encode("ascii")
    return f"{parts[0]}_{hashlib.sha256(joined).hexdigest()[:KEY_HEX_CHARS]}"


def rollback_key(model: str, version: str) -> str:
    """The key of the one rollback that (model, version) can ever get."""
    return action_key(ActionKind.ROLLBACK, model, version)


def printable(text: str, limit: int = MAX_REASON_CHARS) -> str:
    """``text`` fit for a message: no control or direction characters, one line, cut to ``limit``.

    Names come from producers; a line break or a direction override in one must not be able to
    rewrite what a person on call reads.
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(char if char.isprintable() else " " for char in cut)

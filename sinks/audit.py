"""The audit trail: what was known, decided, asked for and answered, as a chain of hashes.

There is one chain for each model, written by whoever owns the model, and one for orders to the
whole fleet. A row holds the hash of the row before it and its own, so that a row changed, left out
or put in breaks the chain at that place; sequences have no gaps. What a chain cannot show is that
its newest rows were cut off: keep the heads that `verify` reports elsewhere, and give them to the
next run.

The hash is SHA-256 over the JSON array of a row's fields in the order of the table, the last one
being the hash of the row before ("" in the first), in ASCII and without spaces.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

FLEET: Final = "__fleet__"
"""The chain of what concerns the whole fleet; no model is called like this."""
MAX_BODY_CHARS: Final = 8_000


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row of table ``audit``. ``at`` in epoch ms; ``subject`` names what it is about (the key
    of an action, an incident, a rollback or a silence), ``by`` who did it; ``body`` is JSON."""

    chain: str
    sequence: int
    at: int
    kind: str
    model: str
    version: str
    role: str
    subject: str
    by: str
    body: str
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class Chain:
    """The end of a chain: the sequence and the hash of its last row (0 and "" before the first)."""

    sequence: int = 0
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be written, before it has its place in a chain."""

    kind: str
    version: str = ""
    role: str = ""
    subject: str = ""
    by: str = ""
    body: Mapping[str, Any] | None = None


def append(
    chain: Chain, name: str, entries: Iterable[Entry], now_ms: int
) -> tuple[Chain, tuple[AuditRow, ...]]:
    """Put entries at the end of the chain ``name``; the same entries always give the same rows."""
    rows = []
    for entry in entries:
        body = json.dumps(
            dict(entry.body or {}), separators=(",", ":"), sort_keys=True, default=str
        )
        if len(body) > MAX_BODY_CHARS:
            digest = hashlib.sha256(body.encode()).hexdigest()
            body = json.dumps({"sha256": digest, "chars": len(body)}, separators=(",", ":"))
        row = AuditRow(
            name,
            chain.sequence + 1,
            now_ms,
            entry.kind,
            "" if name == FLEET else name,
            entry.version,
            entry.role,
            entry.subject,
            entry.by,
            body,
            chain.hash,
            "",
        )
        row = AuditRow(**{**_fields(row), "hash": row_hash(row)})
        rows.append(row)
        chain = Chain(row.sequence, row.hash)
    return chain, tuple(rows)


def row_hash(row: AuditRow) -> str:
    """The hash that the row must have, from its other fields."""
    values = [value for name, value in _fields(row).items() if name != "hash"]
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True)
class Break:
    """Where a chain does not hold, and why."""

    chain: str
    sequence: int
    what: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of a check: rows seen, the end of each chain, and every break."""

    rows: int
    heads: Mapping[str, Chain]
    breaks: tuple[Break, ...]


def verify(rows: Iterable[AuditRow], expected: Mapping[str, Chain] | None = None) -> Verified:
    """Check rows in the order of (chain, sequence). ``expected``: rows that must be there, such as
    the heads of an earlier check; one that is missing was cut off, or was rewritten."""
    heads: dict[str, Chain] = {}
    breaks: list[Break] = []
    wanted = dict(expected or {})
    met: set[str] = set()
    count = 0
    for row in rows:
        count += 1
        head = heads.get(row.chain, Chain())
        if row.sequence != head.sequence + 1:
            missing = f"rows {head.sequence + 1} to {row.sequence - 1} are missing"
            breaks.append(Break(row.chain, row.sequence, missing))
        elif row.previous != head.hash:
            breaks.append(Break(row.chain, row.sequence, "it does not follow the row before it"))
        if row_hash(row) != row.hash:
            breaks.append(Break(row.chain, row.sequence, "its content does not fit its hash"))
        heads[row.chain] = Chain(row.sequence, row.hash)
        if wanted.get(row.chain) == heads[row.chain]:
            met.add(row.chain)
    for name in sorted(set(wanted) - met):
        what = "the row that was its end before is not there"
        breaks.append(Break(name, wanted[name].sequence, what))
    return Verified(count, heads, tuple(breaks))


def _fields(row: AuditRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in AuditRow.__slots__}

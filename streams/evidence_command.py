"""`driftline evidence MODEL VERSION`: what an auditor asks for, in one page and one JSON file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from detectors.action import printable
from streams.errors import UserError
from streams.evidence_case import EvidenceCase, read_case
from streams.evidence_report import as_html, as_json
from streams.recompute import Recomputed, in_words, recompute_from_kafka
from streams.store_question import asked

if TYPE_CHECKING:
    from streams.config import Config

MAX_NAME_CHARS = 60


def run(
    config: Config,
    model: str,
    version: str,
    out: Path,
    now_ms: int,
    say: Callable[[str], None],
    again: Callable[[EvidenceCase], Recomputed] | None = None,
) -> int:
    """Write both files into ``out``. Returns 0; 1 if nothing is stored of the release, its audit
    trail is broken, or ``again`` (which recomputes the verdicts) does not come to the same.
    Raises UserError if they cannot be written."""
    with asked(config.store) as ask:
        case = read_case(config, ask, model, version, now_ms)
    if not case.verdicts and not case.audit:
        raise UserError(
            f"nothing is stored of {printable(model, 100)} {printable(version, 100)}",
            config.store.database,
            "check the names; a model's releases are at /v1/releases",
        )
    stem = f"evidence-{file_name(model)}-{file_name(version)}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        for suffix, text in ((".json", as_json(case)), (".html", as_html(case))):
            path = out / f"{stem}{suffix}"
            path.write_text(text, encoding="utf-8", errors="replace")
            say(str(path))
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UserError(f"cannot be written: {why}", str(out), "give another --out") from None
    if case.audit_breaks:
        say(f"the audit trail is broken: {case.audit_breaks[0]}")
    if again is None:
        return 1 if case.audit_breaks else 0
    found = again(case)
    for line in in_words(found):
        say(line)
    return 1 if case.audit_breaks or not found.equal else 0


def from_kafka(config: Config) -> Callable[[EvidenceCase], Recomputed]:
    """Recomputes the verdicts of a case from what Kafka holds."""
    return lambda case: recompute_from_kafka(config, case.model, case.version, case.verdicts)


def file_name(name: str) -> str:
    """A part of a file's name from a name that a producer made up.

    >>> file_name("../gpt-4 / x")
    'gpt-4-x'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:MAX_NAME_CHARS] or "release"

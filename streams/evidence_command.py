"""`driftline evidence MODEL VERSION`: what an auditor asks for, in one page and one JSON file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detectors.action import printable
from streams.errors import UserError
from streams.evidence_case import EvidenceCase, read_case
from streams.evidence_report import as_html, as_json
from streams.recompute import SHORT_HASH, Recomputed, in_words, recompute_from_kafka
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
    """Write the files into ``out``: page, JSON, and settings that verdicts were judged with and
    that are not the present ones. Returns 0; 1 if nothing is stored of the release, its audit
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
    files = {f"{stem}.json": as_json(case), f"{stem}.html": as_html(case), **_earlier(case, stem)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            path = out / name
            path.write_text(text, encoding="utf-8", errors="replace")
            say(str(path))
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UserError(f"cannot be written: {why}", str(out), "give another --out") from None
    for each in case.configurations:
        if not each["present"]:
            say(_other_settings(each))
    if case.audit_breaks:
        say(f"the audit trail is broken: {case.audit_breaks[0]}")
    if again is None:
        return 1 if case.audit_breaks else 0
    found = again(case)
    for line in in_words(found):
        say(line)
    return 1 if case.audit_breaks or not found.equal else 0


def _earlier(case: EvidenceCase, stem: str) -> dict[str, str]:
    """Settings of then, each as a file that driftline reads."""
    return {
        f"{stem}-settings-{each['configuration'][:SHORT_HASH]}.yaml": each["content"]
        for each in case.configurations
        if each["genuine"] and not each["present"]
    }


def _other_settings(row: Mapping[str, Any]) -> str:
    count, name = row["verdicts"], row["configuration"][:SHORT_HASH]
    if not name:
        return f"{count} verdicts do not say which settings they were judged with"
    found = f"{count} verdicts were judged with other settings than the present ones: {name}"
    if row["genuine"]:
        return found
    if row["content"]:
        return f"{found}, whose stored text does not have this hash: it was changed"
    return f"{found}, whose text is not stored"


def from_kafka(config: Config) -> Callable[[EvidenceCase], Recomputed]:
    """Recomputes the verdicts of a case from what Kafka holds."""
    return lambda case: recompute_from_kafka(config, case.model, case.version, case.verdicts)


def file_name(name: str) -> str:
    """A part of a file's name from a name that a producer made up.

    >>> file_name("../gpt-4 / x")
    'gpt-4-x'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:MAX_NAME_CHARS] or "release"

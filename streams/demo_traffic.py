"""What the demo replays: recorded answers of GPT-4 and car loan decisions, put on one timeline.

The samples and their sources are described in examples/DATA.md. Rows and values are the recorded
ones; the times are not. Questions are spaced evenly, so that every version answers the same
question at the same moment; the loans keep their order and are spaced evenly too. All of it ends
shortly before now. Of the 50 code questions, one is asked after every three opinion questions,
again from the first when all were asked: that is once in each window of 30 minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet

from detectors.release import Release, Role

ANSWERS_TOPIC = "answers"
LOANS_TOPIC = "loans"

GPT, LOANS = "gpt-4", "car_loan"
PRODUCTION = Release(GPT, "0314", Role.PRODUCTION)
CANARY = Release(GPT, "0613", Role.CANARY)
SHADOW = Release(GPT, "3.5-0613", Role.SHADOW)
"""GPT-3.5 (gpt-3.5-turbo-0613), which is asked everything as well and whose answers nobody sees."""
LOAN_MODEL = Release(LOANS, "1", Role.PRODUCTION)

_RELEASES: Mapping[str, Release] = {
    "gpt-4-0314": PRODUCTION,
    "gpt-4-0613": CANARY,
    "gpt-3.5-turbo-0613": SHADOW,
}

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
QUESTION_MS = 9_000
"""Between two questions: 200 in half an hour."""
OPINIONS_PER_CODE = 3
CANARY_FROM_MS = HOUR_MS
"""Until then production and shadow answer alone."""
LOAN_MS = 1_450
DRIFT_ROW = 25_000
"""The row of the original file from which the loans are different."""
LOAN_EVERY = 4
"""The sample holds one row of the original in so many."""
LOANS_PER_MESSAGE = 25
LENGTH_MS = 5 * HOUR_MS + 3 * MINUTE_MS
"""No event comes later than this after the first."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent at one moment: ``at_ms`` after the start, ``events`` as the bytes of a Kafka
    message. ``release``: whose they are. ``bad``: a canary's answer that cannot be used, where
    production's answer to the same question can."""

    at_ms: int
    topic: str
    key: bytes
    value: bytes
    events: int
    release: Release
    bad: bool = False


def start_of(now_ms: int) -> int:
    """The event time of the first event: a full hour, so that all events lie before now."""
    latest = now_ms - LENGTH_MS
    return latest - latest % HOUR_MS


def traffic(folder: Path, start_ms: int) -> list[Message]:
    """All messages in the order of their times. ``folder`` holds the samples."""
    messages = [*_answers(_rows(folder / "llmdrift.parquet"), start_ms)]
    messages += _loans(_rows(folder / "car_loan_analysis.parquet"), start_ms)
    return sorted(messages, key=lambda message: message.at_ms)


def drift_at_ms() -> int:
    """When the first loan of the changed population comes, after the start."""
    return DRIFT_ROW // LOAN_EVERY * LOAN_MS


def _rows(path: Path) -> list[dict[str, Any]]:
    return pyarrow.parquet.read_table(path).to_pylist()  # type: ignore[no-any-return]


def _answers(rows: Iterable[Mapping[str, Any]], start_ms: int) -> Iterable[Message]:
    by_question: dict[str, dict[int, list[Mapping[str, Any]]]] = {"OPINIONQA": {}, "LEETCODE": {}}
    for row in rows:
        by_question[row["segments.dataset"]].setdefault(row["question"], []).append(row)
    opinions, code = by_question["OPINIONQA"], by_question["LEETCODE"]
    asked: list[list[Mapping[str, Any]]] = []
    for question in sorted(opinions):
        asked.append(opinions[question])
        if question % OPINIONS_PER_CODE == OPINIONS_PER_CODE - 1:
            asked.append(code[question // OPINIONS_PER_CODE % len(code)])
    for number, answers in enumerate(asked):
        at_ms = number * QUESTION_MS
        usable = {_RELEASES[row["version"]]: _usable(row) for row in answers}
        for row in answers:
            release = _RELEASES[row["version"]]
            if release is CANARY and at_ms < CANARY_FROM_MS:
                continue
            request = f"q-{number}"
            event = _event(row, release, start_ms + at_ms, request)
            bad = release is CANARY and usable[PRODUCTION] and not usable[CANARY]
            yield Message(
                at_ms, ANSWERS_TOPIC, request.encode(), msgspec.json.encode(event), 1, release, bad
            )


def _usable(row: Mapping[str, Any]) -> bool:
    return 1 in (row["scores.answer_format"], row["scores.usable_code"])


def _loans(rows: Sequence[Mapping[str, Any]], start_ms: int) -> Iterable[Message]:
    for first in range(0, len(rows), LOANS_PER_MESSAGE):
        batch = rows[first : first + LOANS_PER_MESSAGE]
        lines = [
            msgspec.json.encode(
                _event(row, LOAN_MODEL, start_ms + (first + at) * LOAN_MS, f"loan-{first + at}")
            )
            for at, row in enumerate(batch)
        ]
        # Sent when its last event has happened.
        at_ms = (first + len(batch) - 1) * LOAN_MS
        key = f"batch-{first}".encode()
        yield Message(at_ms, LOANS_TOPIC, key, b"\n".join(lines), len(lines), LOAN_MODEL)


def _event(row: Mapping[str, Any], release: Release, ts_ms: int, request_id: str) -> Any:
    """An event as a model server would log it: dotted columns become nested objects."""
    event: dict[str, Any] = {
        "ts": ts_ms,
        "model": release.model,
        "version": release.version,
        "role": release.role.value,
        "request_id": request_id,
        "status": "ok",
    }
    for column, value in row.items():
        if value is None or column in ("question", "version", "recorded_at"):
            continue
        *outer, name = column.split(".")
        inside = event
        for part in outer:
            inside = inside.setdefault(part, {})
        inside[name] = value
    return event

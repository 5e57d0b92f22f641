"""Workers of summarize that read recorded messages by a plan, and what they flush."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from detectors.reference import Reference, reference_from_table
from streams.cardinality import Limits
from streams.inputs import InputSettings
from streams.intake import Place
from streams.internal_topics import (
    SUMMARIES,
)
from streams.sampling import SampleSettings
from streams.summarizer import Summarizer, SummarizeSettings
from tests.laws.judge_on_disk import BASE_MS, TIME

TOPIC = "predictions"
Log = Mapping[Place, Sequence[bytes]]
"""The messages of each partition."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the messages are read: which worker has which partition, and a list of steps: a worker
    and how many messages of which partition it takes next; 0 messages: it flushes."""

    workers: int
    owner: tuple[int, ...]
    steps: tuple[tuple[int, int], ...]


def summarized(log: Log, plan: Plan, known: Reference | None = None) -> list[bytes]:
    """The records of driftline.summaries, in order: the plan's steps, then all that is left."""
    workers = [make_summarizer(f"w{number}", known) for number in range(plan.workers)]
    position = dict.fromkeys(log, 0)
    owner = {place: plan.owner[place[1] % len(plan.owner)] % plan.workers for place in log}
    for place in log:
        workers[owner[place]].intake.assign(place, len(log), -(2**62), BASE_MS)
    records: list[bytes] = []

    def flush(worker: int) -> None:
        flushed = workers[worker].flush(BASE_MS, {})
        records.extend(record.value for record in flushed if record.topic == SUMMARIES)
        workers[worker].intake.clear()

    def take(place: Place, count: int) -> None:
        at = position[place]
        some = [message(place, at + i, body) for i, body in enumerate(log[place][at : at + count])]
        position[place] += len(some)
        if some:
            workers[owner[place]].take(some, BASE_MS)

    places = sorted(log)
    for which, count in plan.steps:
        if count:
            take(places[which % len(places)], count)
        else:
            flush(which % plan.workers)
    for place in places:
        take(place, len(log[place]))
    for worker in range(plan.workers):
        flush(worker)
    return records


def make_summarizer(name: str, known: Reference | None) -> Summarizer:
    return Summarizer(
        (InputSettings(TOPIC),),
        TIME,
        SummarizeSettings(),
        Limits(),
        SampleSettings(),
        lambda model: known if known is not None and known.model == model else None,
        1,
        name,
    )


def message(place: Place, offset: int, body: bytes) -> Message:
    return Message(*place, offset, value=body, timestamp=(TIMESTAMP_CREATE_TIME, BASE_MS))


def as_message(some: Sequence[Mapping[str, Any]]) -> bytes:
    return b"\n".join(json.dumps(event).encode() for event in some)


def reference(model: str = "m") -> Reference:
    rng = np.random.default_rng(0)
    return reference_from_table(
        model,
        pa.table(
            {
                "features.x": rng.normal(0, 1e5, 500),
                "features.topic": ["arrays", "strings"] * 250,
                "latency_ms": rng.lognormal(4, 1, 500),
                "scores.quality": [1.0] * 500,
            }
        ),
        "a test",
    )

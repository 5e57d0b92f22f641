"""Events, as columns: what every codec makes of the bytes of an input topic.

An event in words (JSON shown; docs/events.md has every field)::

    {"ts": "2023-06-13T10:00:00.123Z", "model": "gpt-4", "version": "0613", "role": "canary",
     "request_id": "q-1", "unit_id": "user-9", "segments": {"dataset": "LEETCODE"},
     "features": {"prompt_chars": 1890, "topic": "arrays"},
     "prediction": {"label": "B", "probabilities": {"A": 0.1, "B": 0.9}},
     "scores": {"usable_code": 0.0}, "latency_ms": 6412.0, "status": "ok",
     "tokens_in": 512, "tokens_out": 230, "cost": 0.031}

A column's name is the dotted path of its value: ``features.prompt_chars``, ``prediction.label``,
``prediction.probabilities.A``, ``scores.usable_code``, ``latency_ms``. A scalar ``prediction``
is ``prediction.value`` if it is a number, ``prediction.label`` if it is text. Booleans are the
categories ``true`` and ``false``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.release import Role


class EventKind(StrEnum):
    """What an event is. It is named by ``type``, or else told from the fields it has."""

    PREDICTION = "prediction"
    LABEL = "label"
    SCORE = "score"
    OUTCOME = "outcome"


@dataclass(frozen=True, slots=True, eq=False)
class Categorical:
    """Dictionary-coded text: ``codes[i]`` indexes ``categories``, -1 where there is no value."""

    codes: NDArray[np.int32]
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class EventBatch:
    """``rows`` events of one model and one kind, as columns of equal length.

    ``ts_ms``: event times, int64. ``source``: index of the message of the decoded chunk each row
    came from, int64, not decreasing. ``release``: index into ``releases`` (version, role).
    ``numeric``: float64, NaN where the row has no (finite) number. ``errors``: for a column, how
    often a row held something unreadable there (not finite, too long, a list), as row indices.
    ``failed``: True where the status says that the model did not answer (predictions only).
    A name may stand in ``numeric`` and in ``categorical``: producers do disagree on types.
    """

    model: str
    kind: EventKind
    rows: int
    ts_ms: NDArray[np.int64]
    source: NDArray[np.int64]
    releases: tuple[tuple[str, Role], ...]
    release: NDArray[np.int32]
    failed: NDArray[np.bool_]
    segments: Mapping[str, Categorical] = field(default_factory=dict)
    numeric: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    categorical: Mapping[str, Categorical] = field(default_factory=dict)
    errors: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    request_ids: tuple[str | None, ...] | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """What could not be read: a whole message (``row`` -1) or one row of it.

    ``reason`` never quotes the payload. ``raw`` is the message or the row, not yet cut.
    """

    source: int
    row: int
    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Decoded:
    """A chunk of messages, decoded. ``rows[i]``: rows seen in message i, accepted or rejected."""

    batches: tuple[EventBatch, ...]
    rejects: tuple[Reject, ...]
    rows: NDArray[np.int64]


def put_together(parts: Sequence[tuple[NDArray[np.int64], Decoded]], messages: int) -> Decoded:
    """So many ``messages`` of which each part was decoded by itself. With each part: the index of
    its messages, ascending. What is late, and what is committed, follows from the order of all."""
    batches: list[EventBatch] = []
    rejects: list[Reject] = []
    rows = np.zeros(messages, np.int64)
    for index, part in parts:
        rows[index] = part.rows
        batches += [replace(batch, source=index[batch.source]) for batch in part.batches]
        rejects += [replace(each, source=int(index[each.source])) for each in part.rejects]
    rejects.sort(key=lambda each: each.source)
    return Decoded(tuple(batches), tuple(rejects), rows)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a codec accepts. Everything a producer controls has a limit.

    Event times outside ``[min_ts_ms, max_ts_ms]`` are rejected, so that one absurd clock cannot
    move a watermark. ``kafka_ts_fallback``: use the message's Kafka timestamp where ``ts`` is
    absent. ``kind``: what events without ``type`` are; None means: tell by their fields.
    """

    min_ts_ms: int
    max_ts_ms: int
    max_message_bytes: int = 8 * 1024 * 1024
    max_name_chars: int = 200
    max_value_chars: int = 200
    max_columns: int = 2000
    kafka_ts_fallback: bool = False
    kind: EventKind | None = None

    def fallback_times(self, kafka_ts_ms: Sequence[int] | None) -> NDArray[np.int64] | None:
        """The timestamps of messages, where events without one may take them."""
        if kafka_ts_ms is None or not self.kafka_ts_fallback:
            return None
        return np.array(kafka_ts_ms, dtype=np.int64)


class Codec(Protocol):
    """Bytes to columns. A codec may keep what it learnt of the shape of messages, nothing else:
    the same messages give the same columns whatever was decoded before."""

    name: str

    def decode(
        self, values: Sequence[bytes | None], kafka_ts_ms: Sequence[int] | None, bounds: Bounds
    ) -> Decoded:
        """Never raises for what a producer sent: what cannot be read is in ``rejects``."""
        ...

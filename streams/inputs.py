"""The topics that events are read from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final, assert_never

from streams.event import EventKind

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}\Z")


class InputFormat(StrEnum):
    """How the messages of a topic are written; AUTO: by header, or by their first bytes."""

    AUTO = "auto"
    JSON = "json"
    NDJSON = "ndjson"
    ARROW = "arrow"


class InputKind(StrEnum):
    """What events without a ``type`` are; AUTO: told by the fields they have."""

    AUTO = "auto"
    PREDICTION = "prediction"
    LABEL = "label"
    SCORE = "score"
    OUTCOME = "outcome"


@dataclass(frozen=True, slots=True)
class InputSettings:
    """One input topic.

    ``kafka_ts_fallback``: an event without ``ts`` takes the timestamp of its Kafka message.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    topic: str = "predictions"
    format: InputFormat = InputFormat.AUTO
    kind: InputKind = InputKind.AUTO
    kafka_ts_fallback: bool = False

    def __post_init__(self) -> None:
        if not _TOPIC.match(self.topic) or self.topic in (".", ".."):
            raise ValueError("a topic's name is 1 to 249 of the characters a-z A-Z 0-9 . _ -")

    @property
    def event_kind(self) -> EventKind | None:
        """The kind as codecs take it: None means, tell by the fields."""
        match self.kind:
            case InputKind.AUTO:
                return None
            case InputKind.PREDICTION:
                return EventKind.PREDICTION
            case InputKind.LABEL:
                return EventKind.LABEL
            case InputKind.SCORE:
                return EventKind.SCORE
            case InputKind.OUTCOME:
                return EventKind.OUTCOME
            case _:
                assert_never(self.kind)

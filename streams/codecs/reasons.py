"""Why something was not read: a closed set, so that reasons can be counted and never quote data."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The reason of a reject, as it stands in the dead letter."""

    EMPTY = "empty message"
    TOO_LARGE = "message too large"
    TOO_MANY_ROWS = "too many rows in one message"
    NOT_JSON = "not valid JSON"
    TRUNCATED_JSON = "JSON is cut off"
    NOT_UTF8 = "not valid UTF-8"
    TOO_DEEP = "nested too deeply"
    NUMBER_RANGE = "number out of range"
    NOT_OBJECT = "event is not a JSON object"
    NO_TS = "ts is missing"
    BAD_TS = "ts is neither an ISO-8601 time nor an epoch number"
    TS_RANGE = "event time out of range"
    BAD_MODEL = "model is missing or not a readable name"
    BAD_VERSION = "version is missing or not a readable name"
    BAD_ROLE = "role is not production, canary, shadow or variant"
    BAD_TYPE = "type is not prediction, label, score or outcome"
    NOT_ARROW = "not a readable Arrow stream"
    ARROW_COLUMNS = "Arrow columns have the same name twice"


class Unreadable(Exception):
    """A row cannot be an event."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason

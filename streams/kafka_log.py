"""librdkafka's own log lines, as structured events instead of noise on stderr."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Any

import structlog

REPEAT_S = 30.0
"""A line that says the same as one before is left out for so long."""

_MAX_REMEMBERED = 200
_NUMBERS = re.compile(r"\d+")

log = structlog.get_logger()


class KafkaLog:
    """What to pass to a client as ``logger``; `error` is for its ``error_cb``.

    A client that cannot connect repeats itself many times a second, so a line is compared with
    earlier ones, numbers aside, and passes only once in `REPEAT_S`. librdkafka's lines hold
    addresses, topics and error texts; payloads and passwords never.
    """

    def __init__(self, client: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._said: dict[str, float] = {}

    def log(self, level: int, message: str, *arguments: object) -> None:
        """Takes a line the way ``logging.Logger.log`` does."""
        facility, _, text = (*map(str, arguments), "", "", "")[:3]
        text = text.split("]: ", 1)[-1] if text.startswith("[thrd:") else text
        if not arguments:
            text = message
        if self._new(facility + text):
            event = log.bind(client=self._client, facility=facility, text=text)
            # The admin client asks once and its caller reports the answer: it is not said twice.
            if level >= logging.ERROR and self._client != "admin":
                event.warning("kafka_client_says")  # librdkafka goes on: an error is not the end
            else:
                event.debug("kafka_client_says")

    def error(self, error: Any) -> None:
        """Takes a KafkaError that no call was waiting for."""
        if self._new(error.name()):
            level = logging.ERROR if error.fatal() else logging.WARNING
            log.log(level, "kafka_client_error", client=self._client, code=error.name())

    def _new(self, text: str) -> bool:
        now, key = self._clock(), _NUMBERS.sub("#", text)
        before = self._said.get(key)
        if before is not None and now - before < REPEAT_S:
            return False
        if len(self._said) >= _MAX_REMEMBERED:
            self._said.clear()
        self._said[key] = now
        return True

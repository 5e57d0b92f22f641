"""Which models have a shadow, as every worker knows it: from the topic ``shadows``.

A worker that reads a shadow's answers announces the model, again while they come; the others then
send production's halves for it. The topic has one partition, which every worker reads whole,
without a group, between its flushes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

import confluent_kafka
import msgspec
import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition

from streams.cardinality import Names
from streams.errors import UnavailableError
from streams.timeline import MINUTE

log = structlog.get_logger()

ACTIVE_MS = 15 * MINUTE
"""How long a model is paired after its shadow was last announced."""
REPEAT_MS = MINUTE
_MOST_AT_ONCE = 1_000


class Announcement(msgspec.Struct, frozen=True):
    """A record of the topic ``shadows``: a shadow of ``model`` was read at ``wall_ms``."""

    model: str
    wall_ms: int


_decoder = msgspec.json.Decoder(Announcement)


class Shadows:
    """Models with a shadow, and when it was last seen; of more than ``most``, those seen last.
    Producers choose the names: at most ``most`` are ever announced from here."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._names = Names(most)
        self._seen: dict[str, int] = {}
        self._announced: dict[str, int] = {}

    def hear(self, model: str, wall_ms: int) -> None:
        """A shadow of ``model`` was seen by some worker."""
        self._seen[model] = max(wall_ms, self._seen.pop(model, wall_ms))
        while len(self._seen) > self._most:
            del self._seen[next(iter(self._seen))]

    def active(self, model: str, now_ms: int) -> bool:
        seen = self._seen.get(model)
        return seen is not None and now_ms - seen < ACTIVE_MS

    def see(self, model: str, now_ms: int) -> bytes | None:
        """A shadow of ``model`` was seen here: what to announce, if it is time to."""
        if not self._names.admit(model):
            return None
        self.hear(model, now_ms)
        last = self._announced.get(model)
        if last is not None and now_ms - last < REPEAT_MS:
            return None
        self._announced[model] = now_ms
        return msgspec.json.encode(Announcement(model, now_ms))

    def announce_again(self) -> None:
        """What was to be announced may not have been written."""
        self._announced.clear()


class ShadowBook:
    """Reads the topic into ``shadows``. Use it in a ``with`` block."""

    def __init__(
        self,
        make_consumer: Callable[[], confluent_kafka.Consumer],
        topic: str,
        shadows: Shadows,
    ) -> None:
        self._make_consumer = make_consumer
        self._topic = topic
        self._shadows = shadows

    def __enter__(self) -> Self:
        self._consumer = self._make_consumer()
        self._consumer.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def wait_read(self, timeout_s: float = 30) -> None:
        """Read the topic to its end. The consumer must report the end of a partition."""
        deadline = time.monotonic() + timeout_s
        while not self._read(0.1):
            if time.monotonic() > deadline:
                raise UnavailableError(
                    "the list of shadows could not be read",
                    self._topic,
                    "is Kafka up and the topic there?",
                )

    def poll(self) -> None:
        """Take in what has come since; never waits."""
        self._read(0)

    def _read(self, wait_s: float) -> bool:
        """Whether the end of the topic was reached."""
        at_end = False
        for message in self._consumer.consume(_MOST_AT_ONCE, timeout=wait_s):
            error = message.error()
            if error is not None:
                ended = error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001 - its public name
                at_end |= ended
                if not ended:
                    log.warning("shadows cannot be read for now", error=error.name())
                continue
            try:
                announced = _decoder.decode(message.value() or b"")
            except (msgspec.DecodeError, RecursionError):
                log.warning("announcement refused", offset=message.offset())
                continue
            self._shadows.hear(announced.model, announced.wall_ms)
        return at_end

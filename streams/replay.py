"""Plays recorded messages into Kafka, faster than they happened, and never faster than they are
read.

The embedded broker keeps some megabytes of a partition and drops the rest unread, so a replay that
runs ahead of its readers would lose events in silence. Therefore the clock of the replay stands
still while more than ``most_unread`` messages wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import confluent_kafka
from confluent_kafka import KafkaException, TopicPartition

from streams.clock import wall_ms
from streams.demo_traffic import Message

_ASK_S = 0.5
_PAUSE_AFTER_S = 0.2


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent of a replay so far. ``first_bad_ms``: when, on the wall, the first bad answer
    left (0: none has); ``first_bad_at_ms``: the same on the replay's own clock."""

    messages: int = 0
    events: int = 0
    withheld: int = 0
    bad: int = 0
    first_bad_ms: int = 0
    first_bad_at_ms: int = 0


class Log(Protocol):
    """Where messages go."""

    def produce(self, topic: str, value: bytes, key: bytes, partition: int) -> None: ...

    def poll(self, timeout: float) -> int: ...


class Replay:
    """Sends each message when its time has come; call `step` some times a second.

    ``length_ms`` of recorded time take ``seconds``. ``unread``: how many messages nobody has read
    yet. ``clock_s`` is a steady clock, ``wall_ms`` the time of day. Messages go to the
    ``partitions`` of their topic in turn.
    """

    def __init__(
        self,
        messages: Sequence[Message],
        log: Log,
        *,
        length_ms: int,
        seconds: float,
        unread: Callable[[int], int],
        most_unread: int = 1_000,
        partitions: int = 4,
        clock_s: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._messages = messages
        self._log = log
        self._ms_per_s = length_ms / seconds
        self._unread = unread
        self._most_unread = most_unread
        self._partitions = partitions
        self._clock_s = clock_s
        self._wall_ms = wall_ms
        self._next = 0
        self._stepped_s: float | None = None
        self._asked_s = 0.0
        self._waiting = False
        self._reached: list[tuple[float, int]] = []
        self.at_ms = 0.0
        self.sent = Sent()

    @property
    def done(self) -> bool:
        """Whether everything was sent or withheld."""
        return self._next == len(self._messages)

    def step(self, wanted: Callable[[Message], bool]) -> None:
        """Send what is due and ``wanted``; what is not wanted is withheld, and counted."""
        now_s = self._clock_s()
        elapsed_s = 0.0 if self._stepped_s is None else now_s - self._stepped_s
        self._stepped_s = now_s
        if now_s - self._asked_s >= _ASK_S:
            self._asked_s = now_s
            self._waiting = self._unread(self.sent.messages) > self._most_unread
        if not self._waiting:
            # A process that was held up does not catch up in one burst.
            self.at_ms += min(elapsed_s, _PAUSE_AFTER_S) * self._ms_per_s
        while not self.done and self._messages[self._next].at_ms <= self.at_ms:
            self._send(self._messages[self._next], wanted)
            self._next += 1
        self._reached.append((self.at_ms, self._wall_ms()))
        self._log.poll(0)

    def _send(self, message: Message, wanted: Callable[[Message], bool]) -> None:
        sent = self.sent
        if not wanted(message):
            self.sent = replace(sent, withheld=sent.withheld + message.events)
            return
        self._log.produce(
            message.topic, message.value, message.key, sent.messages % self._partitions
        )
        self.sent = replace(sent, messages=sent.messages + 1, events=sent.events + message.events)
        if message.bad:
            self.sent = replace(self.sent, bad=sent.bad + 1)
        if message.bad and not sent.bad:
            self.sent = replace(
                self.sent, first_bad_ms=self._wall_ms(), first_bad_at_ms=message.at_ms
            )

    def reached_ms(self, at_ms: int) -> int:
        """When, on the wall, the replay came to ``at_ms``; 0 if it has not yet."""
        return next((wall for at, wall in self._reached if at >= at_ms), 0)


def unread_by(
    consumer: confluent_kafka.Consumer, topics: Sequence[str], partitions: int
) -> Callable[[int], int]:
    """How many of a number of messages the group of ``consumer`` has not committed yet."""
    places = [TopicPartition(topic, p) for topic in topics for p in range(partitions)]

    def unread(sent: int) -> int:
        try:
            committed = consumer.committed(places, timeout=5)
        except KafkaException:
            return sent  # nobody knows, so wait
        return sent - sum(max(place.offset, 0) for place in committed)

    return unread

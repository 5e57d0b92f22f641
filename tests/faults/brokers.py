"""One real Kafka after another, for many runs of cells."""

from __future__ import annotations

from typing import Final, Self

from deploy.kafka.server import RealKafka

RUNS: Final = 12
"""Of one broker. Each leaves some twenty topics; after eighty runs on a busy machine a topic could
not be made within 10 s, and a broker that was killed did not come back within a minute."""


class Brokers:
    """Use it in a ``with`` block: leaving it ends the broker."""

    def __init__(self) -> None:
        self._kafka: RealKafka | None = None
        self._runs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def give(self) -> RealKafka:
        """The broker for one run. Raises `KafkaCannotRun` where none can be started."""
        if self._runs >= RUNS:
            self.discard()
        if self._kafka is None:
            kafka = RealKafka()
            kafka.__enter__()
            self._kafka, self._runs = kafka, 0
        self._runs += 1
        return self._kafka

    def discard(self) -> None:
        """The next run gets another broker: what a cell that could not be played has left of this
        one must not fail all the others."""
        if self._kafka is not None:
            self._kafka.__exit__(None, None, None)
            self._kafka = None

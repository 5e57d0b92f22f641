"""How much a worker takes from Kafka at once: a number of messages that holds some megabytes.

A client asks for a number of messages, and a message may hold a hundred bytes or as many rows of
Arrow as fit in some megabytes. Five hundred of the latter are hundreds of megabytes that are all
there at once, cold when they are decoded, and given by the system page by page: measured at 1,000
rows a message, taking them cost three times as much and a worker held 170 MB more. So the number
follows the size of what came last, and a call waits only briefly for its number to be complete:
what it can gather meanwhile is bounded too, also where large messages follow upon small ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import TypeVar

Entry = TypeVar("Entry", bound=Sized)

MOST_BYTES_AT_ONCE = 4 * 1024 * 1024
"""Of messages taken at once, and between two looks at how much is buffered; one message may be
larger."""

MOST_WAIT_S = 0.05
"""How long one call gathers messages. Twenty calls a second cost nothing that can be measured."""

_FIRST = 16


class Batches:
    """How many messages to ask for (``ask``: 1 to ``most``), learnt from those that came.

    >>> batches = Batches(500)
    >>> [len(part) for part in batches.cut([b"x" * 3_000_000, b"y" * 2_000_000, b"z"])]
    [1, 2]
    >>> batches.ask
    2
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.ask = min(_FIRST, most)

    def cut(self, messages: Sequence[Entry]) -> Iterator[list[Entry]]:
        """Messages in their order, in parts of some megabytes; one larger message is a part."""
        sizes = list(map(len, messages))
        size = sum(sizes)
        if messages:
            self._learn(len(messages), size)
        if size <= MOST_BYTES_AT_ONCE:
            if messages:
                yield list(messages)
            return
        part: list[Entry] = []
        held = 0
        for message, each in zip(messages, sizes, strict=True):
            if part and held + each > MOST_BYTES_AT_ONCE:
                yield part
                part, held = [], 0
            part.append(message)
            held += each
        yield part

    def _learn(self, messages: int, size: int) -> None:
        """Down at once; up by doubling, for a few small messages say little about the next."""
        fitting = MOST_BYTES_AT_ONCE * messages // max(size, 1)
        self.ask = max(1, min(fitting, 2 * self.ask, self._most))

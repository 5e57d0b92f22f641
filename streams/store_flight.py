"""A batch on its way into the store, while the loop of the role reads the next one.

The tables of a batch are inserted one after the other by a thread of its own: the engine works
while messages are made into columns, and a server that hangs keeps the loop neither from answering
the broker nor from stopping in time. An insert that failed for now is made again, with growing
pauses, until it succeeds or nobody wants to wait any longer.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

import pyarrow as pa

from sinks.errors import Retryable
from sinks.table import Table
from streams.failpoints import reached
from streams.store_batch import Place

Insert = Callable[[Table, pa.Table], object]
"""Stores the columns of one table; raises Retryable or Permanent."""
Launch = Callable[[Callable[[], None]], object]
"""Has some work done, and may return before it is."""


class Log(Protocol):
    """Told, in the thread of the flight, what becomes of inserts."""

    def inserted(self, table: Table, rows: int, seconds: float) -> None: ...
    def retrying(self, table: Table, why: Retryable, pause_ms: int) -> None: ...


class Flight:
    """``offsets``: the next offset of each partition that the batch has messages of, to be
    committed once it is stored. Only the thread of the loop reads and changes them."""

    def __init__(
        self,
        offsets: dict[Place, int],
        tables: Iterable[tuple[Table, pa.Table]],
        insert: Insert,
        log: Log,
        pauses_ms: tuple[int, int],
    ) -> None:
        """``pauses_ms``: the first and the longest one between two tries."""
        self.offsets = offsets
        self._left = deque(tables)
        self._insert = insert
        self._log = log
        self._first_pause_ms, self._longest_pause_ms = pauses_ms
        self._last_try = threading.Event()
        self._over = threading.Event()
        self._error: Exception | None = None

    def fly(self) -> None:
        """Insert table by table; raises nothing."""
        try:
            while self._left and self._stored(*self._left[0]):
                self._left.popleft()
        except Exception as error:  # raised again in the thread of the loop
            self._error = error
        finally:
            self._over.set()

    def last_try(self) -> None:
        """From now on an insert that fails is not made again."""
        self._last_try.set()

    def wait(self, seconds: float) -> bool:
        """Whether it is over, after so long at most."""
        return self._over.wait(seconds)

    def landed(self) -> bool:
        """Once it is over: whether all is stored. Raises what no further try can cure."""
        if self._error is not None:
            raise self._error
        return not self._left

    def _stored(self, table: Table, columns: pa.Table) -> bool:
        """False if it was given up."""
        pause_ms = self._first_pause_ms
        while True:
            began = time.monotonic()
            try:
                self._insert(table, columns)
            except Retryable as error:
                self._log.retrying(table, error, pause_ms)
                if self._last_try.wait(pause_ms / 1000):
                    return False
                pause_ms = min(2 * pause_ms, self._longest_pause_ms)
            else:
                reached("store.inserted")
                self._log.inserted(table, columns.num_rows, time.monotonic() - began)
                return True


def in_a_thread(work: Callable[[], None]) -> None:
    """A daemon: who stops does not wait for a server that hangs."""
    threading.Thread(target=work, name="store-insert", daemon=True).start()

"""What the store has read and not stored yet.

Rows become columns as they come, so that a batch takes a fifth of the memory that its rows would
take as objects. A message that does not fit its table is refused with its address and loses no
neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from sinks.row_messages import Record, RowMessages
from sinks.rows import RowsRefused
from sinks.table import Table

Place = tuple[str, int]
"""Topic and partition."""
Refuse = Callable[[Place, int, str], None]
"""Told of a message that cannot be stored: its place, its offset, and why."""

_ROWS_AT_ONCE = 2_000
"""Records made into columns together: few enough to be still in the processor's cache."""


@dataclass(slots=True)
class _Waiting:
    """Rows of one table: ``ready`` as columns, ``parts`` still as records, message by message."""

    ready: list[pa.Table] = field(default_factory=list)
    parts: list[tuple[Place, int, list[Record]]] = field(default_factory=list)
    records: int = 0
    bytes: int = 0


class Batch:
    """``offsets``: the next offset of each partition it has messages of; ``rows`` of all tables;
    ``bytes`` of the columns, and of the messages that are no columns yet; ``began_s``: when its
    first message came."""

    def __init__(self, readers: Mapping[str, RowMessages], refuse: Refuse) -> None:
        self.offsets: dict[Place, int] = {}
        self.rows = 0
        self.bytes = 0
        self.began_s = 0.0
        self._readers = readers
        self._refuse = refuse
        self._tables: dict[str, _Waiting] = {}

    def enter(self, table: str, place: Place, offset: int, message: bytes) -> None:
        """Take in the rows of a message, or refuse it."""
        try:
            found = self._readers[table].records(message)
        except RowsRefused as error:
            self._refuse(place, offset, str(error))
            return
        waiting = self._tables.setdefault(table, _Waiting())
        if isinstance(found, pa.Table):
            self.rows += found.num_rows
            self._keep(waiting, found)
            return
        self.rows += len(found)
        waiting.parts.append((place, offset, found))
        waiting.records += len(found)
        waiting.bytes += len(message)
        self.bytes += len(message)
        if waiting.records >= _ROWS_AT_ONCE:
            self._convert(table, waiting)

    def columns(self, table: Table) -> pa.Table | None:
        """All rows of a table, None if there are none. Afterwards the batch is used up."""
        waiting = self._tables.pop(table.name, None)
        if waiting is None:
            return None
        self._convert(table.name, waiting)
        if not any(part.num_rows for part in waiting.ready):
            return None
        # Small record batches would be small blocks for the engine.
        return pa.concat_tables(waiting.ready).combine_chunks()

    def _convert(self, table: str, waiting: _Waiting) -> None:
        parts, waiting.parts, waiting.records = waiting.parts, [], 0
        self.bytes -= waiting.bytes
        waiting.bytes = 0
        columns = self._readers[table].columns
        if not parts:
            return
        try:
            self._keep(waiting, columns([row for _, _, rows in parts for row in rows]))
        except RowsRefused:
            # Some message is wrong. They are taken one by one, so that it loses no neighbours.
            for place, offset, rows in parts:
                try:
                    self._keep(waiting, columns(rows))
                except RowsRefused as error:
                    self.rows -= len(rows)
                    self._refuse(place, offset, str(error))

    def _keep(self, waiting: _Waiting, columns: pa.Table) -> None:
        waiting.ready.append(columns)
        self.bytes += columns.nbytes

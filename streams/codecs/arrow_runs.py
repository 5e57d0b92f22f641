"""Record batches of several messages read as one, where they have one schema.

What a column costs besides its values (looking at its type, its name, its nulls) is then paid once
for thousands of rows and not once a message. The cells are the same: a row is judged by what
stands in it. So only schemas are joined where that holds, without maps (whose keys are columns of
the whole batch), and whatever Arrow cannot join is read message by message.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

MOST_ROWS = 32_768
"""Rows that are joined at most; a batch with more stays alone."""


@dataclass(frozen=True, slots=True)
class Part:
    """A record batch that has rows: of which message, where its rows are numbered from in it, and
    where among all rows of the call."""

    batch: Any
    message: int
    row: int
    position: int


@dataclass(slots=True)
class _Run:
    """Parts of one schema so far."""

    schema: Any
    joinable: bool
    parts: list[Part]
    rows: int


def runs(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Parts that may be read as one, in their order."""
    open_runs: list[_Run] = []
    for part in parts:
        schema, rows = part.batch.schema, part.batch.num_rows
        run = next((run for run in open_runs if run.schema.equals(schema)), None)
        if run is None:
            open_runs.append(_Run(schema, _joinable(schema), [part], rows))
        elif run.joinable and run.rows + rows <= MOST_ROWS:
            run.parts.append(part)
            run.rows += rows
        else:
            yield run.parts
            run.parts, run.rows = [part], rows
    for run in open_runs:
        yield run.parts


def joined(run: Sequence[Part]) -> Any:
    """One record batch of a run. Raises what Arrow raises where it cannot join."""
    if len(run) == 1:
        return run[0].batch
    return pa.concat_batches([part.batch for part in run])


def _joinable(schema: Any) -> bool:
    return not any(_has_map(kind) for kind in schema.types)


def _has_map(kind: Any) -> bool:
    if pa.types.is_map(kind):
        return True
    return any(_has_map(kind.field(i).type) for i in range(kind.num_fields))

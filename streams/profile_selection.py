"""Which columns of a table become which columns of events, and so of a reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from detectors.arrow_rows import kind_of
from streams.errors import UserError, some_of

MOST_CELLS = 250_000_000
_ALL = "*"
_TIME_COLUMNS = ("ts", "timestamp")
_EVENT_PREFIXES = ("features.", "scores.", "prediction.", "outcomes.")
_EVENT_COLUMNS = ("label", "latency_ms", "tokens_in", "tokens_out", "cost")
_NOT_FEATURES = (
    *("ts", "timestamp", "model", "version", "role", "type", "status"),
    *("request_id", "unit_id", "session_id"),
)
_SAMPLE = "give a sample of the rows, or select fewer columns"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which columns of the source become which columns of events.

    ``features``: their names in the source, or ``("*",)`` for all that nothing else names;
    ``latency``: the column of latencies in milliseconds; ``segments``: columns whose values are
    slices of the traffic; ``rename``: any other column, by its name in the source; ``times``: the
    column with the time of each row ("": one called ts or timestamp, if there is any).
    """

    features: tuple[str, ...] = ()
    latency: str = ""
    segments: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    times: str = ""

    @classmethod
    def of(
        cls,
        features: str = "",
        latency: str = "",
        segments: str = "",
        rename: str = "",
        times: str = "",
    ) -> Selection:
        """From the options of the command line, ``a,b`` and ``y=prediction.label,z=label``."""
        pairs: dict[str, str] = {}
        for part in _listed(rename):
            old, equals, new = part.partition("=")
            if not equals or not old.strip() or not new.strip():
                raise UserError(f"{part!r} is not a renaming", "--rename", "write old=new,old=new")
            pairs[old.strip()] = new.strip()
        return cls(_listed(features), latency.strip(), _listed(segments), pairs, times.strip())

    def times_in(self, present: Sequence[str]) -> str | None:
        """The column of times. Raises UserError if the one that was named is not there."""
        if self.times and self.times not in present:
            hint = f"it has: {some_of(present)}"
            raise UserError(f"the source has no column {self.times!r}", "--ts", hint)
        return next((n for n in (self.times, *_TIME_COLUMNS) if n and n in present), None)

    def names(self, present: Sequence[str]) -> dict[str, str]:
        """The columns of the reference: from their names in events to those in the source.

        A segment's column is ``segments.x``; it may be a feature too. Raises UserError for a name
        that is not there, and for two columns of one name."""
        known = (n for n in present if n.startswith(_EVENT_PREFIXES) or n in _EVENT_COLUMNS)
        asked = [(old, old, "") for old in known if old not in self.rename]
        asked += [(old, new, "--rename") for old, new in self.rename.items()]
        if self.latency:
            asked.append((self.latency, "latency_ms", "--latency"))
        asked += [(n, f"features.{n}", "--features") for n in self.features if n != _ALL]
        for name in self.segments:
            label = f"segments.{name.removeprefix('segments.')}"
            asked.append((name if name in present else label, label, "--segments"))
        if _ALL in self.features:
            named = {old for old, _, _ in asked} | set(_NOT_FEATURES)
            rest = (n for n in present if n not in named and not n.startswith("segments."))
            asked += [(name, f"features.{name}", "--features") for name in rest]
        chosen: dict[str, str] = {}
        for old, new, option in asked:
            if old not in present:
                raise UserError(
                    f"the source has no column {old.removeprefix('segments.')!r}",
                    option,
                    f"it has: {some_of(present)}",
                )
            if chosen.setdefault(new, old) != old:
                raise UserError(
                    f"the columns {chosen[new]!r} and {old!r} both become {new!r}",
                    option or "the source",
                    "rename one of them, or leave it out",
                )
        return chosen


def wanted(schema: Any, selection: Selection, where: str) -> list[str]:
    """The top-level columns to read: those that are chosen, and structs that may hold some."""
    _refuse_twice(schema.names, where)
    present = flat(schema.empty_table()).schema.names
    names = selection.names(present)
    if all(new.startswith("segments.") for new in names):
        raise _none_chosen(present, where)
    read = {*names.values(), selection.times_in(present)}
    return [
        field.name
        for field in schema
        if field.name in read
        or (
            pa.types.is_struct(field.type)
            and any(name.startswith(f"{field.name}.") for name in read if name)
        )
    ]


def flat(table: Any) -> Any:
    """Structs as columns with dotted names, at any depth."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table


def chosen(table: Any, selection: Selection, where: str) -> Any:
    """The chosen columns under their names in events."""
    if not table.num_rows:
        raise UserError("the table has no rows", where, "give data with rows")
    _refuse_twice(table.schema.names, where)
    names = selection.names(table.schema.names)
    kinds = {new: kind_of(table.schema.field(old).type) for new, old in names.items()}
    # Asked for by name, a column must not vanish; among "*" it may.
    asked = {*selection.features, selection.latency, *selection.rename}
    for new, old in names.items():
        if kinds[new] is None and old in asked:
            raise UserError(f"column {old!r} holds neither numbers nor text", where, "leave it out")
    kept = [new for new in names if kinds[new] is not None or new.startswith("segments.")]
    if all(new.startswith("segments.") for new in kept):
        raise _none_chosen(table.schema.names, where)
    check_size(table.num_rows, len(kept), where)
    return pa.Table.from_arrays([table.column(names[new]) for new in kept], names=kept)


def _none_chosen(present: Sequence[str], where: str) -> UserError:
    return UserError(
        "no usable column is chosen",
        where,
        f'choose some with --features "a,b" (or "*" for all); it has: {some_of(present)}',
    )


def _refuse_twice(names: Sequence[str], where: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f"column {twice[0]!r} stands more than once", where, "rename it in the source"
        )


def check_size(rows: int, columns: int, where: str) -> None:
    if rows * columns > MOST_CELLS:
        raise UserError(
            f"{columns} columns of {rows} or more rows are over {MOST_CELLS} values", where, _SAMPLE
        )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())

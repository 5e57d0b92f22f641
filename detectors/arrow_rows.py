"""From an Arrow table to the rows that :mod:`detectors.kernels` summarises.

Each row of the table counts as one prediction event. Numbers are numeric columns; text,
dictionaries and booleans (``true``, ``false``) are categorical; other types cannot be summarised.
Null and NaN are missing values; infinities and texts beyond ``MOST_TEXT_CHARS`` are errors, as
they are in events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from detectors.kernels import Codes, Rows
from detectors.layout import HEADERS, Header, Kind

MOST_TEXT_CHARS = 200


class UnusableColumn(ValueError):
    """A table has no such column, has it twice, or its type cannot be summarised."""


@dataclass(frozen=True, slots=True, eq=False)
class TableColumns:
    """A table's columns as arrays, in the order of its rows. ``numeric``: float64 [rows], NaN for
    no value, infinities as they are; ``texts``: codes; ``faulty``: bool [rows] of texts, where one
    was there but too long."""

    rows: int
    numeric: Mapping[str, NDArray[np.float64]]
    texts: Mapping[str, Codes]
    faulty: Mapping[str, NDArray[np.bool_]]

    def rows_of(
        self,
        starts: NDArray[np.int64] | None = None,
        order: NDArray[np.int64] | slice | None = None,
        *,
        infinite: bool = True,
    ) -> Rows:
        """The rows as one group, or those of ``order`` (int64 [rows chosen]) cut at ``starts``.
        ``infinite``: count infinities as errors, which costs a pass over all values."""
        at: Any = slice(None) if order is None else order
        bounds = np.array([0, self.rows]) if starts is None else starts
        headers = np.zeros((len(bounds) - 1, len(HEADERS)), np.int64)
        headers[:, HEADERS.index(Header.PREDICTIONS)] = np.diff(bounds)
        faults = {name: faulty[at] for name, faulty in self.faulty.items()}
        if infinite:
            faults |= {name: np.isinf(values[at]) for name, values in self.numeric.items()}
        errors = {}
        for name, faulty in faults.items():
            if faulty.any():
                upto = np.concatenate(([0], np.cumsum(faulty)))
                errors[name] = np.diff(upto[bounds])
        return Rows(
            bounds.astype(np.int64),
            headers,
            {name: values[at] for name, values in self.numeric.items()},
            {name: Codes(text.codes[at], text.names) for name, text in self.texts.items()},
            errors,
        )


def kind_of(type_: Any) -> Kind | None:
    """How a column of an Arrow type is summarised; None if it cannot be."""
    if pa.types.is_dictionary(type_):
        return Kind.CATEGORICAL if _is_text(type_.value_type) else None
    if pa.types.is_boolean(type_) or _is_text(type_):
        return Kind.CATEGORICAL
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return Kind.NUMERIC
    return None


def usable_columns(schema: Any) -> list[str]:
    """The names of the columns of an Arrow schema that can be summarised."""
    return [field.name for field in schema if kind_of(field.type) is not None]


def read_columns(table: Any, names: Sequence[str] | None = None) -> TableColumns:
    """The columns of an Arrow table (all usable ones without ``names``).

    Raises :class:`UnusableColumn` for a name that is missing or stands twice, and for a type that
    cannot be summarised.
    """
    chosen = usable_columns(table.schema) if names is None else list(names)
    numeric: dict[str, NDArray[np.float64]] = {}
    texts: dict[str, Codes] = {}
    faulty: dict[str, NDArray[np.bool_]] = {}
    for name in chosen:
        found = table.schema.get_all_field_indices(name)
        if len(found) != 1 or name in numeric or name in texts:
            raise UnusableColumn(f"column {name!r} stands {len(found)} times in the table")
        column = table.column(found[0])
        kind = kind_of(column.type)
        if kind is None:
            raise UnusableColumn(f"column {name!r} is {column.type}: neither number nor text")
        if kind is Kind.NUMERIC:
            numeric[name] = _numbers(column)
        else:
            texts[name], faulty[name] = codes_of(column)
    return TableColumns(
        table.num_rows, numeric, texts, {name: rows for name, rows in faulty.items() if rows.any()}
    )


def _is_text(type_: Any) -> bool:
    return bool(
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
    )


def _numbers(column: Any) -> NDArray[np.float64]:
    # Unsafe: integers beyond 2**53 are rounded, as they are wherever they become a double.
    doubles = column.cast(pa.float64(), safe=False)
    if doubles.null_count:
        doubles = pc.fill_null(doubles, float("nan"))
    # Doubles without nulls are not copied.
    return np.asarray(doubles.to_numpy(), dtype=np.float64)


def codes_of(column: Any) -> tuple[Codes, NDArray[np.bool_]]:
    """A text, dictionary or boolean column as codes, and where a text was too long."""
    if pa.types.is_boolean(column.type):
        column = pc.if_else(column, "true", "false")
    if pa.types.is_dictionary(column.type) and any(
        chunk.dictionary.null_count for chunk in column.chunks
    ):
        # Arrow cannot unify dictionaries that hold a null: they are written out and made anew.
        column = column.cast(column.type.value_type)
    if not pa.types.is_dictionary(column.type):
        if not pa.types.is_string(column.type):
            column = column.cast(pa.large_string())
        column = column.dictionary_encode()
    if not column.num_chunks:
        return Codes(np.zeros(0, np.int32), ()), np.zeros(0, np.bool_)
    indices, dictionary = _coded(column)
    if indices.null_count:
        indices = pc.fill_null(indices, -1)
    codes = indices.to_numpy(zero_copy_only=False)
    names = dictionary.to_pylist()
    wrong = [code for code, name in enumerate(names) if name is None or len(name) > MOST_TEXT_CHARS]
    if not wrong:
        return Codes(codes, names), np.zeros(len(codes), np.bool_)
    too_long = np.isin(codes, [code for code in wrong if names[code] is not None])
    codes = np.where(np.isin(codes, wrong), np.int32(-1), codes).astype(np.int32)
    return Codes(codes, [name or "" for name in names]), too_long


def _coded(column: Any) -> tuple[Any, Any]:
    """The int32 codes of a dictionary column, and what they stand for."""
    if column.num_chunks == 1:
        whole = column.chunk(0)
    else:
        whole = column.unify_dictionaries().combine_chunks()
        if isinstance(whole, pa.ChunkedArray):
            whole = whole.chunk(0)
    return whole.indices.cast(pa.int32()), whole.dictionary

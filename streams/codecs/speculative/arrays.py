"""The arrays that Python and the compiled kernels share. No numba here.

Plain tuples of arrays, because that is what crosses into compiled code at little cost.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Any, NamedTuple

PAD = b"\x00" * 64
"""Follows the last message of a buffer, so that kernels may load whole words near its end."""

NO_TS = -(2**63)
"""The time of a row whose template has no ``ts``: the message's own time stands in."""

MODEL, VERSION, ROLE = 0, 1, 2
"""The first text columns of every plan."""


class Use(IntEnum):
    """What a slot's value is for."""

    SKIP = 0
    """Nothing: it is only checked to be JSON."""
    VALUE = 1
    TIME = 2
    REQUEST_ID = 3


class Allow(IntFlag):
    """What else a slot takes, besides what its columns say."""

    NULL = 1
    WHOLE_AS_TEXT = 2
    """Whole numbers are text, written as they are."""
    NAME = 4
    """No booleans, and no text that is too long."""
    NOT_NEGATIVE = 8


class SlotField(IntEnum):
    """Columns of ``Plan.slots``. The literal is what stands before the slot's value."""

    LITERAL = 0
    LENGTH = 1
    USE = 2
    NUMBER = 3
    TEXT = 4
    ALLOW = 5


SLOT_FIELDS = len(SlotField)


class TemplateField(IntEnum):
    """Columns of ``Plan.templates``: a range of slots, and the literal that ends the row."""

    FIRST = 0
    STOP = 1
    LITERAL = 2
    LENGTH = 3


TEMPLATE_FIELDS = len(TemplateField)


class Plan(NamedTuple):
    """All templates. ``literals`` uint64: literals in whole words, the last one filled with zeros;
    ``slots`` int64 [slots, SLOT_FIELDS]; ``templates`` int64 [templates, TEMPLATE_FIELDS];
    ``limits`` int64 [text columns]: characters a text may have.
    """

    literals: Any
    slots: Any
    templates: Any
    limits: Any


class Words(NamedTuple):
    """A hash table from (text column, raw text) to a code, counted per column from 0.

    ``slots`` int32 [a power of two]: entry + 1, 0 where free; ``entries`` uint64 [entries, 4]:
    hash, (column << 32 | size), first word in ``arena``, code; ``arena`` uint64: raw texts in
    whole words; ``used`` int64 [2]: entries and arena words in use; ``codes`` int64 [text
    columns]: the next code.
    """

    slots: Any
    entries: Any
    arena: Any
    used: Any
    codes: Any


class Out(NamedTuple):
    """What was read, by row. ``numbers`` float64 [columns, rows], NaN where there is none;
    ``codes`` int32 [text columns, rows]; ``ts_ms`` int64; ``template`` int32, -1 where the row
    fits none; ``source`` int64: the message; ``span`` int64 [rows, 2]: where in its buffer the row
    is; ``ids`` int64 [rows, 2]: where its request id is (not filled if ``keep_ids`` is 0).
    ``hits`` int64 [templates]: rows read by each. ``bounds`` int64 [2]: the range of times.
    ``keep_ids`` int64 [1].
    """

    numbers: Any
    codes: Any
    ts_ms: Any
    template: Any
    source: Any
    span: Any
    ids: Any
    hits: Any
    bounds: Any
    keep_ids: Any

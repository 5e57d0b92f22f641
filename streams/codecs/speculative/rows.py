"""The speculative decoder itself: rows against templates, values straight into columns.

A row is read only if all of it is what a template says: the literal bytes between the values are
equal, every value is valid JSON of a type that its slot takes, and nothing is left over. Whatever
is not so leaves the row untouched (template -1), for the exact path to judge.

Every position is at most ``end``, the end of the row's message, when bytes are looked at, and a
buffer goes on for ``len(PAD)`` bytes after its last message; the byte at ``end`` is a line feed or
a zero, which no number, text or name contains.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from streams.codecs.columns import MAX_NUMBER, WRONG
from streams.codecs.placing import NO_VALUE
from streams.codecs.speculative.arrays import (
    NO_TS,
    SLOT_FIELDS,
    TEMPLATE_FIELDS,
    Allow,
    SlotField,
    TemplateField,
    Use,
)
from streams.codecs.speculative.machine import (
    byte_at,
    cold,
    entry,
    get,
    get_word,
    kernel,
    put,
    put_float,
    put_int32,
    view_of,
    word_at,
)
from streams.codecs.speculative.numbers import read_number
from streams.codecs.speculative.state import state_of
from streams.codecs.speculative.texts import code_of, scan
from streams.codecs.speculative.times import read_epoch, read_iso

_U0 = np.uint64(0)
_ALL_ONES = np.uint64(2**64 - 1)
_FOUR = np.uint64(0xFFFFFFFF)
_FIVE = np.uint64(0xFFFFFFFFFF)
_NULL = np.uint64(int.from_bytes(b"null", "little"))
_TRUE = np.uint64(int.from_bytes(b"true", "little"))
_FALSE = np.uint64(int.from_bytes(b"false", "little"))

_LITERAL = int(SlotField.LITERAL)
_LENGTH = int(SlotField.LENGTH)
_USE = int(SlotField.USE)
_NUMBER = int(SlotField.NUMBER)
_TEXT = int(SlotField.TEXT)
_ALLOW = int(SlotField.ALLOW)
_FIRST = int(TemplateField.FIRST)
_STOP = int(TemplateField.STOP)
_TAIL = int(TemplateField.LITERAL)
_TAIL_LENGTH = int(TemplateField.LENGTH)

_VALUE = int(Use.VALUE)
_TIME = int(Use.TIME)
_REQUEST_ID = int(Use.REQUEST_ID)
_MAY_BE_NULL = int(Allow.NULL)
_WHOLE_AS_TEXT = int(Allow.WHOLE_AS_TEXT)
_NAME = int(Allow.NAME)
_NOT_NEGATIVE = int(Allow.NOT_NEGATIVE)


@kernel
def _same(buffer: Any, at: Any, state: Any, first: Any, length: Any) -> Any:
    """Whether the bytes at ``at`` are the literal that begins with word ``first``."""
    whole = length >> 3
    for i in range(whole):
        if word_at(buffer, at + 8 * i) != get_word(state.literals, first + i):
            return False
    rest = length & 7
    if rest:
        mask = _ALL_ONES >> np.uint64(64 - 8 * rest)
        return (word_at(buffer, at + 8 * whole) & mask) == get_word(state.literals, first + whole)
    return True


@kernel
def _after_constant(buffer: Any, at: Any, end: Any) -> Any:
    """The position after ``null``, ``true`` or ``false``, or -1."""
    word = word_at(buffer, at)
    four = word & _FOUR
    if four in (_NULL, _TRUE):
        return at + 4 if at + 4 <= end else -1
    if (word & _FIVE) == _FALSE and at + 5 <= end:
        return at + 5
    return -1


@cold
def _after_skipped(buffer: Any, at: Any, end: Any) -> Any:
    """The position after any scalar, or -1 if it is not valid JSON (or not surely so)."""
    byte = byte_at(buffer, at)
    if byte == 34:
        closing, _ = scan(buffer, at + 1, end)
        return closing + 1 if closing >= 0 else -1
    if byte >= 97:
        return _after_constant(buffer, at, end)
    value, after = read_number(buffer, at, end)
    return after if abs(value) <= MAX_NUMBER else -1


@cold
def _after_whole(buffer: Any, at: Any, end: Any) -> Any:
    """The position after a whole number of up to 18 digits that Python writes the same, or -1."""
    i = at
    if byte_at(buffer, i) == 45:
        i += 1
        if byte_at(buffer, i) == 48:
            return -1
    start = i
    while i < end and 48 <= byte_at(buffer, i) <= 57:
        i += 1
    if i == start or i - start > 18 or (i - start > 1 and byte_at(buffer, start) == 48):
        return -1
    return i


@kernel
def _read_text(buffer: Any, at: Any, end: Any, slot: Any, state: Any, row: Any) -> Any:
    """A value that becomes text: the position after it, or -1."""
    column = get(state.slots, slot + _TEXT)
    allow = get(state.slots, slot + _ALLOW)
    byte = byte_at(buffer, at)
    first = at
    if byte == 34:
        first = at + 1
        closing, chars = scan(buffer, first, end)
        if closing < 0:
            return -1
        after = closing + 1
        size = closing - first
        if chars > get(state.limits, column):
            if allow & _NAME:
                return -1
            put_int32(state.codes, column * state.stride + row, np.int32(WRONG))
            return after
    elif byte >= 97:
        after = _after_constant(buffer, at, end)
        if after < 0 or allow & _NAME:
            return -1
        size = after - at
    else:
        after = _after_whole(buffer, at, end)
        if after < 0 or not allow & _WHOLE_AS_TEXT:
            return -1
        size = after - at
    code = code_of(buffer, first, size, column, state)
    if code < 0:
        return -1
    put_int32(state.codes, column * state.stride + row, np.int32(code))
    return after


@kernel
def _read_value(buffer: Any, at: Any, end: Any, slot: Any, state: Any, row: Any) -> Any:
    """A cell into its column: the position after it, or -1."""
    byte = byte_at(buffer, at)
    column = get(state.slots, slot + _NUMBER)
    if byte < 58 and byte != 34 and column >= 0:
        value, after = read_number(buffer, at, end)
        if abs(value) > MAX_NUMBER or (
            value < 0.0 and get(state.slots, slot + _ALLOW) & _NOT_NEGATIVE
        ):
            return -1
        put_float(state.numbers, column * state.stride + row, value)
        return after
    if byte == 110:
        if not get(state.slots, slot + _ALLOW) & _MAY_BE_NULL:
            return -1
        return _after_constant(buffer, at, end)
    if get(state.slots, slot + _TEXT) < 0:
        return -1
    return _read_text(buffer, at, end, slot, state, row)


@kernel
def _read_time(buffer: Any, at: Any, end: Any, state: Any, row: Any) -> Any:
    """The event time, within bounds: the position after it, or -1."""
    if byte_at(buffer, at) == 34:
        ms, after = read_iso(buffer, at + 1, end)
    else:
        ms, after = read_epoch(buffer, at, end)
    if after < 0 or ms < state.min_ts_ms or ms > state.max_ts_ms:
        return -1
    put(state.ts_ms, row, ms)
    return after


@cold
def _read_id(buffer: Any, at: Any, end: Any, state: Any, row: Any) -> Any:
    """A request id, or null: the position after it, or -1."""
    if not state.keep_ids:
        return _after_skipped(buffer, at, end)
    byte = byte_at(buffer, at)
    if byte == 110:
        return _after_constant(buffer, at, end)
    if byte != 34:
        return -1
    closing, _ = scan(buffer, at + 1, end)
    if closing < 0:
        return -1
    put(state.ids, 2 * row, at + 1)
    put(state.ids, 2 * row + 1, closing)
    return closing + 1


@cold
def _clear(state: Any, first: Any, stop: Any, row: Any) -> Any:
    """Take back what a template wrote before it turned out not to fit."""
    put(state.ts_ms, row, NO_TS)
    for s in range(first, stop):
        slot = s * SLOT_FIELDS
        use = get(state.slots, slot + _USE)
        if use == _VALUE:
            column = get(state.slots, slot + _NUMBER)
            if column >= 0:
                put_float(state.numbers, column * state.stride + row, np.nan)
            column = get(state.slots, slot + _TEXT)
            if column >= 0:
                put_int32(state.codes, column * state.stride + row, np.int32(NO_VALUE))
        elif use == _REQUEST_ID and state.keep_ids:
            put(state.ids, 2 * row, -1)


@kernel
def _read_row(buffer: Any, at: Any, end: Any, template: Any, state: Any, row: Any) -> Any:
    """One row by one template: the position after its tail, or -1 and nothing written."""
    first = get(state.templates, template * TEMPLATE_FIELDS + _FIRST)
    stop = get(state.templates, template * TEMPLATE_FIELDS + _STOP)
    i = at
    for s in range(first, stop):
        slot = s * SLOT_FIELDS
        length = get(state.slots, slot + _LENGTH)
        literal = get(state.slots, slot + _LITERAL)
        if i + length >= end or not _same(buffer, i, state, literal, length):
            i = -1
        else:
            i += length
            use = get(state.slots, slot + _USE)
            if use == _VALUE:
                i = _read_value(buffer, i, end, slot, state, row)
            elif use == _TIME:
                i = _read_time(buffer, i, end, state, row)
            elif use == _REQUEST_ID:
                i = _read_id(buffer, i, end, state, row)
            else:
                i = _after_skipped(buffer, i, end)
        if i < 0:
            _clear(state, first, s + 1, row)
            return -1
    length = get(state.templates, template * TEMPLATE_FIELDS + _TAIL_LENGTH)
    tail = get(state.templates, template * TEMPLATE_FIELDS + _TAIL)
    if i + length > end or not _same(buffer, i, state, tail, length):
        _clear(state, first, stop, row)
        return -1
    return i + length


@kernel
def _after_line(buffer: Any, at: Any, end: Any) -> Any:
    """The position after the line end at ``at``, or -1 if there is more on the line."""
    if at >= end:
        return at
    byte = byte_at(buffer, at)
    if byte == 10:
        return at + 1
    if byte == 13:
        if at + 1 >= end:
            return at + 1
        if byte_at(buffer, at + 1) == 10:
            return at + 2
    return -1


@kernel
def _read_any(
    buffer: Any,
    at: Any,
    end: Any,
    lines: Any,
    latest: Any,
    state: Any,
    row: Any,
) -> Any:
    """One row by the first template that fits, the one of the row before first.

    Returns (template, position after the row and its line end), or (-1, -1).
    """
    templates = state.templates[1] // TEMPLATE_FIELDS
    for attempt in range(-1, templates):
        template = latest if attempt < 0 else attempt
        if attempt == latest or template >= templates:
            continue
        after = _read_row(buffer, at, end, template, state, row)
        if after >= 0:
            if lines:
                after = _after_line(buffer, after, end)
            elif after != end:
                after = -1
            if after >= 0:
                put_int32(state.template, row, np.int32(template))
                put(state.hits, template, get(state.hits, template) + 1)
                return template, after
            first = get(state.templates, template * TEMPLATE_FIELDS + _FIRST)
            _clear(state, first, get(state.templates, template * TEMPLATE_FIELDS + _STOP), row)
    put_int32(state.template, row, np.int32(-1))
    return -1, -1


@cold
def _line_end(buffer: Any, at: Any, end: Any) -> Any:
    """(Position of the line feed or ``end``, whether the line is blank)."""
    blank = True
    i = at
    while i < end:
        byte = byte_at(buffer, i)
        if byte == 10:
            break
        blank = blank and (byte == 32 or 9 <= byte <= 13)
        i += 1
    return i, blank


@entry
def read_rows(
    buffer: Any,
    starts: Any,
    sizes: Any,
    lines: Any,
    message: Any,
    row: Any,
    plan: Any,
    words: Any,
    out: Any,
    rows: Any,
) -> Any:
    """The rows of the messages of a buffer, from ``row`` on: every message is one, or if ``lines``
    every line of a message that is not blank.

    ``message``: the number of the first one, for ``out.source``. ``rows`` int64, filled: rows of
    each message. Returns (rows up to here, how many of them were not read).
    """
    state = state_of(plan, words, out)
    data = view_of(buffer)
    latest = 0
    unread = 0
    for k in range(starts.size):
        at = starts[k]
        end = at + sizes[k]
        before = row
        while at < end:
            template, after = _read_any(data, at, end, lines, latest, state, row)
            stop = after
            if template >= 0:
                latest = template
                if lines and byte_at(data, stop - 1) == 10:
                    stop -= 1
            else:
                stop = end
                after = end
                if lines:
                    stop, blank = _line_end(data, at, end)
                    after = stop + 1
                    if blank:
                        at = after
                        continue
                unread += 1
            if lines and byte_at(data, stop - 1) == 13:
                stop -= 1
            put(state.span, 2 * row, at)
            put(state.span, 2 * row + 1, stop)
            put(state.source, row, message + k)
            row += 1
            at = after
        rows[message + k] = row - before
    return row, unread

"""JSON strings in compiled code: checked as msgspec checks them, and turned into codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from streams.codecs.speculative.machine import (
    byte_at,
    cold,
    get,
    get_int32,
    get_word,
    kernel,
    put,
    put_int32,
    put_word,
    trailing_zeros,
    word_at,
)

_U0 = np.uint64(0)
_ONES = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_BLANKS = np.uint64(0x2020202020202020)
_QUOTES = np.uint64(0x2222222222222222)
_BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_ALL_ONES = np.uint64(2**64 - 1)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_S8 = np.uint64(8)
_S32 = np.uint64(32)
_PROBES = 64
"""A chain longer than this is bad luck or an attack: the text is then not read here."""


@kernel
def _special(word: Any) -> Any:
    """The lowest bit set is in the first byte that is a quote, a backslash, a control character or
    not ASCII; 0 if there is none. (Borrows can only mark bytes behind that one.)"""
    quote = word ^ _QUOTES
    backslash = word ^ _BACKSLASHES
    found = (quote - _ONES) & ~quote
    found |= (backslash - _ONES) & ~backslash
    found |= (word - _BLANKS) & ~word
    found |= word
    return found & _HIGH


@cold
def _hex(buffer: Any, at: Any) -> Any:
    """Four hex digits; -1 if they are not."""
    value = 0
    for i in range(at, at + 4):
        byte = byte_at(buffer, i)
        if 48 <= byte <= 57:
            digit = byte - 48
        elif 65 <= (byte & 0xDF) <= 70:
            digit = (byte & 0xDF) - 55
        else:
            return -1
        value = 16 * value + digit
    return value


@cold
def _after_escape(buffer: Any, at: Any, end: Any) -> Any:
    """``at`` is a backslash: the position after the escaped character, or -1."""
    if at + 2 > end:
        return -1
    byte = byte_at(buffer, at + 1)
    if byte != 117:
        simple = byte == 34 or byte == 92 or byte == 47 or byte == 98
        simple = simple or byte == 102 or byte == 110 or byte == 114 or byte == 116
        return at + 2 if simple else -1
    if at + 6 > end:
        return -1
    unit = _hex(buffer, at + 2)
    if unit < 0:
        return -1
    if unit < 0xD800 or unit > 0xDFFF:
        return at + 6
    if unit > 0xDBFF or at + 12 > end:
        return -1
    if byte_at(buffer, at + 6) != 92 or byte_at(buffer, at + 7) != 117:
        return -1
    low = _hex(buffer, at + 8)
    if low < 0xDC00 or low > 0xDFFF:
        return -1
    return at + 12


@cold
def _after_utf8(buffer: Any, at: Any, end: Any) -> Any:
    """``at`` is a byte above 0x7F: the position after its character, or -1 (Unicode, table 3-7)."""
    lead = byte_at(buffer, at)
    if lead < 0xC2 or lead > 0xF4:
        return -1
    size = 2 if lead < 0xE0 else (3 if lead < 0xF0 else 4)
    if at + size > end:
        return -1
    low, high = 0x80, 0xBF
    if lead == 0xE0:
        low = 0xA0
    elif lead == 0xED:
        high = 0x9F
    elif lead == 0xF0:
        low = 0x90
    elif lead == 0xF4:
        high = 0x8F
    second = byte_at(buffer, at + 1)
    if second < low or second > high:
        return -1
    for i in range(at + 2, at + size):
        byte = byte_at(buffer, i)
        if byte < 0x80 or byte > 0xBF:
            return -1
    return at + size


@cold
def _scan_unusual(buffer: Any, at: Any, end: Any, chars: Any) -> Any:
    """``scan`` from a byte that needs a closer look; ``chars``: characters before it."""
    i = at
    while i < end:
        byte = byte_at(buffer, i)
        if byte == 34:
            return i, chars
        if byte < 32:
            return -1, 0
        if byte == 92:
            i = _after_escape(buffer, i, end)
        elif byte > 127:
            i = _after_utf8(buffer, i, end)
        else:
            i += 1
        if i < 0:
            return -1, 0
        chars += 1
    return -1, 0


@kernel
def scan(buffer: Any, at: Any, end: Any) -> Any:
    """``at`` is after an opening quote: (position of the closing one, characters), or (-1, 0)."""
    i = at
    while i < end:
        found = _special(word_at(buffer, i))
        if found != _U0:
            i += trailing_zeros(found) >> 3
            if i >= end:
                return -1, 0
            if byte_at(buffer, i) == 34:
                return i, i - at
            return _scan_unusual(buffer, i, end, i - at)
        i += 8
    return -1, 0


@kernel
def _is_entry(buffer: Any, at: Any, size: Any, last: Any, entry: Any, state: Any) -> Any:
    """Whether an entry's text is that of the buffer; ``last``: its incomplete word."""
    whole = size >> 3
    start = np.int64(get_word(state.entries, 4 * entry + 2))
    differs = _U0
    for i in range(whole):
        differs |= get_word(state.arena, start + i) ^ word_at(buffer, at + 8 * i)
    if size & 7:
        differs |= get_word(state.arena, start + whole) ^ last
    return differs == _U0


@cold
def _new_code(
    buffer: Any, at: Any, size: Any, last: Any, mixed: Any, key: Any, place: Any, state: Any
) -> Any:
    """Make an entry and give it the next code of its column; -1 if there is no room."""
    whole = size >> 3
    entry = get(state.used, 0)
    start = get(state.used, 1)
    stop = start + whole + (1 if size & 7 else 0)
    if 4 * entry >= state.entries[1] or stop > state.arena[1]:
        return -1
    for i in range(whole):
        put_word(state.arena, start + i, word_at(buffer, at + 8 * i))
    if size & 7:
        put_word(state.arena, start + whole, last)
    column = np.int64(key >> _S32)
    code = get(state.next_codes, column)
    put_word(state.entries, 4 * entry, mixed)
    put_word(state.entries, 4 * entry + 1, key)
    put_word(state.entries, 4 * entry + 2, np.uint64(start))
    put_word(state.entries, 4 * entry + 3, np.uint64(code))
    put(state.next_codes, column, code + 1)
    put(state.used, 0, entry + 1)
    put(state.used, 1, stop)
    put_int32(state.table, place, np.int32(entry + 1))
    return code


@kernel
def code_of(buffer: Any, at: Any, size: Any, column: Any, state: Any) -> Any:
    """The code of a raw text, a new one if it is new to its column; -1 if there is no room."""
    key = (np.uint64(column) << _S32) | np.uint64(size)
    mixed = key * _SPREAD
    whole = size >> 3
    for i in range(whole):
        mixed = (mixed ^ word_at(buffer, at + 8 * i)) * _MIX
        mixed ^= mixed >> _S32
    last = _U0
    if size & 7:
        last = word_at(buffer, at + 8 * whole) & (_ALL_ONES >> np.uint64(64 - 8 * (size & 7)))
        mixed = (mixed ^ last) * _MIX
        mixed ^= mixed >> _S32
    place = np.int64(mixed >> _S8) & (state.table[1] - 1)
    for _ in range(_PROBES):
        entry = get_int32(state.table, place) - 1
        if entry < 0:
            return _new_code(buffer, at, size, last, mixed, key, place, state)
        if get_word(state.entries, 4 * entry) == mixed:
            same_key = get_word(state.entries, 4 * entry + 1) == key
            if same_key and _is_entry(buffer, at, size, last, entry, state):
                return np.int64(get_word(state.entries, 4 * entry + 3))
        place = (place + 1) & (state.table[1] - 1)
    return -1

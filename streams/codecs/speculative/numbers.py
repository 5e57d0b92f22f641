"""Decimal text to the nearest float64, bit for bit what Python's ``float`` gives.

Up to 19 significant digits fit a uint64. With at most 53 bits and a small power of ten one float
operation on exact operands rounds correctly (W. Clinger, How to Read Floating Point Numbers
Accurately, 1990). Otherwise the product with a 128-bit power of ten decides (D. Lemire, Number
Parsing at a Gigabyte per Second, 2021). What neither decides for sure is not read here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from streams.codecs.speculative import powers
from streams.codecs.speculative.machine import (
    byte_at,
    cold,
    float_of_bits,
    high_product,
    kernel,
    leading_zeros,
    trailing_zeros,
    word_at,
)

_TENS = 10.0 ** np.arange(23)
_WHOLE_TENS = np.array([10**i for i in range(20)], dtype=np.uint64)
_ROOM = np.array([10 ** (19 - i) for i in range(9)], dtype=np.uint64)
"""A mantissa below ``_ROOM[d]`` takes d more digits and stays below 10**19."""
_MANTISSAS = powers.mantissas()
_SMALLEST = powers.SMALLEST
_LARGEST = powers.LARGEST

_U0 = np.uint64(0)
_U1 = np.uint64(1)
_U3 = np.uint64(3)
_ALL_ONES = np.uint64(2**64 - 1)
_ZEROS = np.uint64(0x3030303030303030)
_SIXES = np.uint64(0x0606060606060606)
_UPPER = np.uint64(0xF0F0F0F0F0F0F0F0)
_LOWER = np.uint64(0x0F0F0F0F0F0F0F0F)
_PAIRS = np.uint64(0x00FF00FF00FF00FF)
_FOURS = np.uint64(0x0000FFFF0000FFFF)
_BY_10 = np.uint64(10 * 2**8 + 1)
_BY_100 = np.uint64(100 * 2**16 + 1)
_BY_10000 = np.uint64(10000 * 2**32 + 1)
_S8 = np.uint64(8)
_S16 = np.uint64(16)
_S32 = np.uint64(32)
_S63 = np.uint64(63)
_EXACT = np.uint64(2**53)
_HIDDEN = np.uint64(2**52)
_PRECISION_MASK = np.uint64(2**64 - 1) >> np.uint64(55)


@kernel
def digits_in(word: Any) -> Any:
    """How many of the 8 bytes, from the first on, are digits."""
    upper = (word & _UPPER) ^ _ZEROS
    carry = ((word + _SIXES) & _UPPER) ^ _ZEROS
    other = upper | carry
    if other == _U0:
        return 8
    return trailing_zeros(other) >> 3


@kernel
def digits_value(word: Any, digits: Any) -> Any:
    """The number that the first 1 to 8 bytes, all digits, stand for. uint64."""
    d = (word << np.uint64(64 - 8 * digits)) & _LOWER
    d = (d * _BY_10) >> _S8
    d = ((d & _PAIRS) * _BY_100) >> _S16
    return ((d & _FOURS) * _BY_10000) >> _S32


@cold
def _nearest_by_product(mantissa: Any, power: Any) -> Any:
    if power < _SMALLEST or power > _LARGEST:
        return -1.0
    zeros = leading_zeros(mantissa)
    m = mantissa << np.uint64(zeros)
    first = _MANTISSAS[power - _SMALLEST, 0]
    high = high_product(m, first)
    low = m * first
    if (high & _PRECISION_MASK) == _PRECISION_MASK:
        more = high_product(m, _MANTISSAS[power - _SMALLEST, 1])
        low = low + more
        if low < more:
            high = high + _U1
    if low == _ALL_ONES and (power < -27 or power > 55):
        return -1.0
    upper = high >> _S63
    shift = upper + np.uint64(9)
    rounded = high >> shift
    exponent = ((217706 * power) >> 16) + 1086 + np.int64(upper) - zeros
    if exponent <= 0 or exponent >= 2046:
        return -1.0  # too near to what is subnormal or infinite
    halfway = low <= _U1 and -4 <= power <= 23 and (rounded & _U3) == _U1
    if halfway and (rounded << shift) == high:
        rounded = rounded ^ _U1  # exactly between two floats: to the even one
    rounded = (rounded + (rounded & _U1)) >> _U1
    if rounded >= _HIDDEN + _HIDDEN:
        rounded = _HIDDEN
        exponent += 1
    return float_of_bits((rounded & (_HIDDEN - _U1)) | (np.uint64(exponent) << np.uint64(52)))


@kernel
def nearest(mantissa: Any, power: Any) -> Any:
    """mantissa * 10**power as the nearest float64, or -1.0 where that is not sure. Not zero."""
    if mantissa <= _EXACT and -22 <= power <= 22:
        value = np.float64(np.int64(mantissa))
        if power < 0:
            return value / _TENS[-power]
        return value * _TENS[power]
    return _nearest_by_product(mantissa, power)


@cold
def _read_exponent(buffer: Any, at: Any) -> Any:
    """``at`` is after the e: (exponent, position after it), or (0, -1)."""
    i = at
    byte = byte_at(buffer, i)
    down = byte == 45
    if down or byte == 43:
        i += 1
    word = word_at(buffer, i)
    digits = digits_in(word)
    if digits == 0 or digits > 4:
        return 0, -1
    exponent = np.int64(digits_value(word, digits))
    return -exponent if down else exponent, i + digits


@kernel
def _more_digits(buffer: Any, at: Any, mantissa: Any) -> Any:
    """Add the digits from ``at`` on: (mantissa, position after them), or (0, -1) for too many."""
    i = at
    digits = 8
    while digits == 8:
        word = word_at(buffer, i)
        digits = digits_in(word)
        if digits > 0:
            if mantissa >= _ROOM[digits]:
                return _U0, -1
            mantissa = mantissa * _WHOLE_TENS[digits] + digits_value(word, digits)
            i += digits
    return mantissa, i


@kernel
def read_number(buffer: Any, at: Any, end: Any) -> Any:
    """A JSON number at ``at``: (value, position after it), or (0.0, -1) where it is none or not
    sure. Never -0.0. ``at < end``, and the byte at ``end`` is no part of any number.
    """
    negative = byte_at(buffer, at) == 45
    i = at + np.int64(negative)
    word = word_at(buffer, i)
    digits = digits_in(word)
    if digits == 0 or (digits > 1 and byte_at(buffer, i) == 48):
        return 0.0, -1
    mantissa = digits_value(word, digits)
    i += digits
    if digits == 8:
        mantissa, i = _more_digits(buffer, i, mantissa)
        if i < 0:
            return 0.0, -1
    power = 0
    byte = byte_at(buffer, i)
    if byte == 46:
        i += 1
        start = i
        mantissa, i = _more_digits(buffer, i, mantissa)
        if i <= start:
            return 0.0, -1
        power = start - i
        byte = byte_at(buffer, i)
    if byte == 101 or byte == 69:
        exponent, i = _read_exponent(buffer, i + 1)
        if i < 0:
            return 0.0, -1
        power += exponent
    if i > end:
        return 0.0, -1
    if mantissa == _U0:
        return 0.0, i
    value = nearest(mantissa, power)
    if value < 0.0:
        return 0.0, -1
    if negative:
        value = -value
    return value, i

"""What compiled code needs of the machine and plain Python cannot say: words, bits, wide products.

All memory is reached through views (address and size) with the accessors below. They neither wrap
negative positions nor need alignment. With NUMBA_BOUNDSCHECK=1 every one of them is checked.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from streams.codecs.speculative import cache

CHECKED = bool(getattr(numba.config, "BOUNDSCHECK", None))
CACHED = cache.in_use() is not None and not CHECKED
"""Where bounds are checked nothing is cached: the cache would not tell the two forms apart."""


_PART: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    # Only compiled code calls parts: without what Python needs to call them, compiling takes
    # half the time.
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}


def cold(function: Any) -> Any:
    """A part of compiled code that few values need, kept out of the hot loop."""
    return numba.njit(**_PART)(function)


def kernel(function: Any) -> Any:
    """A part of compiled code that becomes part of what calls it."""
    return numba.njit(**_PART, forceinline=True)(function)


def entry(function: Any) -> Any:
    """Compile a function on its first call, or load it from the cache; it runs without the GIL."""
    return numba.njit(cache=CACHED, nogil=True, error_model="numpy")(function)


def _typed_intrinsic(function: Any) -> Any:
    return intrinsic(function)


@_typed_intrinsic
def _address_of(_context: Any, array: Any) -> Any:
    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, ir.IntType(64))

    return types.int64(array), build


def _loads(result: Any, bits: int, widen: str | None) -> Any:
    """An intrinsic that loads from a base address and an offset in bytes."""

    def load(_context: Any, _base: Any, _offset: Any) -> Any:
        def build(_: Any, builder: Any, __: Any, args: Any) -> Any:
            of = ir.IntType(bits)
            place = builder.inttoptr(builder.add(args[0], args[1]), of.as_pointer())
            value = builder.load(place, align=1, typ=of)
            return value if widen is None else getattr(builder, widen)(value, ir.IntType(64))

        return result(types.int64, types.int64), build

    return intrinsic(load)


def _stores(of: Any, ir_type: Any) -> Any:
    """An intrinsic that stores at a base address and an offset in bytes."""

    def store(_context: Any, _base: Any, _offset: Any, _value: Any) -> Any:
        def build(context: Any, builder: Any, __: Any, args: Any) -> Any:
            place = builder.inttoptr(builder.add(args[0], args[1]), ir_type.as_pointer())
            builder.store(args[2], place, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, of), build

    return intrinsic(store)


_load_word = _loads(types.uint64, 64, None)
_load_int64 = _loads(types.int64, 64, None)
_load_int32 = _loads(types.int64, 32, "sext")
_load_byte = _loads(types.int64, 8, "zext")
_store_word = _stores(types.uint64, ir.IntType(64))
_store_int64 = _stores(types.int64, ir.IntType(64))
_store_int32 = _stores(types.int32, ir.IntType(32))
_store_float = _stores(types.float64, ir.DoubleType())


@_typed_intrinsic
def trailing_zeros(_context: Any, _word: Any) -> Any:
    """Zero bits below the lowest one bit of a uint64; 64 for 0."""

    def build(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), build


@_typed_intrinsic
def leading_zeros(_context: Any, _word: Any) -> Any:
    """Zero bits above the highest one bit of a uint64; 64 for 0."""

    def build(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), build


@_typed_intrinsic
def high_product(_context: Any, _a: Any, _b: Any) -> Any:
    """The upper 64 bits of the product of two uint64."""

    def build(_: Any, builder: Any, __: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        upper = builder.lshr(product, ir.Constant(wide, 64))
        return builder.trunc(upper, ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), build


@_typed_intrinsic
def float_of_bits(_context: Any, _bits: Any) -> Any:
    """The float64 of an IEEE 754 bit pattern."""

    def build(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.uint64), build


@kernel
def view_of(array: Any) -> Any:
    """(address, size in elements) of a contiguous array, which the caller keeps alive.

    Arrays are counted references in compiled code, and counting at every call would cost more
    than the work here.
    """
    return _address_of(array), array.size


@kernel
def _check(of: Any, at: Any, size: Any) -> None:
    if CHECKED and (at < 0 or at + size > of[1]):
        raise IndexError("a position beyond its array")


@kernel
def word_at(buffer: Any, at: Any) -> Any:
    """Of bytes: the 8 from ``at`` on, the first one lowest."""
    _check(buffer, at, 8)
    return _load_word(buffer[0], at)


@kernel
def byte_at(buffer: Any, at: Any) -> Any:
    """Of bytes: one, as int64."""
    _check(buffer, at, 1)
    return _load_byte(buffer[0], at)


@kernel
def get_word(of: Any, at: Any) -> Any:
    """Of uint64."""
    _check(of, at, 1)
    return _load_word(of[0], 8 * at)


@kernel
def get(of: Any, at: Any) -> Any:
    """Of int64."""
    _check(of, at, 1)
    return _load_int64(of[0], 8 * at)


@kernel
def get_int32(of: Any, at: Any) -> Any:
    """Of int32, as int64."""
    _check(of, at, 1)
    return _load_int32(of[0], 4 * at)


@kernel
def put_word(of: Any, at: Any, value: Any) -> None:
    """Of uint64."""
    _check(of, at, 1)
    _store_word(of[0], 8 * at, value)


@kernel
def put(of: Any, at: Any, value: Any) -> None:
    """Of int64."""
    _check(of, at, 1)
    _store_int64(of[0], 8 * at, value)


@kernel
def put_int32(of: Any, at: Any, value: Any) -> None:
    """Of int32."""
    _check(of, at, 1)
    _store_int32(of[0], 4 * at, value)


@kernel
def put_float(of: Any, at: Any, value: Any) -> None:
    """Of float64."""
    _check(of, at, 1)
    _store_float(of[0], 8 * at, value)

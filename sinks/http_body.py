"""Compressed bodies, never larger than allowed: a few bytes can unpack to gigabytes."""

from __future__ import annotations

import sys
import zlib
from typing import Any


class BodyRefused(Exception):
    """A body that is not read. ``status`` is the HTTP status that fits."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def decode_body(raw: bytes, encoding: str, max_bytes: int) -> bytes:
    """``raw`` without its Content-Encoding (gzip, deflate, lz4 or zstd frames, identity).

    Raises BodyRefused: 413 if it unpacks to more than ``max_bytes``, 400 if it is damaged, 415 for
    another encoding.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return raw
    try:
        return _unpack(raw, name, max_bytes)
    except (zlib.error, RuntimeError, EOFError, ValueError, OSError):
        raise BodyRefused(400, f"The body is not {name}") from None
    except Exception as error:
        # The zstd module has an error class of its own, which 3.14 and the backport spell apart.
        if type(error).__name__ == "ZstdError":
            raise BodyRefused(400, f"The body is not {name}") from None
        raise


def _unpack(raw: bytes, name: str, max_bytes: int) -> bytes:
    out = bytearray()
    while raw:
        # Clients send large bodies as several frames, one after the other.
        frame = _decompressor(name)
        out += _decompress(frame, name, raw, max_bytes + 1 - len(out))
        if len(out) > max_bytes:
            raise BodyRefused(413, f"The body unpacks to more than {max_bytes} bytes")
        if not frame.eof:
            raise BodyRefused(400, f"The {name} body is cut short")
        raw = frame.unused_data or b""
    return bytes(out)


def _decompressor(name: str) -> Any:
    match name:
        case "gzip" | "x-gzip":
            return zlib.decompressobj(wbits=31)
        case "deflate":
            return zlib.decompressobj()
        case "lz4":
            return _lz4_decompressor()
        case "zstd":
            return _zstd_decompressor()
        case _:
            raise BodyRefused(415, "Content-Encoding must be gzip, deflate, lz4, zstd or none")


def _zstd_decompressor() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.ZstdDecompressor()


def _lz4_decompressor() -> Any:
    try:
        import lz4.frame  # type: ignore[import-untyped]
    except ImportError:  # clickhouse-connect brings it before Python 3.14 only
        raise BodyRefused(415, "Content-Encoding lz4 needs the package lz4 here") from None
    return lz4.frame.LZ4FrameDecompressor()


def _decompress(frame: Any, name: str, raw: bytes, limit: int) -> bytes:
    if name in ("lz4", "zstd"):
        return bytes(frame.decompress(raw, max_length=limit))
    return bytes(frame.decompress(raw, limit))


def gzip_body(raw: bytes) -> bytes:
    """``raw`` as gzip, fast rather than small: it crosses loopback."""
    packer = zlib.compressobj(level=1, wbits=31)
    return packer.compress(raw) + packer.flush()

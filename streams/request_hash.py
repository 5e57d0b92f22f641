"""Request ids as 64-bit numbers: the same in every process, computed for many at once.

Eight bytes at a time go through the finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014),
a bijection, so ids of equal length that differ in one such word never collide. Otherwise two ids
collide with a chance of about 2**-64: among n requests that wait at once about n**2 / 2**65, for a
million 3e-8. A collision makes one false pair. The hash is not secret: a producer who wants to can
make false pairs of its own requests, as it can by sending false values.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

_WIDTH = 64
"""Bytes hashed at once; longer ids are hashed one by one."""
_ODD = np.uint64(0x9E37_79B9_7F4A_7C15)
_FIRST = np.uint64(0xBF58_476D_1CE4_E5B9)
_SECOND = np.uint64(0x94D0_49BB_1331_11EB)


def text_hash(text: str, size: int = 8) -> int:
    """A hash of ``size`` bytes of one text."""
    return int.from_bytes(blake2b(text.encode(), digest_size=size).digest(), "little")


def request_hashes(model: str, ids: Sequence[str]) -> NDArray[np.uint64]:
    """One hash an id, uint64 [len(ids)]; the same id of two models has two hashes."""
    written = [text.encode() for text in ids]
    size = np.fromiter(map(len, written), np.int64, len(written))
    words = np.array(written, f"S{_WIDTH}").view("<u8").reshape(len(written), _WIDTH // 8)
    with np.errstate(over="ignore"):
        hashes = np.uint64(text_hash(model)) ^ (size.astype(np.uint64) * _ODD)
        for at in range(min(-(-int(size.max(initial=0)) // 8), _WIDTH // 8)):
            mixed = _mixed(hashes ^ words[:, at])
            hashes = np.where(size > 8 * at, mixed, hashes)
        hashes = _mixed(hashes)
    for at in np.flatnonzero(size > _WIDTH).tolist():
        hashes[at] = text_hash(f"{len(model)}:{model}{ids[at]}")
    return hashes


def salted(hashes: NDArray[np.uint64], salt: str) -> NDArray[np.uint64]:
    """Other hashes of the same requests, uint64 of the same shape: a bijection, and unlike the
    hashes and those of another salt but for a chance of 2**-64 each."""
    return _mixed(hashes ^ np.uint64(text_hash(salt)))


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = values + _ODD
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))

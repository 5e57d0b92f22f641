import gzip
import sys
import zlib

import lz4.frame  # type: ignore[import-untyped]
import pytest

from sinks.http_body import BodyRefused, decode_body, gzip_body

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstd.compress,
}


@pytest.mark.parametrize("encoding", PACKERS)
def test_bodies_unpack_also_from_several_frames(encoding: str) -> None:
    pack = PACKERS[encoding]
    assert decode_body(pack(b"one ") + pack(b"two"), encoding, 100) == b"one two"


@pytest.mark.parametrize("encoding", PACKERS)
def test_a_body_that_unpacks_to_too_much_is_refused(encoding: str) -> None:
    packed = PACKERS[encoding](b"x" * 1_000_000)
    assert len(packed) < 10_000
    with pytest.raises(BodyRefused) as refused:
        decode_body(packed, encoding, 999_999)
    assert refused.value.status == 413
    assert len(decode_body(packed, encoding, 1_000_000)) == 1_000_000


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("cut", [True, False])
def test_damaged_bodies_are_refused(encoding: str, cut: bool) -> None:
    body = PACKERS[encoding](b"some text, long enough to be cut")[:-6] if cut else b"plain text"
    with pytest.raises(BodyRefused) as refused:
        decode_body(body, encoding, 1000)
    assert refused.value.status == 400


def test_unknown_encodings_are_refused() -> None:
    with pytest.raises(BodyRefused) as refused:
        decode_body(b"x", "br", 1000)
    assert refused.value.status == 415


def test_what_we_pack_unpacks() -> None:
    assert gzip.decompress(gzip_body(b"abc" * 1000)) == b"abc" * 1000

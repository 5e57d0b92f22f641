"""Made-up messages, damaged at random: the kernels read them exactly as the exact path does.

Recorded ones are in test_mutated_recordings.py."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from streams.codecs.json_event import JsonEvent
from streams.codecs.ndjson import Ndjson
from streams.codecs.speculative.loading import Kernels, load
from streams.event import Bounds, Categorical, Codec, Decoded

BOUNDS = Bounds(min_ts_ms=1_600_000_000_000, max_ts_ms=1_900_000_000_000)
ROUNDS = 60
MESSAGES = 60
_TEXTS = (
    "alpha", "beta", "", " ", "São Paulo", "e\u0301", "日本", "😀", 'a"b', "tab\there", "x" * 200,
    "y" * 201, "é" * 200, "é" * 201, "__other__", "a\u2028b", "true", "5",
)  # fmt: skip
_NUMBERS = (
    0, -0.0, 1, -7, 0.1, 1e-5, 123456.789, 2**53 + 1, 2**64 - 1, 10**25, 1e300, 1.5e300, 5e-324,
    0.30000000000000004, 1.7976931348623157e308, 9007199254740993.0, -12345678901234567,
)  # fmt: skip


def no_kernels() -> None:
    return None


def message(rng: random.Random, layout: int) -> bytes:
    """One of a few producers: they differ in fields, in their order and in spacing."""
    number = rng.choice if rng.random() < 0.1 else lambda _: round(rng.gauss(0, 1), 4)
    ts: object = f"2023-06-13T10:00:{rng.randrange(60):02d}.{rng.randrange(1000):03d}Z"
    if layout == 3:
        ts = rng.choice([1686650400, 1686650400.5, 1686650400123, 1686650400123456])
    event: dict[str, Any] = {
        "ts": ts,
        "model": rng.choice(["m", "m", "m", "caf\u00e9"]),
        "version": rng.choice(["1", "2", 3]),
        "role": rng.choice(["production", "canary", None]),
        "request_id": f"q-{rng.randrange(1000)}",
        "features": {
            **{f"n{i}": rng.choice([number(_NUMBERS), None, rng.gauss(0, 1)]) for i in range(4)},
            "t": rng.choice([rng.choice(_TEXTS), None]),
            "b": rng.choice([True, False, None]),
        },
        "segments": {"country": rng.choice(["DE", "FR", 7, True, None])},
        "status": rng.choice(["ok", "error", 200, 500]),
        "latency_ms": abs(number(_NUMBERS)),
        "host": rng.choice(["h1", 5, None, 'quo"te', "😀", False, 1e5]),
    }
    if layout == 1:
        event = dict(reversed(event.items()))
    if layout == 2:
        event |= {"type": "score", "scores": {"s": rng.random()}, "tags": [1, "x", {"y": None}]}
    if layout == 4:
        event = {"ts": ts, "model": "m", "label": rng.choice(["A", "B", 1]), "request_id": "r"}
    separators = (",", ":") if layout % 2 else None
    return json.dumps(event, separators=separators, ensure_ascii=rng.random() < 0.5).encode()


def mutated(rng: random.Random, raw: bytes, other: bytes) -> bytes:
    """Damage as networks, disks and people make it."""
    data = bytearray(raw)
    at = rng.randrange(len(data))
    kind = rng.randrange(9)
    if kind == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[at] = rng.randrange(256)
    elif kind == 2:
        del data[at:]
    elif kind == 3:
        data[at:at] = rng.randbytes(rng.randrange(1, 5))
    elif kind == 4:
        del data[at : at + rng.randrange(1, 9)]
    elif kind == 5:
        stop = min(len(data), len(other), at + rng.randrange(1, 40))
        data[at:stop] = other[at:stop]
    elif kind == 6:
        data[at:at] = rng.choice(
            [b'"', b"\\", b"0", b"-", b".", b"e", b" ", b"\n", b"\r", b"\x00", b"\\u0000", b"}",
             b"\xc3", b"\xed\xa0\x80", b"\\ud800", b"null", b"1e999", b"\t", b"{", b","]
        )  # fmt: skip
    elif kind == 7:
        data += rng.choice([b" ", b"\n", b"\r", b"}", b"x", raw, b"\x00", b"\r\r"])
    else:
        digits = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
        data[rng.choice(digits)] = rng.choice(b"0123456789.-eE+")
    return bytes(data)


def messages(rng: random.Random) -> list[bytes | None]:
    layouts = rng.choice([[0], [1], [2], [3], [4], [0, 1], [0, 1, 2, 3, 4]])
    whole = [message(rng, rng.choice(layouts)) for _ in range(MESSAGES)]
    harm = rng.choice([0.0, 0.05, 0.5])
    return [mutated(rng, raw, whole[0]) if rng.random() < harm else raw for raw in whole]


def picture(decoded: Decoded) -> list[object]:
    """Everything in it, to the bit."""

    def columns(of: dict[str, Categorical]) -> list[tuple[str, bytes, tuple[str, ...]]]:
        return [(name, c.codes.tobytes(), c.categories) for name, c in of.items()]

    seen: list[object] = [decoded.rows.tolist(), decoded.rejects]
    for b in decoded.batches:
        seen += [b.model, b.kind, b.rows, b.releases, b.request_ids]
        seen += [a.tobytes() for a in (b.ts_ms, b.source, b.release, b.failed)]
        seen += [columns(dict(b.segments)), columns(dict(b.categorical))]
        seen += [[(name, values.tobytes()) for name, values in b.numeric.items()]]
        seen += [[(name, at.tolist()) for name, at in b.errors.items()]]
    return seen


def lines_of(rng: random.Random, values: Sequence[bytes | None]) -> list[bytes | None]:
    """As NDJSON, with blank lines and both line ends."""
    lines = [value or b"" for value in values]
    for _ in range(3):
        lines.insert(rng.randrange(len(lines)), rng.choice([b"", b" ", b"\r", b"\t\x0b"]))
    end = rng.choice([b"\n", b"\r\n"])
    joined = [end.join(lines[i : i + 9]) for i in range(0, len(lines), 9)]
    return [*joined, b"\n \n", b"", None, lines[0] + end]


def fuzz(
    make: Callable[[Callable[[], Kernels | None]], Codec],
    values_of: Callable[[random.Random], list[bytes | None]],
    seed: int,
    rounds: int,
) -> None:
    rng = random.Random(seed)
    fast, exact = make(load), make(no_kernels)
    for _ in range(rounds):
        values = values_of(rng)
        assert picture(fast.decode(values, None, BOUNDS)) == picture(
            exact.decode(values, None, BOUNDS)
        )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("keep", [False, True])
def test_damaged_messages_are_read_as_by_the_exact_path(seed: int, keep: bool) -> None:
    fuzz(lambda k: JsonEvent(kernels=k, keep_request_ids=keep), messages, seed, ROUNDS)


@pytest.mark.parametrize("seed", range(3))
def test_damaged_lines_are_read_as_by_the_exact_path(seed: int) -> None:
    fuzz(lambda k: Ndjson(kernels=k), lambda rng: lines_of(rng, messages(rng)), seed, ROUNDS)


def cuts(_: random.Random) -> list[bytes | None]:
    """A message cut anywhere, between whole ones and at the end of all."""
    raw = message(random.Random(5), 0)
    return [raw, *(raw[:stop] for stop in range(len(raw) + 1)), raw, raw[:-1]]


def test_every_cut_of_a_message_is_read_as_by_the_exact_path() -> None:
    fuzz(lambda k: JsonEvent(kernels=k), cuts, 0, 2)


def test_no_kernel_leaves_its_arrays_on_damaged_messages(repository: Path) -> None:
    """In a process of its own, where compiled code checks every position."""
    pytest.importorskip("numba", reason="without numba there are no kernels to check")
    script = (
        "from streams.codecs.speculative import machine\n"
        "from tests.laws import test_mutated_messages as made_up\n"
        "from tests.laws import test_mutated_recordings as recorded\n"
        "assert machine.CHECKED\n"
        "def event(kernels): return made_up.JsonEvent(kernels=kernels)\n"
        "def lines(kernels): return made_up.Ndjson(kernels=kernels)\n"
        "made_up.fuzz(event, made_up.messages, 9, 40)\n"
        "made_up.fuzz(event, made_up.cuts, 9, 2)\n"
        "made_up.fuzz(lines, lambda rng: made_up.lines_of(rng, made_up.messages(rng)), 9, 40)\n"
        "made_up.fuzz(event, recorded.messages, 9, 30)\n"
        "made_up.fuzz(lines, recorded.lines, 9, 30)\n"
        "made_up.fuzz(lines, recorded.loans_as_sent, 9, 30)\n"
        "print('checked')\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=170,
        cwd=repository,
        env={**os.environ, "NUMBA_BOUNDSCHECK": "1", "PYTHONPATH": str(repository)},
        check=False,
    )
    assert found.stdout.splitlines()[-1:] == ["checked"], found.stderr[-2000:]

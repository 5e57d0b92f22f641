"""The speculative decoder: what it reads, what it leaves, and that it never has to be there."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.kernels import CompiledKernels
from streams.codecs import make_codec
from streams.codecs.json_event import JsonEvent
from streams.codecs.speculative import cache, loading, powers
from streams.codecs.speculative.compiling import compile_into
from streams.codecs.speculative.loader import Loader
from streams.codecs.speculative.loading import Kernels, load
from streams.codecs.speculative.reader import _PAUSE_ROWS, _POOR_ROWS, SpeculativeReader
from streams.codecs.speculative.template import learn
from streams.codecs.speculative.templates import MAX_TEMPLATES
from streams.codecs.speculative.vocabulary import MAX_TEXTS
from streams.event import Bounds

BOUNDS = Bounds(min_ts_ms=0, max_ts_ms=4_102_444_800_000)
TS = "2023-06-13T10:00:00.123Z"


@pytest.fixture(autouse=True)
def _numba() -> None:
    pytest.importorskip("numba", reason="numba is not installed: there are no kernels")


def event(**more: Any) -> bytes:
    return json.dumps({"ts": TS, "model": "m", "version": "1", **more}).encode()


def reader() -> SpeculativeReader:
    return SpeculativeReader(load, keep_request_ids=False)


def unread(of: SpeculativeReader, values: list[bytes]) -> list[int]:
    found = of.messages(values, None, BOUNDS)
    assert found is not None
    return [int(row) for row in found.unread]


def number(raw: bytes) -> float | None:
    """What the kernels make of a number; None if they leave it."""
    of = reader()
    values = [event(features={"x": 1.5}), event(features={"x": 1.5}).replace(b"1.5", raw)]
    found = of.messages(values, None, BOUNDS)
    assert found is not None
    if found.unread.tolist():
        return None
    return float(found.batches[0].numeric["features.x"][1])


def test_messages_like_the_first_are_read_by_kernels_at_once() -> None:
    values = [event(features={"x": i / 7, "t": f"t{i % 3}"}, host=f"h{i}") for i in range(50)]
    assert unread(reader(), values) == []


def test_producers_that_order_or_omit_fields_differently_have_templates_of_their_own() -> None:
    values = [
        event(features={"x": 1}),
        event(features={"x": 1, "y": 2}),
        event(scores={"s": 1}, features={"x": 1}),
    ] * 20
    of = reader()
    for _ in range(3):
        found = unread(of, values)
    assert found == []


def test_a_column_of_two_types_is_read_once_both_were_seen() -> None:
    values = [event(features={"x": x}) for x in (1, "a", True, None, 2.5)] * 10
    of = reader()
    for _ in range(3):
        found = unread(of, values)
    assert found == []


@pytest.mark.parametrize(
    "raw",
    [
        b"01", b"-", b"1.", b".5", b"+1", b"1e", b"1e+", b"0x1", b"NaN", b"Infinity", b"--1",
        b"1.5e301", b"1e999", b"1e99999", b"123456789012345678901", b"1_0", b"1 2", b"00.5",
    ],
)  # fmt: skip
def test_what_is_no_number_or_not_surely_one_is_left_to_the_exact_path(raw: bytes) -> None:
    assert number(raw) is None


def test_numbers_are_rounded_to_the_nearest_float() -> None:
    rng = random.Random(3)
    texts = [repr(struct.unpack("<d", rng.randbytes(8))[0]) for _ in range(2000)]
    texts += [repr(rng.gauss(0, 1)) for _ in range(2000)]
    texts += [str((2 * (rng.getrandbits(53) | 2**52) + 1) * 2**k) for k in range(8)]  # halfway
    texts += [f"{rng.getrandbits(63)}e{rng.randrange(-330, 290)}" for _ in range(2000)]
    texts += ["9007199254740993", "9007199254740993.0", "8.5e-9", "1e23", "-0.0", "-0", "0e5"]
    values = [event(features={"x": 1.5}).replace(b"1.5", text.encode()) for text in texts]
    found = reader().messages(values, None, BOUNDS)
    assert found is not None
    (batch,) = found.batches
    wanted = np.array([float(texts[i]) for i in batch.source.tolist()]) + 0.0
    assert batch.numeric["features.x"].tobytes() == wanted.tobytes()
    left = [texts[i] for i in found.unread.tolist()]
    assert len(left) < len(texts) / 4
    assert all(not 1e-290 < abs(float(text)) < 1e290 or len(text) > 19 for text in left)


def test_powers_of_ten_have_their_leading_128_bits() -> None:
    for power, (high, low) in zip(range(-342, 309), powers.mantissas().tolist(), strict=True):
        mantissa = (high << 64) | low
        assert mantissa.bit_length() == 128
        if power >= 0:
            exact = 5**power
            shift = exact.bit_length() - 128
            assert mantissa == (exact >> shift if shift >= 0 else exact << -shift)
        else:
            unit = 1 << ((5**-power).bit_length() + 127)
            assert abs(unit - mantissa * 5**-power) <= 5**-power


def test_more_texts_than_are_kept_at_once_are_all_read_right() -> None:
    rows = MAX_TEXTS + 500
    values = [event(features={"id": f"u{i}"}) for i in range(rows)]
    codec = JsonEvent(kernels=load)
    for _ in range(2):
        (batch,) = codec.decode(values, None, BOUNDS).batches
        column = batch.categorical["features.id"]
        assert len(column.categories) == rows
        assert column.categories[column.codes[rows - 1]] == f"u{rows - 1}"


def test_more_layouts_than_templates_are_all_read_right() -> None:
    values = [event(features={f"f{i % 40}": i}) for i in range(400)]
    codec = JsonEvent(kernels=load)
    for _ in range(3):
        (batch,) = codec.decode(values, None, BOUNDS).batches
        assert batch.rows == 400
        assert batch.numeric["features.f39"][39] == 39.0
    reading = codec._rows._speculative._templates
    assert reading is not None
    assert len(reading.known) <= MAX_TEMPLATES


def test_messages_that_are_never_alike_are_given_up_for_a_while() -> None:
    of = reader()
    rng = random.Random(1)
    for _ in range(0, 4 * _POOR_ROWS, 500):
        values = [event(features={f"f{rng.random()}": 1}) for _ in range(500)]
        if of.messages(values, None, BOUNDS) is None:
            break
    assert of.messages([event(features={"x": 1})], None, BOUNDS) is None
    of._pause_rows -= _PAUSE_ROWS
    assert unread(of, [event(features={"x": 1})] * 5) == []


@pytest.mark.parametrize(
    "raw",
    [
        event(features={"x": [1]}),
        event(features={"a.b": 1, "a": {"b": 2}}),
        event(features={"x": 1})[:-1] + b',"model":"m"}',
        event(label={"a": 1}),
        event(features=5),
        b'{"ts":true,"model":"m","version":"1","features":{"x":1}}',
        b'{"model":"m","version":"1","features":{"x":1}}',
        b"[1]",
        b"{",
        b"\xff",
    ],
)
def test_what_no_template_can_stand_for_is_not_learnt(raw: bytes) -> None:
    assert learn(raw, BOUNDS) is None


def test_until_kernels_are_ready_everything_is_read_without_them() -> None:
    may_load = threading.Event()
    made = Kernels(lambda *_: (0, 0), CompiledKernels(lambda *_: None, lambda *_: None))

    def slow() -> Kernels:
        assert may_load.wait(120)
        return made

    loader = Loader("decoder", slow, lambda: None)
    loader.warm_up()
    loader.warm_up()
    codec = make_codec("json", kernels=loader.ready)
    assert codec.decode([event(features={"x": 1})], None, BOUNDS).batches[0].rows == 1
    assert loader.ready() is None
    may_load.set()
    assert loader.load() is made
    assert loader.ready() is made


def test_only_the_background_waits_until_the_kernels_are_prepared() -> None:
    may_go = threading.Event()
    made = Kernels(lambda *_: (0, 0), CompiledKernels(lambda *_: None, lambda *_: None))

    def slow() -> None:
        assert may_go.wait(120)

    loader = Loader("decoder", lambda: made, slow)
    loader.warm_up()
    assert loader.ready() is None
    assert loader.load() is made
    may_go.set()


@pytest.mark.parametrize("error", [ImportError(), OSError(), RuntimeError()])
def test_kernels_that_cannot_be_had_are_asked_for_once_and_missed_by_none(
    error: Exception,
) -> None:
    asked = []

    def fails() -> Kernels:
        asked.append(1)
        raise error

    loader = Loader("decoder", fails, lambda: None)
    assert loader.load() is None
    assert loader.load() is None
    assert asked == [1]
    codec = make_codec("ndjson", kernels=loader.load)
    assert codec.decode([event(features={"x": 1})], None, BOUNDS).batches[0].rows == 1


def test_without_numba_everything_is_read(repository: Path) -> None:
    script = (
        "import sys\n"
        "sys.modules['numba'] = None\n"
        "from streams.codecs import make_codec\n"
        "from streams.codecs.speculative.loading import load\n"
        "from streams.event import Bounds\n"
        "assert load() is None\n"
        f"raw = {event(features={'x': 2.5})!r}\n"
        "(batch,) = make_codec('json').decode([raw], None, Bounds(0, 10**14)).batches\n"
        "print(batch.numeric['features.x'].tolist())\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(repository)},
        check=False,
    )
    assert found.stdout.splitlines()[-1:] == ["[2.5]"], found.stderr[-2000:]


def test_codecs_alone_do_not_import_numba(repository: Path) -> None:
    script = "import streams.codecs, sys; print('numba' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(repository)},
        check=True,
    )
    assert found.stdout.strip() == "False"


def test_the_cache_is_in_the_first_folder_that_can_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x")
    found = cache.folder([blocked / "a", tmp_path / "b"], ("1.0",))
    assert found is not None
    assert found.parent == tmp_path / "b"
    assert found.stat().st_mode & 0o077 == 0
    assert cache.folder([blocked], ("1.0",)) is None


def test_another_version_of_the_compiler_has_another_cache(tmp_path: Path) -> None:
    one, two = (cache.folder([tmp_path], (version,)) for version in ("1.0", "1.1"))
    assert one != two


def test_the_kernels_of_this_process_are_ready_once_loaded() -> None:
    assert load() is loading.ready()
    assert load() is not None


def test_of_several_processes_that_start_together_one_compiles(tmp_path: Path) -> None:
    compiled: list[int] = []

    def slow(number: int) -> None:
        time.sleep(0.05)
        compiled.append(number)

    threads = [
        threading.Thread(target=compile_into, args=(tmp_path, partial(slow, i))) for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(compiled) == 1
    compile_into(tmp_path, lambda: compiled.append(9))
    assert len(compiled) == 1


def test_what_could_not_be_compiled_is_tried_again(tmp_path: Path) -> None:
    def fails() -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        compile_into(tmp_path, fails)
    compiled: list[int] = []
    compile_into(tmp_path, lambda: compiled.append(1))
    assert compiled == [1]

"""E: poison messages. Whatever is sent, its neighbours are counted, it is a dead letter with the
right reason or an event without the bad value, nothing is raised, and time and memory are bounded.

Each poison stands alone, first, last, in the middle and as every second message, in every codec.
That the checks bite is shown by readers without guards: one believes what stands there
(:mod:`tests.faults.naive_reader`), one gives up a batch at the first error, and in some a bound is
wider than any message.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Message

from streams.cardinality import Limits
from streams.codecs import make_codec
from streams.codecs.reasons import Reason
from streams.codecs.speculative.loading import Kernels, load
from streams.event import Bounds, Decoded
from streams.inputs import InputFormat, InputSettings
from streams.internal_topics import DEADLETTERS, INTAKE
from streams.sampling import SampleSettings
from streams.summarizer import Summarizer, SummarizeSettings
from streams.timeline import DAY, NEVER, TimeSettings
from tests.faults.naive_reader import naive_codec
from tests.faults.poison import ARROW_POISONS, POISONS, TS_MS, Poison, arrow, arrow_event, event

BOUNDS = Bounds(min_ts_ms=TS_MS - 10**9, max_ts_ms=TS_MS + 10**9)
GOOD: Final = "good"
MOST_S: Final = 10.0
"""For a batch; they take milliseconds. What is meant is for ever."""
MOST_MEMORY: Final = 600 * 1024 * 1024


def none() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Carrier:
    """A codec, and what a good message and its poisons are in it."""

    codec: str
    kernels: Callable[[], Kernels | None]
    good: bytes
    poisons: dict[str, Poison]


_ARROW_GOOD = arrow({**arrow_event(latency_ms=[1.0]), "model": [GOOD]})
_NOT_ARROW = {
    name: Poison(each.number, each.raw, None)
    for name, each in POISONS.items()
    if name not in ("empty", "tombstone", "10 MB")
}
CARRIERS: Final = {
    "json": Carrier("json", none, event(GOOD, latency_ms=1.0), POISONS),
    "json-kernels": Carrier("json", load, event(GOOD, latency_ms=1.0), POISONS),
    "ndjson": Carrier("ndjson", none, event(GOOD, latency_ms=1.0), POISONS),
    "ndjson-kernels": Carrier("ndjson", load, event(GOOD, latency_ms=1.0), POISONS),
    "auto": Carrier("auto", none, event(GOOD, latency_ms=1.0), POISONS),
    "auto-kernels": Carrier("auto", load, event(GOOD, latency_ms=1.0), POISONS),
    "arrow": Carrier("arrow", none, _ARROW_GOOD, ARROW_POISONS),
    "auto-arrow": Carrier("auto", none, _ARROW_GOOD, ARROW_POISONS),
}

_MANY, _SOME = 1_000, 12


def alone(good: bytes, bad: bytes | None) -> list[bytes | None]:
    return [bad]


def first(good: bytes, bad: bytes | None) -> list[bytes | None]:
    return [bad, *[good] * _MANY]


def last(good: bytes, bad: bytes | None) -> list[bytes | None]:
    return [*[good] * _MANY, bad]


def middle(good: bytes, bad: bytes | None) -> list[bytes | None]:
    return [*[good] * (_MANY // 2), bad, *[good] * (_MANY // 2)]


def every_second(good: bytes, bad: bytes | None) -> list[bytes | None]:
    return [good, bad] * _SOME


POSITIONS: Final = (alone, first, last, middle, every_second)
CELLS: Final = [
    (carrier, poison, position)
    for carrier, each in CARRIERS.items()
    for poison in each.poisons
    for position in POSITIONS
]


def wrong_with(
    decoded: Decoded, values: Sequence[bytes | None], good: bytes, poison: Poison
) -> list[str]:
    """The checker: what is wrong with what was made of ``values``."""
    at = {i for i, value in enumerate(values) if value is not good}
    counted = sum(batch.rows for batch in decoded.batches if batch.model == GOOD)
    refused = {reject.source: reject.reason for reject in decoded.rejects}
    found = [f"refused a neighbour: {source}" for source in sorted(refused.keys() - at)]
    if counted != len(values) - len(at):
        found.append(f"lost: {len(values) - len(at) - counted} neighbours")
    if int(decoded.rows.sum()) != sum(b.rows for b in decoded.batches) + len(decoded.rejects):
        found.append("rows seen are not those counted and refused")
    if poison.refused is None:
        return found + wrongly_read(decoded, len(at), poison)
    if set(refused) != at or set(refused.values()) != {poison.refused}:
        found.append(f"refused {set(refused.values())}, not all for {poison.refused}")
    return found


def wrongly_read(decoded: Decoded, count: int, poison: Poison) -> list[str]:
    """What is wrong with a poison that should have been read, ``count`` times."""
    taken = [batch for batch in decoded.batches if batch.model == poison.model]
    found = [] if sum(batch.rows for batch in taken) == count else ["not read"]
    for name in poison.unread:
        unread = sum(len(batch.errors.get(name, ())) for batch in taken)
        if unread < count:
            found.append(f"{name}: {unread} errors, not {count}")
    for name, value in (poison.values or {}).items():
        if any(batch.numeric[name].tolist() != [value] * batch.rows for batch in taken):
            found.append(f"{name} is not {value}")
    return found


@pytest.mark.parametrize(
    ("carrier", "poison", "position"),
    CELLS,
    ids=[f"E{CARRIERS[c].poisons[p].number}-{c}-{p}-{q.__name__}" for c, p, q in CELLS],
)
def test_poison_harms_no_neighbour(
    carrier: str, poison: str, position: Callable[[bytes, bytes | None], list[bytes | None]]
) -> None:
    by = CARRIERS[carrier]
    codec = make_codec(by.codec, kernels=by.kernels)
    codec.decode([by.good] * 3, None, BOUNDS)  # warm: it has learnt the shape
    values = position(by.good, by.poisons[poison].raw)
    began = time.process_time()
    decoded = codec.decode(values, None, BOUNDS)
    assert time.process_time() - began < MOST_S
    assert wrong_with(decoded, values, by.good, by.poisons[poison]) == []


@pytest.mark.parametrize("name", list(_NOT_ARROW), ids=lambda name: f"E-arrow-topic-{name}")
def test_what_is_no_arrow_is_refused_on_an_arrow_topic(name: str) -> None:
    codec = make_codec("arrow")
    decoded = codec.decode([_ARROW_GOOD, POISONS[name].raw, _ARROW_GOOD], None, BOUNDS)
    assert [reject.source for reject in decoded.rejects] == [1]
    assert sum(batch.rows for batch in decoded.batches) == 2


def test_there_are_thirty_kinds_of_poison() -> None:
    assert {each.number for each in POISONS.values()} == set(range(1, 31))
    assert len(CELLS) == (6 * len(POISONS) + 2 * len(ARROW_POISONS)) * len(POSITIONS)


def test_dead_letters_say_where_and_why_and_are_cut() -> None:
    """All poisons through a whole worker, between good events: the four fates add up."""
    bodies = [raw for each in POISONS.values() for raw in (event(GOOD, latency_ms=1.0), each.raw)]
    messages = [Message("in", 0, at, value=body) for at, body in enumerate(bodies)]
    summarizer = Summarizer(
        (InputSettings("in", InputFormat.JSON),),
        TimeSettings(max_age_ms=400 * DAY, allowed_lateness_ms=400 * DAY),
        SummarizeSettings(),
        Limits(),
        SampleSettings(),
        lambda _: None,
        1,
        "w",
    )
    summarizer.intake.assign(("in", 0), 1, NEVER, TS_MS)
    summarizer.take(messages, TS_MS)
    records = summarizer.flush(TS_MS, {})
    letters = [json.loads(record.value) for record in records if record.topic == DEADLETTERS]
    refused = [i * 2 + 1 for i, each in enumerate(POISONS.values()) if each.refused]
    assert [letter["rows"][0]["offset"] for letter in letters] == refused
    wanted = [each.refused for each in POISONS.values() if each.refused]
    assert [letter["rows"][0]["reason"] for letter in letters] == wanted
    for letter, body in zip(letters, (bodies[at] or b"" for at in refused), strict=True):
        assert base64.b64decode(letter["bytes"]) == body[: 64 * 1024]
        assert letter["rows"][0]["bytes"] == len(body)
    (ledger,) = (json.loads(record.value) for record in records if record.topic == INTAKE)
    (row,) = ledger["rows"]
    assert row["messages"] == len(bodies)
    assert row["dead"] == len(refused)
    assert row["events"] == len(bodies) - len(refused)


# --- without guards ------------------------------------------------------------------------------

_NAIVE: Final = [
    ("json", event(GOOD, latency_ms=1.0), POISONS),
    ("arrow", _ARROW_GOOD, ARROW_POISONS),
]


@pytest.mark.parametrize(
    ("codec", "good", "poison"),
    [(codec, good, each) for codec, good, every in _NAIVE for each in every.values()],
    ids=[
        f"E{each.number}-{codec}-{name}-no-guard"
        for codec, _, every in _NAIVE
        for name, each in every.items()
    ],
)
def test_a_reader_without_guards_is_caught_by_every_poison(
    codec: str, good: bytes, poison: Poison
) -> None:
    values = [good, poison.raw, good]
    reader = naive_codec(codec)
    harmless = reader.decode([good] * 3, None, BOUNDS)
    assert sum(batch.rows for batch in harmless.batches) == 3, "it is poison that harms it"
    assert wrong_with(reader.decode(values, None, BOUNDS), values, good, poison) != []


@pytest.mark.parametrize("position", POSITIONS[1:], ids=lambda p: f"E-{p.__name__}-no-guard")
def test_a_reader_that_gives_up_a_batch_is_caught(position: Any) -> None:
    good, poison = event(GOOD, latency_ms=1.0), POISONS["cut off"]
    values = position(good, poison.raw)
    codec = make_codec("json", kernels=none)
    until = next(i for i, value in enumerate(values) if value is not good)
    given_up = codec.decode(values[:until], None, BOUNDS)
    assert any("lost" in what or "not all for" in what for what in
               wrong_with(given_up, values, good, poison))  # fmt: skip


@pytest.mark.parametrize(
    ("poison", "bounds"),
    [
        ("10 MB", {"max_message_bytes": 64 * 1024 * 1024}),
        ("a name of 1 MB", {"max_name_chars": 2_000_000}),
        ("5,000 keys", {"max_columns": 100_000}),
    ],
    ids=["E26-10-MB-no-guard", "E27-name-of-1-MB-no-guard", "E26-5000-keys-no-guard"],
)
def test_without_the_bound_the_check_fails(poison: str, bounds: dict[str, Any]) -> None:
    good, each = event(GOOD, latency_ms=1.0), POISONS[poison]
    loose = Bounds(min_ts_ms=BOUNDS.min_ts_ms, max_ts_ms=BOUNDS.max_ts_ms, **bounds)
    values = [good, each.raw, good]
    decoded = make_codec("json", kernels=none).decode(values, None, loose)
    assert wrong_with(decoded, values, good, each) != []


# --- memory --------------------------------------------------------------------------------------

_CHILD: Final = """
import sys
from pathlib import Path
from streams.codecs import make_codec
from streams.event import Bounds
bounds = Bounds(int(sys.argv[2]), int(sys.argv[3]), max_message_bytes=int(sys.argv[4]))
for file in sorted(Path(sys.argv[1]).iterdir()):
    codec = make_codec(file.name.partition(" ")[0], kernels=lambda: None)
    raw = file.read_bytes()
    codec.decode([raw] * 3, None, bounds)
# Not of getrusage, which begins with what the parent had.
print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024)
"""


@pytest.mark.parametrize("guard", [True, False], ids=["E29-memory", "E29-memory-no-guard"])
def test_memory_stays_below_600_mb_under_all_poison(
    repository: Path, tmp_path: Path, guard: bool
) -> None:
    """Without the guard: a message may hold what it likes. Then the bombs alone are too much."""
    for name in ("json", "ndjson", "arrow", "auto-arrow") if guard else ("arrow",):
        carrier = CARRIERS[name]
        for number, each in enumerate(carrier.poisons.values()):
            if guard or each.refused is Reason.TOO_LARGE:
                (tmp_path / f"{carrier.codec} {name} {number}").write_bytes(each.raw or b"")
    bounds = [BOUNDS.min_ts_ms, BOUNDS.max_ts_ms, BOUNDS.max_message_bytes if guard else 2**40]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path), *map(str, bounds)],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    most = int(done.stdout.strip().splitlines()[-1])
    assert most > 50 * 2**20
    assert (most < MOST_MEMORY) is guard, f"{most / 2**20:.0f} MB"

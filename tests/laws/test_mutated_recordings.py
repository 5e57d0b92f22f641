"""The recorded messages of the demo (answers of GPT-4, decisions about loans; examples/DATA.md),
whole and damaged at random, in each codec: what reads them fast reads them as the exact path does.
That no kernel leaves its arrays on them either is seen in test_mutated_messages.py.

Made-up messages have what their author thought of; these have what producers log: scores of one
kind of question only, euro signs, percentages, decisions with probabilities, 25 lines a message.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from streams.codecs.arrow_batch import ArrowBatch
from streams.codecs.json_event import JsonEvent
from streams.codecs.ndjson import Ndjson
from streams.codecs.speculative.loading import load
from streams.demo_traffic import ANSWERS_TOPIC, LOANS_TOPIC, traffic
from streams.event import Codec
from tests.laws.test_arrow_runs import by_row, message
from tests.laws.test_mutated_messages import BOUNDS, fuzz, lines_of, mutated, no_kernels, picture

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
START_MS = 1_780_000_000_000
ROUNDS = 40
MESSAGES = 60
BATCHES = 12
Corpus = dict[str, list[bytes]]


@functools.cache
def recorded() -> Corpus:
    """By topic, the lines that were sent: one event each."""
    sent: Corpus = {ANSWERS_TOPIC: [], LOANS_TOPIC: []}
    for each in traffic(EXAMPLES, START_MS):
        sent[each.topic] += each.value.split(b"\n")
    return sent


def some(rng: random.Random, count: int) -> list[bytes]:
    """Messages of one topic as they followed each other, or of both, mixed."""
    topics = rng.choice([[ANSWERS_TOPIC], [LOANS_TOPIC], [ANSWERS_TOPIC, LOANS_TOPIC]])
    found: list[bytes] = []
    for topic in topics:
        lines = recorded()[topic]
        first = rng.randrange(len(lines) - count)
        found += lines[first : first + count]
    if len(topics) > 1:
        rng.shuffle(found)
    return found[:count]


def damaged(rng: random.Random, whole: Sequence[bytes]) -> list[bytes | None]:
    harm = rng.choice([0.05, 0.5])
    return [mutated(rng, raw, whole[0]) if rng.random() < harm else raw for raw in whole]


def messages(rng: random.Random) -> list[bytes | None]:
    return damaged(rng, some(rng, MESSAGES))


def lines(rng: random.Random) -> list[bytes | None]:
    return lines_of(rng, messages(rng))


def loans_as_sent(rng: random.Random) -> list[bytes | None]:
    """NDJSON as the demo sends it, damaged as a whole."""
    sent = recorded()[LOANS_TOPIC]
    first = rng.randrange(len(sent) - 250)
    return damaged(rng, [b"\n".join(sent[at : at + 25]) for at in range(first, first + 250, 25)])


def table(events: Sequence[Any], *, nested: bool) -> Any:
    """As a producer of Arrow sends it: structs, or a column for each of their fields."""
    found = pa.Table.from_pylist(list(events))
    while not nested and any(pa.types.is_struct(field.type) for field in found.schema):
        found = found.flatten()
    return found


def batches(rng: random.Random) -> list[bytes]:
    """Messages of one schema, or of two, with dictionaries or without."""
    topic = rng.choice([ANSWERS_TOPIC, LOANS_TOPIC])
    nested = [rng.random() < 0.3] * BATCHES if rng.random() < 0.7 else [True, False] * BATCHES
    coded = rng.random() < 0.5
    found = []
    for number in range(BATCHES):
        lines = recorded()[topic]
        first = rng.randrange(len(lines) - 60)
        events = [json.loads(line) for line in lines[first : first + rng.randrange(1, 60)]]
        whole = table(events, nested=nested[number])
        if coded:
            columns = [
                each.dictionary_encode() if pa.types.is_string(each.type) else each
                for each in whole.columns
            ]
            whole = pa.table(columns, names=whole.column_names)
        found.append(message(whole))
    return found


@pytest.mark.parametrize("codec", [JsonEvent, Ndjson])
def test_every_recorded_event_is_read_alike_with_kernels_and_without(codec: Any) -> None:
    for lines in recorded().values():
        values = lines if codec is JsonEvent else [b"\n".join(lines)]
        fast, exact = (codec(kernels=k).decode(values, None, BOUNDS) for k in (load, no_kernels))
        assert picture(fast) == picture(exact)
        assert (int(fast.rows.sum()), fast.rejects) == (len(lines), ())


@pytest.mark.parametrize("nested", [False, True])
def test_every_recorded_event_is_read_from_arrow(nested: bool) -> None:
    for lines in recorded().values():
        value = message(table([json.loads(line) for line in lines], nested=nested))
        from_arrow = ArrowBatch().decode([value], None, BOUNDS)
        from_json = JsonEvent(kernels=no_kernels).decode(lines, None, BOUNDS)
        assert from_arrow.rejects == ()
        assert [(b.model, b.kind, b.rows, list(b.numeric), list(b.categorical)) for b in
                from_arrow.batches] == [
            (b.model, b.kind, b.rows, list(b.numeric), list(b.categorical))
            for b in from_json.batches
        ]  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("keep", [False, True])
def test_damaged_recordings_are_read_as_by_the_exact_path(seed: int, keep: bool) -> None:
    fuzz(lambda k: JsonEvent(kernels=k, keep_request_ids=keep), messages, seed, ROUNDS)


@pytest.mark.parametrize("make", [lines, loans_as_sent])
def test_damaged_lines_of_recordings_are_read_as_by_the_exact_path(make: Any) -> None:
    fuzz(lambda k: Ndjson(kernels=k), make, 3, ROUNDS)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_arrow_of_recordings_is_read_as_each_message_alone(seed: int) -> None:
    rng = random.Random(seed)
    codec: Codec = ArrowBatch()
    refused = read = 0
    for _ in range(15):
        whole = batches(rng)
        codec.decode(whole[:1], None, BOUNDS)  # learns how a stream may begin
        values = damaged(rng, whole)
        together = codec.decode(values, None, BOUNDS)
        apart = [ArrowBatch().decode([value], None, BOUNDS) for value in values]
        rows = [row for at, one in enumerate(apart) for row in by_row(one, at)]
        assert by_row(together) == sorted(rows, key=lambda row: (row[0], row[1], row[2]))
        rejects = [
            (at, r.row, r.reason, r.raw) for at, one in enumerate(apart) for r in one.rejects
        ]
        assert [(r.source, r.row, r.reason, r.raw) for r in together.rejects] == rejects
        refused, read = refused + len(rejects), read + len(rows)
    # Damage is found, and takes no more with it than it must.
    assert min(refused, read) > 0

"""The generator: seeded, of the stated size, and the same events in every format."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench.events import (
    START_MS,
    Shape,
    Source,
    arrow_messages,
    generate,
    json_messages,
    ndjson_messages,
    reference_of,
)
from detectors.layout import Kind
from detectors.release import Role
from streams.codecs import make_codec
from streams.event import Bounds

BOUNDS = Bounds(START_MS - 1, START_MS + 10**9)


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert json_messages(generate(50, 3)) == json_messages(generate(50, 3))
    assert json_messages(generate(50, 3)) != json_messages(generate(50, 4))


@pytest.mark.parametrize(
    ("decimals", "fewest", "most"), [(4, 580, 640), (None, 820, 890)], ids=["short", "full"]
)
def test_an_event_has_25_columns_and_the_stated_size(
    decimals: int | None, fewest: int, most: int
) -> None:
    messages = json_messages(generate(2_000, 1, Shape(decimals=decimals)))
    assert fewest < sum(map(len, messages)) / len(messages) < most
    event = json.loads(messages[0])
    assert len(event["features"]) + len(event["prediction"]) + 1 == Shape().columns == 25


def test_about_a_tenth_of_the_events_have_a_null() -> None:
    events = [json.loads(message) for message in json_messages(generate(5_000, 2))]
    nulls = sum(None in event["features"].values() for event in events)
    assert 400 < nulls < 600


def test_every_format_decodes_to_the_same_columns() -> None:
    events = generate(2_500, 5)
    written = {
        "json": json_messages(events),
        "ndjson": ndjson_messages(events),
        "arrow": arrow_messages(events),
    }
    assert [len(messages) for messages in written.values()] == [2_500, 25, 3]
    decoded = {name: make_codec(name).decode(m, None, BOUNDS) for name, m in written.items()}
    (expected,) = decoded["json"].batches
    assert len(expected.numeric) == 20
    assert len(expected.categorical) == 5
    for found in decoded.values():
        (batch,) = found.batches
        assert not found.rejects
        assert np.array_equal(batch.ts_ms, events.ts_ms)
        for name, values in expected.numeric.items():
            assert np.array_equal(batch.numeric[name], values, equal_nan=True), name
        for name, column in expected.categorical.items():
            other = batch.categorical[name]
            texts = np.array(column.categories)[column.codes]
            assert np.array_equal(np.array(other.categories)[other.codes], texts), name


def test_events_come_from_every_source() -> None:
    known = [Source("a", "1"), Source("b", "2", Role.CANARY)]
    events = [json.loads(message) for message in json_messages(generate(100, 1, known=known))]
    found = {(event["model"], event["version"], event["role"]) for event in events}
    assert found == {("a", "1", "production"), ("b", "2", "canary")}


def test_a_reference_of_generated_events_has_their_columns() -> None:
    layout = reference_of(generate(500, 1), "fraud").layout
    kinds = [spec.kind for spec in layout.columns]
    assert (kinds.count(Kind.NUMERIC), kinds.count(Kind.CATEGORICAL)) == (20, 5)

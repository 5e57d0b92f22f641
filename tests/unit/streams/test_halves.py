"""Halves: which rows become some, what is in them, and that they survive the wire."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.pairs import HalfCounts
from detectors.release import Role
from streams.cardinality import Limits
from streams.event import Categorical, EventBatch, EventKind
from streams.halves import HalfMaker, HalfRows, decode_halves, split_halves
from streams.kept_rows import Kept, ModelRows
from streams.pair_settings import PairSettings
from streams.request_hash import request_hashes
from streams.shadow_book import ACTIVE_MS, REPEAT_MS, Shadows
from streams.wire import Unreadable


def batch(ids: tuple[str | None, ...], roles: tuple[Role, ...]) -> EventBatch:
    n = len(ids)
    releases = tuple((str(i), role) for i, role in enumerate(roles))
    return EventBatch(
        "m",
        EventKind.PREDICTION,
        n,
        np.arange(n, dtype=np.int64) * 1_000,
        np.arange(n, dtype=np.int64),
        releases,
        np.arange(n, dtype=np.int32) % len(roles),
        np.arange(n) % 2 == 1,
        numeric={"latency_ms": np.arange(n, dtype=np.float64), "scores.s": np.full(n, np.nan)},
        categorical={
            "prediction.label": Categorical(np.arange(n, dtype=np.int32) % 3 - 1, ("A", "B"))
        },
        request_ids=ids,
    )


def made(
    given: EventBatch, settings: PairSettings | None = None
) -> tuple[HalfRows | None, dict[tuple[tuple[str, Role], int], HalfCounts]]:
    rows = ModelRows("m", Limits())
    rows.parts.append(Kept(given, np.arange(given.rows), "t"))
    return HalfMaker("m", settings or PairSettings()).make(rows, 10_000)


ROLES = (Role.PRODUCTION, Role.SHADOW, Role.CANARY, Role.VARIANT)


def test_only_production_and_shadows_send_halves_and_those_without_id_are_counted() -> None:
    halves, without = made(batch(("a", "b", "c", "d", None, "f"), ROLES))
    assert halves is not None
    assert halves.key.tolist() == request_hashes("m", ["a", "b", "f"]).tolist()
    assert [halves.releases[i] for i in halves.release] == [
        ("0", Role.PRODUCTION),
        ("1", Role.SHADOW),
        ("1", Role.SHADOW),
    ]
    assert halves.failed.tolist() == [0, 1, 1]
    assert [label != 0 for label in halves.label.tolist()] == [False, True, True]
    assert without == {(("0", Role.PRODUCTION), 0): HalfCounts(without_id=1)}


def test_batches_without_ids_and_other_kinds_of_events_give_nothing() -> None:
    rows = ModelRows("m", Limits())
    for kind, ids in ((EventKind.PREDICTION, None), (EventKind.LABEL, ("a",))):
        given = batch(("a",), ROLES)
        other = EventBatch(
            "m",
            kind,
            1,
            given.ts_ms,
            given.source,
            given.releases,
            given.release,
            given.failed,
            request_ids=ids,
        )
        rows.parts.append(Kept(other, np.arange(1), "t"))
    assert HalfMaker("m", PairSettings()).make(rows, 10_000) == (None, {})


def test_both_sides_choose_the_same_requests_where_only_a_share_is_paired() -> None:
    ids = tuple(f"q-{i}" for i in range(2_000))
    some = PairSettings(share=0.25)
    ours, _ = made(batch(ids, (Role.SHADOW,)), some)
    theirs, _ = made(batch(ids, (Role.PRODUCTION,)), some)
    assert ours is not None
    assert theirs is not None
    assert ours.key.tolist() == theirs.key.tolist()
    assert 400 < len(ours) < 600


def test_no_more_measures_of_a_model_are_sent_than_allowed() -> None:
    halves, _ = made(batch(("a", "b"), ROLES), PairSettings(max_measures=1))
    assert halves is not None
    assert list(halves.measures) == ["latency_ms"]


def test_halves_survive_the_wire_in_their_order_each_in_the_partition_of_its_request() -> None:
    ids = tuple(f"q-{i}" for i in range(1_000))
    halves, _ = made(batch(ids, ROLES[:2]))
    assert halves is not None
    sent = [(n, *decode_halves(value)) for n, value in split_halves("m", 7, halves, 3)]
    assert {(record.model, record.wall_ms) for _, record, _ in sent} == {("m", 7)}
    for number, _, rows in sent:
        here = np.flatnonzero(halves.key % np.uint64(3) == number)
        assert rows.key.tolist() == halves.key[here].tolist()
        assert rows.release.tolist() == halves.release[here].tolist()
        assert rows.pane_ms.tolist() == halves.pane_ms[here].tolist()
        assert rows.label.tolist() == halves.label[here].tolist()
        for name, values in rows.measures.items():
            np.testing.assert_array_equal(values, halves.measures[name][here])


def test_many_halves_are_cut_into_records_that_a_broker_takes() -> None:
    ids = tuple(f"q-{i}" for i in range(50_000))
    halves, _ = made(batch(ids, ROLES[:2]))
    assert halves is not None
    sent = [value for _, value in split_halves("m", 7, halves, 1)]
    assert len(sent) > 1
    assert max(map(len, sent)) < 900_000
    assert sum(len(decode_halves(value)[1]) for value in sent) == len(ids)


def test_records_that_do_not_fit_together_are_refused() -> None:
    halves, _ = made(batch(("a", "b"), ROLES))
    assert halves is not None
    ((_, value),) = split_halves("m", 7, halves, 1)
    for wrong in (None, b"", value[:-1], b"\x09" + value[1:], value.replace(b"halves", b"halved")):
        with pytest.raises(Unreadable):
            decode_halves(wrong)
    short = value.replace(b"\xc4\x02" + bytes((0, 1)), b"\xc4\x01\x00")
    assert short != value
    with pytest.raises(Unreadable):
        decode_halves(short)


# --- hashes --------------------------------------------------------------------------------------


def test_a_hash_depends_on_the_id_and_the_model_and_not_on_its_neighbours() -> None:
    ids = ["", "a", "a\0", "12345678", "123456789", "é" * 40, "x" * 64, "x" * 65, "x" * 66]
    together = request_hashes("m", ids).tolist()
    assert together == [int(request_hashes("m", [one])[0]) for one in ids]
    assert len(set(together)) == len(ids)
    assert not set(together) & set(request_hashes("n", ids).tolist())
    assert len(request_hashes("m", [])) == 0


def test_hashes_of_counted_ids_do_not_collide_and_spread_evenly() -> None:
    hashes = request_hashes("m", [f"request-{i:09d}" for i in range(200_000)])
    assert len(np.unique(hashes)) == 200_000
    for part in (hashes % np.uint64(8), hashes >> np.uint64(61)):
        counts = np.bincount(part.astype(np.int64), minlength=8)
        assert abs(counts - 25_000).max() < 5 * 25_000**0.5


# --- announcements -------------------------------------------------------------------------------


def test_a_shadow_is_announced_again_while_it_comes_and_forgotten_when_it_stops() -> None:
    shadows = Shadows(10)
    assert shadows.see("m", 0) is not None
    assert shadows.see("m", REPEAT_MS - 1) is None
    assert shadows.see("m", REPEAT_MS) is not None
    assert shadows.active("m", REPEAT_MS + ACTIVE_MS - 1)
    assert not shadows.active("m", REPEAT_MS + ACTIVE_MS)
    assert not shadows.active("n", 0)


def test_what_may_not_have_been_written_is_announced_again() -> None:
    shadows = Shadows(10)
    assert shadows.see("m", 0) is not None
    shadows.announce_again()
    assert shadows.see("m", 1) is not None


def test_invented_models_are_neither_announced_nor_remembered_without_end() -> None:
    shadows = Shadows(3)
    announced = [shadows.see(f"m{i}", 0) for i in range(10)]
    assert sum(each is not None for each in announced) == 3
    for i in range(10):
        shadows.hear(f"n{i}", 0)
    assert [shadows.active(f"n{i}", 0) for i in range(10)] == [False] * 7 + [True] * 3

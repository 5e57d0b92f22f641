"""Halves survive the wire, their hashes spread, and models with a shadow are announced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from detectors.release import Role
from streams.halves import HalfRows, decode_halves, score_rows, split_halves
from streams.request_hash import request_hashes, salted
from streams.shadow_book import ACTIVE_MS, REPEAT_MS, Shadows
from streams.wire import Unreadable

RELEASES = (("0", Role.PRODUCTION), ("1", Role.SHADOW))


def answers(ids: Sequence[str]) -> HalfRows:
    n = len(ids)
    return HalfRows(
        RELEASES,
        request_hashes("m", ids),
        np.arange(n).astype(np.uint16) % np.uint16(2),
        np.arange(n, dtype=np.int64) // 10 * 10_000,
        np.arange(n, dtype=np.uint32) % np.uint32(3),
        (np.arange(n) % 2).astype(np.uint8),
        {"latency_ms": np.arange(n, dtype=np.float64), "scores.s": np.full(n, np.nan)},
    )


def scores(ids: Sequence[str]) -> HalfRows:
    rows = answers(ids)
    values = np.arange(len(ids)) / 8
    key = salted(rows.key, "scores.s")
    return score_rows("scores.s", RELEASES, key, rows.release, rows.pane_ms, values)


@pytest.mark.parametrize("kind", [answers, scores])
def test_halves_survive_the_wire_in_their_order_each_in_the_partition_of_its_request(
    kind: Callable[[Sequence[str]], HalfRows],
) -> None:
    halves = kind([f"q-{i}" for i in range(1_000)])
    sent = [(n, *decode_halves(value)) for n, value in split_halves("m", 7, halves, 3)]
    assert {(record.model, record.wall_ms) for _, record, _ in sent} == {("m", 7)}
    assert sum(len(rows) for _, _, rows in sent) == 1_000
    for number, _, rows in sent:
        here = np.flatnonzero(halves.key % np.uint64(3) == number)
        assert (rows.releases, rows.score) == (halves.releases, halves.score)
        assert rows.key.tolist() == halves.key[here].tolist()
        assert rows.release.tolist() == halves.release[here].tolist()
        assert rows.pane_ms.tolist() == halves.pane_ms[here].tolist()
        assert rows.label.tolist() == halves.label[here].tolist()
        assert rows.failed.tolist() == halves.failed[here].tolist()
        assert rows.measures.keys() == halves.measures.keys()
        for name, values in rows.measures.items():
            np.testing.assert_array_equal(values, halves.measures[name][here])


@pytest.mark.parametrize("kind", [answers, scores])
def test_many_halves_are_cut_into_records_that_a_broker_takes(
    kind: Callable[[Sequence[str]], HalfRows],
) -> None:
    halves = kind([f"q-{i}" for i in range(50_000)])
    sent = [value for _, value in split_halves("m", 7, halves, 1)]
    assert len(sent) > 1
    assert max(map(len, sent)) < 900_000
    assert sum(len(decode_halves(value)[1]) for value in sent) == 50_000


@pytest.mark.parametrize("kind", [answers, scores])
def test_records_that_do_not_fit_together_are_refused(
    kind: Callable[[Sequence[str]], HalfRows],
) -> None:
    ((_, value),) = split_halves("m", 7, kind(["a", "b"]), 1)
    unknown = value.replace(b"\xa6halves", b"\xa6halved").replace(b"\xa6scores", b"\xa6scored")
    for wrong in (None, b"", value[:-1], b"\x09" + value[1:], unknown):
        with pytest.raises(Unreadable):
            decode_halves(wrong)
    # One release for two keys.
    short = value.replace(b"\xc4\x04" + bytes((0, 0, 1, 0)), b"\xc4\x02" + bytes((0, 0)))
    assert short != value
    with pytest.raises(Unreadable):
        decode_halves(short)
    nameless = value.replace(bytes((0, 0, 1, 0)), bytes((0, 0, 2, 0)))
    with pytest.raises(Unreadable):
        decode_halves(nameless)


# --- hashes --------------------------------------------------------------------------------------


def test_a_hash_depends_on_the_id_and_the_model_and_not_on_its_neighbours() -> None:
    ids = ["", "a", "a\0", "12345678", "123456789", "é" * 40, "x" * 64, "x" * 65, "x" * 66]
    together = request_hashes("m", ids).tolist()
    assert together == [int(request_hashes("m", [one])[0]) for one in ids]
    assert len(set(together)) == len(ids)
    assert not set(together) & set(request_hashes("n", ids).tolist())
    assert len(request_hashes("m", [])) == 0


def test_salted_hashes_are_unlike_the_hashes_and_those_of_another_salt() -> None:
    plain = request_hashes("m", [f"request-{i:09d}" for i in range(50_000)])
    some = [plain, salted(plain, "scores.a"), salted(plain, "scores.b")]
    assert len(np.unique(np.concatenate(some))) == 150_000


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

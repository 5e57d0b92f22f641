"""Which rows become halves, and what is in them."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.pairs import HalfCounts, HalfKey
from detectors.release import Role
from streams.cardinality import Limits
from streams.event import Categorical, EventBatch, EventKind
from streams.half_making import HalfMaker
from streams.halves import HalfRows
from streams.kept_rows import Kept, ModelRows
from streams.pair_settings import PairSettings
from streams.request_hash import request_hashes, salted


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
    *given: EventBatch, settings: PairSettings | None = None
) -> tuple[dict[str, HalfRows], dict[HalfKey, HalfCounts]]:
    """By score; "" for answers."""
    rows = ModelRows("m", Limits())
    for one in given:
        rows.parts.append(Kept(one, np.arange(one.rows), "t"))
    halves, without = HalfMaker("m", settings or PairSettings()).make(rows, 10_000)
    assert len({each.score for each in halves}) == len(halves)
    return {each.score: each for each in halves}, without


def score_events(
    ids: tuple[str | None, ...], roles: tuple[Role, ...], **scores: list[float]
) -> EventBatch:
    n = len(ids)
    releases = tuple((str(i), role) for i, role in enumerate(roles))
    return EventBatch(
        "m",
        EventKind.SCORE,
        n,
        np.arange(n, dtype=np.int64) * 1_000,
        np.arange(n, dtype=np.int64),
        releases,
        np.arange(n, dtype=np.int32) % len(roles),
        np.zeros(n, np.bool_),
        numeric={f"scores.{name}": np.array(values) for name, values in scores.items()},
        request_ids=ids,
    )


ROLES = (Role.PRODUCTION, Role.SHADOW, Role.CANARY, Role.VARIANT)


def test_only_production_and_shadows_send_halves_and_those_without_id_are_counted() -> None:
    by_score, without = made(batch(("a", "b", "c", "d", None, "f"), ROLES))
    halves = by_score[""]
    assert halves.key.tolist() == request_hashes("m", ["a", "b", "f"]).tolist()
    assert [halves.releases[i] for i in halves.release] == [
        ("0", Role.PRODUCTION),
        ("1", Role.SHADOW),
        ("1", Role.SHADOW),
    ]
    assert halves.failed.tolist() == [0, 1, 1]
    assert [label != 0 for label in halves.label.tolist()] == [False, True, True]
    assert without == {(("0", Role.PRODUCTION), 0, ""): HalfCounts(without_id=1)}


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
    assert HalfMaker("m", PairSettings()).make(rows, 10_000) == ([], {})


def test_both_sides_choose_the_same_requests_where_only_a_share_is_paired() -> None:
    ids = tuple(f"q-{i}" for i in range(2_000))
    some = PairSettings(share=0.25)
    values = [0.5] * len(ids)
    ours, theirs = (
        made(batch(ids, (role,)), score_events(ids, (role,), s=values), settings=some)[0]
        for role in (Role.SHADOW, Role.PRODUCTION)
    )
    assert ours[""].key.tolist() == theirs[""].key.tolist()
    assert ours["scores.s"].key.tolist() == salted(ours[""].key, "scores.s").tolist()
    assert ours["scores.s"].key.tolist() == theirs["scores.s"].key.tolist()
    assert 400 < len(ours[""]) < 600


def test_no_more_measures_of_a_model_are_sent_than_allowed() -> None:
    events = score_events(("a", "b"), ROLES, t=[0.5, 0.5])
    halves, _ = made(batch(("a", "b"), ROLES), events, settings=PairSettings(max_measures=1))
    assert list(halves) == [""]
    assert list(halves[""].measures) == ["latency_ms"]


def test_each_score_of_an_event_of_its_own_is_a_half_however_many_the_event_holds() -> None:
    nan = np.nan
    together = score_events(("a", "b", "c"), ROLES, s=[0.1, 0.2, 0.3], t=[0.4, nan, 0.6])
    apart = score_events(("d", "e"), ROLES[:2], t=[0.7, nan], u=[nan, nan])
    halves, without = made(together, apart)
    assert list(halves) == ["scores.s", "scores.t"]
    assert without == {}
    s, t = halves["scores.s"], halves["scores.t"]
    assert s.key.tolist() == salted(request_hashes("m", ["a", "b"]), "scores.s").tolist()
    assert t.key.tolist() == salted(request_hashes("m", ["a", "d"]), "scores.t").tolist()
    assert t.measures["scores.t"].tolist() == [0.4, 0.7]
    assert list(t.measures) == ["scores.t"]
    assert not set(s.key.tolist()) & set(t.key.tolist())
    assert not s.label.any()
    assert not s.failed.any()


def test_scores_without_an_id_are_counted_for_each_score() -> None:
    given = score_events((None, "b"), ROLES[:2], s=[0.1, 0.2], t=[0.3, 0.4])
    halves, without = made(given)
    assert {score: len(rows) for score, rows in halves.items()} == {"scores.s": 1, "scores.t": 1}
    whose = ("0", Role.PRODUCTION), 0
    assert without == {
        (*whose, "scores.s"): HalfCounts(without_id=1),
        (*whose, "scores.t"): HalfCounts(without_id=1),
    }


@pytest.mark.parametrize("pattern", ["scores.s", "latency_ms"])
def test_only_scores_that_are_measures_become_halves(pattern: str) -> None:
    given = score_events(("a", "b"), ROLES[:2], s=[0.1, 0.2], t=[0.3, 0.4])
    halves, _ = made(given, settings=PairSettings(measures=(pattern,)))
    assert list(halves) == [name for name in ("scores.s",) if name == pattern]

"""Shifting traffic: whatever the lists, the bad version ends with nothing and no sum changes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sinks.deployers.order import Refused
from sinks.deployers.weights import Shape, shift
from tests.contract.kubernetes_stand_in import applied

SHAPE = Shape("/name", "/weight", 1, 1)
NAMES = st.sampled_from(["bad", "good", "other", ""])
ENTRIES = st.lists(
    st.fixed_dictionaries({"name": NAMES}, optional={"weight": st.integers(0, 1_000)}), max_size=5
)
OBJECTS = st.lists(ENTRIES, max_size=4).map(lambda lists: {"lists": lists})


def weights(thing: dict[str, Any]) -> list[list[int]]:
    return [[entry.get("weight", 1) for entry in entries] for entries in thing["lists"]]


def names(thing: dict[str, Any]) -> list[list[str]]:
    return [[entry["name"] for entry in entries] for entries in thing["lists"]]


@given(OBJECTS)
def test_all_of_it_moves_or_nothing_does(thing: dict[str, Any]) -> None:
    lists = [f"/lists/{i}" for i in range(len(thing["lists"]))]
    before = weights(thing)
    try:
        operations = shift(thing, lists, SHAPE, "bad", "good")
    except Refused:
        # Either there is nothing to shift to somewhere, or nothing of ours at all.
        stuck = any(
            "good" not in called
            and any(w > 0 for n, w in zip(called, given_, strict=True) if n == "bad")
            for called, given_ in zip(names(thing), before, strict=True)
        )
        unknown = not any({"bad", "good"} & set(called) for called in names(thing))
        assert stuck or unknown
        return
    after = applied(thing, operations)
    assert [sum(each) for each in weights(after)] == [sum(each) for each in before]
    for called, old, new in zip(names(thing), before, weights(after), strict=True):
        for name, was, now in zip(called, old, new, strict=True):
            if name == "bad":
                assert now == 0
            elif name != "good":
                assert now == was
    assert names(after) == names(thing)
    assert shift(after, lists, SHAPE, "bad", "good") == []

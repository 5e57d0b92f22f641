"""The first names win; the rest is folded, not forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from detectors.release import OTHER
from streams.cardinality import Limits, Names


def test_the_first_names_are_followed_and_the_rest_is_folded() -> None:
    names = Names(2)
    assert [names.fold(name) for name in "abcab"] == ["a", "b", OTHER, "a", "b"]


def test_names_on_the_list_take_no_room() -> None:
    names = Names(1, always=["vip"])
    assert names.admit("a")
    assert names.admit("vip")
    assert not names.admit("b")


@pytest.mark.parametrize("name", ["models", "versions_per_model", "columns_per_model"])
def test_a_cap_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        replace(Limits(), **{name: 0})  # type: ignore[arg-type]

"""What the console knows of the store: never newer than it is, and never asked too often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sinks.console.store_view import AWAY_S, FRESH_S, KEPT, StoreView
from sinks.errors import Permanent, Retryable


class Store:
    """Answers with a number that grows; fails with ``error`` if there is one."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.now_s = 100.0
        self.view = StoreView(self.ask, lambda: self.now_s, "dri`ft")

    def ask(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        self.asked.append(sql)
        if self.error is not None:
            raise self.error
        return [[len(self.asked)]]


def test_the_same_question_is_asked_again_only_after_a_while() -> None:
    store = Store()
    assert store.view.told("SELECT 1 FROM {db}.t", {}).rows == [[1]]
    store.now_s += FRESH_S
    assert store.view.told("SELECT 1 FROM {db}.t", {}).rows == [[1]]
    store.now_s += 0.1
    assert store.view.told("SELECT 1 FROM {db}.t", {}).rows == [[2]]
    assert store.view.told("SELECT 1 FROM {db}.t", {"x": 1}).rows == [[3]]
    assert store.asked[0] == "SELECT 1 FROM `drift`.t"


def test_an_old_answer_comes_with_its_age_and_the_reason() -> None:
    store = Store()
    assert store.view.told("a", {}).problem == ""
    store.now_s += 60
    store.error = Retryable("the store is down")
    told = store.view.told("a", {})
    assert (told.rows, told.problem, told.age_s) == ([[1]], "the store is down", 60.0)
    missing = store.view.told("b", {})
    assert (missing.rows, missing.problem) == (None, "the store is down")
    assert list(missing) == []


def test_a_store_that_is_away_is_left_alone_for_a_while_and_then_asked_again() -> None:
    store = Store()
    store.error = Retryable("down")
    for _ in range(5):
        store.view.told("a", {})
        store.view.told("b", {})
    assert store.asked == ["a"]
    store.now_s += AWAY_S
    store.error = None
    told = store.view.told("b", {})
    assert (told.rows, told.problem) == ([[2]], "")


def test_a_question_that_is_refused_does_not_keep_others_from_being_asked() -> None:
    store = Store()
    store.error = Permanent("the table is missing: run `driftline migrate`")
    assert "migrate" in store.view.told("a", {}).problem
    store.error = None
    assert store.view.told("b", {}).problem == ""


def test_answers_kept_are_bounded_and_the_oldest_goes() -> None:
    store = Store()
    for number in range(KEPT + 1):
        store.view.told(f"question {number}", {})
    store.now_s += 60
    store.error = Retryable("down")
    assert store.view.told("question 0", {}).rows is None
    assert store.view.told(f"question {KEPT}", {}).rows == [[KEPT + 1]]

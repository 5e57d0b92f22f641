"""The online detectors of a model between its panes, its stored entries and its findings."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from detectors.budget import Stream
from detectors.finding import Outcome
from detectors.kernels import Rows, summarize
from detectors.layout import Layout
from detectors.online_rules import Method, OnlineSettings, OnlineWatch
from detectors.reference import Reference
from detectors.release import ALL, Release, Role
from detectors.summary import Summaries
from detectors.table import reference_of, summarize_table
from detectors.thresholds import Place
from streams.online_book import OnlineBook

PANE = 10_000
WHOLE = Stream("1", Role.PRODUCTION, ALL)
SLICE = Stream("1", Role.PRODUCTION, "country=DE")
SETTINGS = OnlineSettings((OnlineWatch(Method.ADWIN),))


def traffic(seed: int, shift: float = 0.0) -> pa.Table:
    return pa.table({"x": np.random.default_rng(seed).normal(shift, 1, 200)})


REFERENCE = reference_of(pa.table({"x": np.random.default_rng(0).normal(size=5_000)}))


def known(id_: str) -> Reference | None:
    return REFERENCE if id_ == REFERENCE.id else None


def book(settings: OnlineSettings = SETTINGS) -> OnlineBook:
    return OnlineBook(settings, known, PANE)


def pane(at: int) -> Summaries:
    return summarize_table(traffic(at, 1.0 if at >= 40 else 0.0), REFERENCE)


def place(stream: Stream, at: int) -> Place:
    return Place(Release("m", stream.version, stream.role), stream.segment, PANE, at * PANE, 0)


def test_a_book_read_back_goes_on_to_the_same_findings() -> None:
    whole, first = book(), book()
    for at in range(30):
        assert whole.fold(WHOLE, pane(at), at * PANE)
        first.fold(WHOLE, pane(at), at * PANE)
    upto_ms, reference, data = first.encoded(WHOLE)
    assert (upto_ms, reference) == (30 * PANE, REFERENCE.id)
    again = book()
    again.restore(WHOLE, data)
    # A pane that is in already is refused, as after a crash.
    assert not again.fold(WHOLE, pane(29), 29 * PANE)
    for at in range(30, 60):
        whole.fold(WHOLE, pane(at), at * PANE)
        again.fold(WHOLE, pane(at), at * PANE)
    assert again.encoded(WHOLE) == whole.encoded(WHOLE)
    (found,) = again.findings(WHOLE, pane(59), place(WHOLE, 59))
    assert found.outcome is Outcome.FAIL
    assert found == whole.findings(WHOLE, pane(59), place(WHOLE, 59))[0]


def test_what_has_no_reference_or_no_watch_is_not_followed() -> None:
    assert not book(OnlineSettings()).fold(WHOLE, pane(0), 0)
    assert not book().fold(SLICE, pane(0), 0)
    rows = Rows(np.array([0, 0]), np.zeros((1, 5), np.int64), {}, {}, {})
    (bare,) = summarize(rows, Layout.of(""))
    assert not book().fold(WHOLE, bare, 0)
    (unknown,) = summarize(rows, Layout.of("another"))
    assert not book().fold(WHOLE, unknown, 0)
    assert book().findings(WHOLE, pane(0), place(WHOLE, 0)) == []


def test_a_state_that_cannot_be_read_starts_again() -> None:
    started = book()
    started.restore(WHOLE, b"\x00")
    assert started.fold(WHOLE, pane(0), 0)
    assert started.encoded(WHOLE)[0] == PANE


def test_a_release_that_ended_is_forgotten() -> None:
    followed = book()
    followed.fold(WHOLE, pane(0), 0)
    assert followed.forget("2", Role.PRODUCTION) == []
    assert followed.forget("1", Role.PRODUCTION) == [WHOLE]
    assert followed.findings(WHOLE, pane(0), place(WHOLE, 0)) == []

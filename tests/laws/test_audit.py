"""Laws of the audit trail: what was changed, left out or put in is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.audit import AuditRow, Chain, Entry, append, row_hash, verify

texts = st.text(st.characters(codec="utf-8"), max_size=20)
entries = st.lists(
    st.builds(Entry, texts, texts, texts, texts, texts, st.dictionaries(texts, texts, max_size=3)),
    min_size=1,
    max_size=8,
)


def chained(given_entries: list[Entry], name: str = "m") -> tuple[AuditRow, ...]:
    return append(Chain(), name, given_entries, 1_800_000_000_000)[1]


@given(entries, st.integers(0, 8))
def test_a_chain_is_the_same_however_it_was_cut_into_steps(
    given_entries: list[Entry], at: int
) -> None:
    first, some = append(Chain(), "m", given_entries[:at], 5)
    _, rest = append(first, "m", given_entries[at:], 5)
    assert (*some, *rest) == append(Chain(), "m", given_entries, 5)[1]


@given(entries)
def test_an_untouched_chain_holds(given_entries: list[Entry]) -> None:
    rows = chained(given_entries)
    found = verify((*rows, *chained(given_entries, "n")))
    assert found.breaks == ()
    assert found.heads["m"] == Chain(len(rows), rows[-1].hash)


@given(entries, st.data())
def test_any_change_of_any_field_is_found(given_entries: list[Entry], data: st.DataObject) -> None:
    rows = list(chained(given_entries))
    at = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from([f for f in AuditRow.__slots__ if f != "chain"]))
    value = getattr(rows[at], name)
    changed: dict[str, Any] = {name: value + 1 if isinstance(value, int) else value + "x"}
    rows[at] = replace(rows[at], **changed)
    assert verify(rows).breaks


@given(entries, st.data())
def test_a_row_that_was_rewritten_with_a_fitting_hash_breaks_the_next_link_or_the_known_end(
    given_entries: list[Entry], data: st.DataObject
) -> None:
    rows = list(chained(given_entries))
    end = {"m": Chain(len(rows), rows[-1].hash)}
    at = data.draw(st.integers(0, len(rows) - 1))
    forged = replace(rows[at], by=rows[at].by + "x")
    rows[at] = replace(forged, hash=row_hash(forged))
    assert verify(rows, end).breaks


@given(entries, st.data())
def test_a_row_left_out_is_found_the_last_ones_by_the_known_end(
    given_entries: list[Entry], data: st.DataObject
) -> None:
    rows = list(chained(given_entries))
    end = {"m": Chain(len(rows), rows[-1].hash)}
    at = data.draw(st.integers(0, len(rows) - 1))
    last = at == len(rows) - 1
    del rows[at]
    assert bool(verify(rows).breaks) is not last
    assert verify(rows, end).breaks


def test_a_body_that_is_too_long_is_kept_as_its_hash() -> None:
    (row,) = chained([Entry("note", body={"text": "x" * 100_000})])
    assert len(row.body) < 200
    assert "sha256" in row.body


@pytest.mark.parametrize("sequence", [2, 3])
def test_a_row_put_in_is_found(sequence: int) -> None:
    rows = list(chained([Entry("a"), Entry("b"), Entry("c")]))
    rows.insert(sequence - 1, replace(rows[0], sequence=sequence))
    assert verify(rows).breaks

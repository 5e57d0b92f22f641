"""The fleet's limit holds exactly, whoever asks at the same moment and whenever it is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from detectors.policy_settings import HOUR_MS
from sinks.control import ClaimRecord, ControlBoard, control_key, decode_control, encode_control

claims = st.lists(
    st.builds(
        ClaimRecord,
        st.sampled_from([f"rollback_{n}" for n in range(8)]),
        st.just("m"),
        st.just("1"),
        st.integers(0, 3 * HOUR_MS),
    ),
    max_size=30,
)


def board_of(records: list[ClaimRecord], limit: int) -> ControlBoard:
    board = ControlBoard(limit)
    for record in records:
        board.take(decode_control(encode_control(record)))
    return board


@given(claims, st.integers(1, 5))
def test_no_hour_has_more_places_than_the_limit(records: list[ClaimRecord], limit: int) -> None:
    in_order = sorted(records, key=lambda record: record.at_ms)
    board = board_of(in_order, limit)
    first: dict[str, int] = {}
    for record in in_order:
        first.setdefault(record.key, record.at_ms)
    granted = sorted(at_ms for key, at_ms in first.items() if board.admitted(key))
    for at_ms in granted:
        assert sum(1 for other in granted if at_ms - HOUR_MS < other <= at_ms) <= limit


@given(claims, st.integers(1, 5))
def test_everybody_who_reads_the_log_agrees_and_a_later_record_changes_no_answer(
    records: list[ClaimRecord], limit: int
) -> None:
    whole = board_of(records, limit)
    for end in range(len(records) + 1):
        part = board_of(records[:end], limit)
        for record in records[:end]:
            assert part.admitted(record.key) is whole.admitted(record.key)


@given(claims)
def test_asking_again_neither_costs_a_place_nor_wins_one(records: list[ClaimRecord]) -> None:
    once = board_of(records, 2)
    again = board_of([each for record in records for each in (record, record)], 2)
    assert all(once.admitted(r.key) is again.admitted(r.key) for r in records)
    assert len({control_key(record) for record in records}) == len({r.key for r in records})

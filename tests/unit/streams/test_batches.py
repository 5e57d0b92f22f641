"""How many messages a worker asks for: what holds some megabytes; cutting loses nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.batches import MOST_BYTES_AT_ONCE, Batches

MOST = 500


def asked_after(*batches: list[bytes]) -> int:
    sizes = Batches(MOST)
    for batch in batches:
        list(sizes.cut(batch))
    return sizes.ask


def test_small_messages_are_soon_asked_for_by_the_most() -> None:
    assert asked_after(*[[b"x" * 600] * 16] * 10) == MOST


def test_large_messages_are_asked_for_by_some_megabytes() -> None:
    large = [b"x" * 200_000] * 16
    assert asked_after(*[large] * 10) == MOST_BYTES_AT_ONCE // 200_000


def test_one_batch_of_large_messages_is_enough_to_ask_for_fewer() -> None:
    assert asked_after(*[[b"x" * 600] * MOST] * 10, [b"x" * 1_000_000] * 8) == 4


def test_a_message_larger_than_everything_is_still_asked_for() -> None:
    assert asked_after([b"x" * (2 * MOST_BYTES_AT_ONCE)]) == 1


def test_empty_messages_and_none_at_all_do_no_harm() -> None:
    assert asked_after([b""] * 16) == 32
    assert asked_after([]) == 16


@given(st.lists(st.integers(0, 2 * MOST_BYTES_AT_ONCE), max_size=8))
def test_parts_are_all_messages_in_order_and_small_unless_one_message_is_large(
    sizes: list[int],
) -> None:
    messages = [bytes(size) for size in sizes]
    parts = list(Batches(MOST).cut(messages))
    assert [message for part in parts for message in part] == messages
    for part in parts:
        assert len(part) == 1 or sum(map(len, part)) <= MOST_BYTES_AT_ONCE

"""A call that does not return is an error; all others are as if they were made here."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.bounded_call import NEVER_RETURNS, NeverReturnedError, bounded


def test_what_returns_returns_and_what_raises_raises() -> None:
    done: list[int] = []
    bounded(lambda: done.append(1), 5.0)
    assert done == [1]
    with pytest.raises(KafkaException) as raised:
        bounded(fenced, 5.0)
    assert raised.value.args[0].code() == KafkaError._FENCED


def fenced() -> None:
    raise KafkaException(KafkaError(KafkaError._FENCED))


def test_what_does_not_return_is_said() -> None:
    never = threading.Event()
    with pytest.raises(NeverReturnedError, match=NEVER_RETURNS):
        bounded(never.wait, 0.05)
    never.set()

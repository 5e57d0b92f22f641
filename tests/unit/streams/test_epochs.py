"""A topic that was deleted and made again is another one, whatever its offsets look like."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import cast

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.epochs import (
    NO_EPOCHS,
    Answer,
    Epochs,
    EpochSource,
    Ids,
    Noted,
    encode_epoch,
    read_epochs,
)
from streams.intake import Place

PLACE = ("predictions", 3)


class Broker:
    """Says of each topic what its id is; ``silent``: so many questions get no answer."""

    def __init__(self, ids: Mapping[str, str | None], silent: int = 0) -> None:
        self.ids, self.silent = dict(ids), silent
        self.noted: dict[Place, str] = {}
        self.reads = 0

    def ask(self, topics: Collection[str]) -> Answer:
        def answer() -> Ids:
            if self.silent:
                self.silent -= 1
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            return {topic: self.ids[topic] for topic in topics}

        return answer

    def read(self, stop: Callable[[], bool]) -> Noted:
        self.reads += 1
        return self.noted

    def epochs(self, stop: Callable[[], bool] = bool) -> Epochs:
        return Epochs(EpochSource(self.ask, self.read), stop)


@pytest.mark.parametrize(
    ("was", "now", "unchanged"),
    [
        ("one", "one", True),
        ("one", "two", False),
        ("one", None, True),
        ("", "", True),
        ("", "one", False),
    ],
    ids=["the same", "made again", "away for now", "no ids", "was away when reading began"],
)
def test_a_topic_is_what_its_id_says(was: str, now: str | None, unchanged: bool) -> None:
    broker = Broker({"predictions": now, "labels": "same"})
    assert broker.epochs().unchanged({"predictions": was, "labels": "same"})() is unchanged


def test_without_ids_nothing_ever_changes_and_nothing_is_known() -> None:
    epochs = Epochs(NO_EPOCHS, bool)
    assert epochs.of({"predictions"}) == {"predictions": ""}
    assert epochs.unchanged({"predictions": ""})()
    assert epochs.noted(PLACE) == ""


def test_a_broker_that_does_not_answer_is_asked_again_until_we_are_told_to_stop() -> None:
    broker = Broker({"predictions": "one"}, silent=3)
    assert broker.epochs().of({"predictions"}) == {"predictions": "one"}
    broker.silent = 1
    with pytest.raises(KafkaException):
        broker.epochs(lambda: True).unchanged({"predictions": "one"})()


def test_what_was_noted_is_read_once_for_each_beginning() -> None:
    broker = Broker({"predictions": "one"})
    broker.noted = {PLACE: "zero"}
    epochs = broker.epochs()
    epochs.of({"predictions"})
    assert broker.reads == 0
    assert (epochs.noted(PLACE), epochs.noted(("predictions", 4))) == ("zero", "")
    assert broker.reads == 1
    broker.noted = {PLACE: "one"}
    epochs.of({"predictions"})
    assert epochs.noted(PLACE) == "one"


class Message:
    def __init__(self, value: bytes | None, code: int | None = None) -> None:
        self._value, self._code = value, code

    def error(self) -> KafkaError | None:
        return None if self._code is None else KafkaError(self._code)

    def value(self) -> bytes | None:
        return self._value

    def offset(self) -> int:
        return 0


class Reader:
    """Gives these messages, one at a time, and then nothing for ever."""

    def __init__(self, messages: list[Message]) -> None:
        self.messages, self.closed = messages, False

    def assign(self, places: list[TopicPartition]) -> None:
        assert [(place.topic, place.partition) for place in places] == [("epochs", 0)]

    def consume(self, most: int, timeout: float) -> list[Message]:
        return [self.messages.pop(0)] if self.messages else []

    def close(self) -> None:
        self.closed = True


def read(reader: Reader, stop: Callable[[], bool]) -> Noted:
    return read_epochs(lambda: cast("confluent_kafka.Consumer", reader), "epochs", stop)


def test_the_newest_record_of_a_partition_counts_and_rubbish_is_passed_over() -> None:
    values = [encode_epoch(PLACE, "one")[1], b"rubbish", None, encode_epoch(PLACE, "two")[1]]
    values.append(encode_epoch(("labels", 0), "other")[1])
    reader = Reader(
        [
            Message(None, KafkaError._TRANSPORT),
            *map(Message, values),
            Message(None, KafkaError._PARTITION_EOF),
        ]
    )
    assert read(reader, bool) == {PLACE: "two", ("labels", 0): "other"}
    assert reader.closed


def test_who_is_told_to_stop_does_not_take_half_of_the_topic_for_all_of_it() -> None:
    reader = Reader([Message(encode_epoch(PLACE, "one")[1])])
    with pytest.raises(KafkaException):
        read(reader, lambda: not reader.messages)
    assert reader.closed


def test_partitions_have_keys_of_their_own() -> None:
    keys = {encode_epoch(place, "x")[0] for place in (PLACE, ("predictions", 30), ("a-3", 0))}
    assert len(keys) == 3

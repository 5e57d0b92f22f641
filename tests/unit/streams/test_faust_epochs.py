"""A Faust app lets nothing in of a topic that is another one than it began to read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pytest
from aiokafka import TopicPartition

from streams.epochs import NO_EPOCHS, Answer, EpochSource, encode_id
from streams.faust_epochs import Identified, IdentifiedThread, TopicIds, TopicMadeAgainError


class Broker:
    def __init__(self, ids: Mapping[str, str | None]) -> None:
        self.ids = dict(ids)

    def ask(self, topics: Collection[str]) -> Answer:
        return lambda: {topic: self.ids[topic] for topic in topics}

    def topic_ids(self) -> TopicIds:
        return TopicIds(EpochSource(self.ask), lambda: False)


def test_what_is_fetched_of_a_topic_that_was_made_again_is_refused() -> None:
    broker = Broker({"summaries": "one", "commands": "same"})
    ids = broker.topic_ids()
    ids.begin({"summaries", "commands"})
    ids.check({"summaries", "commands"})
    broker.ids["summaries"] = "two"
    ids.check({"commands"})
    with pytest.raises(TopicMadeAgainError):
        ids.check({"summaries", "commands"})
    with pytest.raises(TopicMadeAgainError):
        ids.begin({"summaries"})
    assert ids.of("summaries") == "one"


def test_a_topic_that_is_away_for_now_or_has_no_id_is_no_other() -> None:
    broker = Broker({"summaries": None, "commands": ""})
    ids = broker.topic_ids()
    ids.begin({"summaries", "commands"})
    assert ids.of("summaries") == ids.of("commands") == ""
    broker.ids = {"summaries": "one", "commands": ""}
    ids.begin({"summaries", "commands"})
    broker.ids["summaries"] = None
    ids.check({"summaries", "commands"})
    assert ids.of("summaries") == "one"


@pytest.mark.parametrize(
    ("metadata", "other"),
    [(encode_id("one"), False), (encode_id("two"), True), ("", False), ("theirs", False)],
    ids=["this one", "another", "none: of an older version", "not ours"],
)
def test_committed_offsets_are_of_the_topic_that_they_name(metadata: str, other: bool) -> None:
    place = TopicPartition("summaries", 0)
    ids = Broker({"summaries": "one"}).topic_ids()
    ids.begin({"summaries"})
    assert ids.others({place: metadata}) == ({place} if other else set())


def test_without_ids_every_topic_is_the_same() -> None:
    ids = TopicIds(NO_EPOCHS, lambda: False)
    ids.begin({"summaries"})
    ids.check({"summaries"})
    assert ids.others({TopicPartition("summaries", 0): encode_id("one")}) == set()


class Client:
    """Remembers which thread has sought what."""

    def __init__(self) -> None:
        self.sought: list[tuple[TopicPartition, int, str]] = []

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.sought.append((place, offset, threading.current_thread().name))


class Thread(IdentifiedThread):
    """The thread of a consumer, without Faust."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def _ensure_consumer(self) -> Any:
        return self.client

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **_: Any) -> Any:
        there = threading.Thread(target=fun, args=args, name="there")
        there.start()
        there.join()


class App(Identified):
    """A consumer, without Faust."""

    def __init__(self, thread: Thread) -> None:
        self._thread = thread


def test_a_seek_is_made_in_the_thread_that_fetches() -> None:
    client, place = Client(), TopicPartition("summaries", 0)
    asyncio.run(App(Thread(client))._seek(place, 5))
    assert client.sought == [(place, 5, "there")]

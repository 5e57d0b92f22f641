"""A Faust app lets nothing in of a topic that is another one than it began to read."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest
from aiokafka import TopicPartition

from streams.epochs import NO_EPOCHS, Answer, EpochSource, encode_id
from streams.faust_epochs import TopicIds, TopicMadeAgainError


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

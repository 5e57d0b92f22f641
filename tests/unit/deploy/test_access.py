"""The topics and rights under deploy are those of the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from deploy.access import MAX_MESSAGE_BYTES, ROLES, TOPICS, Kind, Operation, rights
from streams.internal_topics import DELIVER, INTERNAL_TOPICS, JUDGE
from streams.kafka import KafkaSettings, producer
from streams.store_loop import STORED


def test_the_topics_are_those_that_the_program_makes() -> None:
    ours = {(topic.name, topic.partitioned, topic.compacted) for topic in TOPICS}
    assert ours == {(topic.name, topic.partitioned, topic.compacted) for topic in INTERNAL_TOPICS}


def test_the_largest_message_fits_into_every_topic() -> None:
    settings = KafkaSettings(bootstrap="kafka:9092")
    assert producer(settings, "any")["message.max.bytes"] <= MAX_MESSAGE_BYTES


def test_the_store_may_read_exactly_what_it_stores() -> None:
    read = {
        right.name.removeprefix("driftline.")
        for right in rights("store", ())
        if right.kind is Kind.TOPIC and Operation.READ in right.operations
    }
    assert read == set(STORED)


def test_the_groups_of_the_apps_are_those_that_faust_takes() -> None:
    for name in (JUDGE, DELIVER):
        groups = {right.name for right in rights(name, ()) if right.kind is Kind.GROUP}
        assert f"driftline.{name}" in groups


@pytest.mark.parametrize("role", ROLES)
def test_no_role_may_write_what_another_one_decides(role: str) -> None:
    may = {
        right.name.removeprefix("driftline.")
        for right in rights(role, ("predictions",))
        if Operation.WRITE in right.operations and right.kind is Kind.TOPIC
    }
    for name, owner in (("verdicts", "judge"), ("actions", "deliver"), ("summaries", "summarize")):
        assert (name in may) is (role == owner)
    assert "predictions" not in may
    assert "" not in may


def test_the_resources_name_only_the_version_that_strimzi_still_takes(repository: Path) -> None:
    folder = repository / "deploy" / "strimzi"
    for path in folder.glob("*.yaml"):
        for each in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if each is None:
                continue
            assert each["apiVersion"] == "kafka.strimzi.io/v1"
            assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", each["metadata"]["name"])
            assert each["metadata"]["labels"]["strimzi.io/cluster"]
            for acl in each["spec"].get("authorization", {}).get("acls", []):
                assert set(acl) == {"resource", "operations", "host"}, "`operation` is gone"

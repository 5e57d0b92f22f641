"""The resources for Strimzi, checked against the definitions of the operator itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.timeout(900)

Valid = Callable[[Sequence[Any]], None]


def _resources(repository: Path) -> list[Any]:
    return [
        each
        for name in ("topics.yaml", "users.yaml")
        for each in yaml.safe_load_all(
            (repository / "deploy" / "strimzi" / name).read_text(encoding="utf-8")
        )
        if each
    ]


def test_topics_and_users_are_as_strimzi_defines_them(repository: Path, valid: Valid) -> None:
    found = _resources(repository)
    assert {each["kind"] for each in found} == {"KafkaTopic", "KafkaUser"}
    valid(found)


def test_the_spelling_of_older_versions_would_be_noticed(repository: Path, valid: Valid) -> None:
    user = next(each for each in _resources(repository) if each["kind"] == "KafkaUser")
    user["spec"]["authorization"]["acls"][0]["operation"] = "Read"
    with pytest.raises(AssertionError, match="operation"):
        valid([user])

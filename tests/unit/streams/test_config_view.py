"""The configuration as it is shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from streams.config import load_config
from streams.config_view import effective_yaml, json_schema, mask
from streams.durations import PATTERN


def test_what_is_shown_can_be_read_back(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "time: {pane: 500ms, windows: [1m]}\npolicy: {automation: off}\n"
        "inputs: [{topic: '0613', kind: label}]\nmodels: {a: {policy: {max_exhibits: 2}}}\n"
    )
    config = load_config(file, {})
    file.write_text(effective_yaml(config))
    assert load_config(file, {}) == config


def test_secrets_are_masked(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "kafka:\n  bootstrap: 'h:9092'\n"
        "  properties: {sasl.password: hunter2, ssl.key.pem: hunter2, sasl.username: me,"
        " sasl.jaas.config: hunter2, ssl.ca.location: /ca.pem}\n"
        "store: {password: hunter2, password_file: /run/secret}\n"
        "receivers: {webhooks: [{url: 'https://h.example/hunter2?x=hunter2'}],"
        " slack: [{url: {env: SLACK_URL}}]}\n"
    )
    shown = effective_yaml(load_config(file, {}))
    assert "hunter2" not in shown
    for kept in (
        "sasl.username: me",
        "/ca.pem",
        "/run/secret",
        "https://h.example/***",
        "SLACK_URL",
    ):
        assert kept in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:p@h:1/x?tok=1#f", "https://u:***@h:1/x?***"),
        ("https://u@h/x", "https://u@h/x"),
        ("embedded", "embedded"),
    ],
)
def test_credentials_of_urls_are_masked(text: str, shown: str) -> None:
    assert mask(text, ("store", "url")) == shown


def test_the_schema_names_durations_as_they_are_written() -> None:
    schema = json_schema()
    time = schema["$defs"]["TimeSettings"]["properties"]
    assert time["pane"]["default"] == "10s"
    assert time["windows"]["default"] == ["1m", "1h", "1d"]
    assert schema["additionalProperties"] is False
    assert re.fullmatch(PATTERN, time["pane"]["default"])
    json.dumps(schema, allow_nan=False)

"""The name of the settings that a model is judged by, and their text."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import msgspec
import pytest
from pydantic import SecretStr

from sinks.credentials import SecretSource
from sinks.schema import CONFIGURATIONS
from streams.config import Config, ModelSettings, load_config
from streams.config_meanings import settings_below
from streams.judged_by import JudgedBy, configuration_name, encode_configuration

SECRET = "hunter2-hunter2-hunter2"
SECTIONS = {"time", "detect", "judge", "drift", "canary", "paired", "online"}


def configured(folder: Path, text: str) -> Config:
    file = folder / "c.yaml"
    file.write_text(text)
    return load_config(file, {})


def name(config: Config, model: str = "m") -> str:
    return JudgedBy(config).settings(model).configuration


def test_the_text_has_the_hash_that_verdicts_name_and_gives_the_same_settings_again(
    tmp_path: Path,
) -> None:
    config = configured(
        tmp_path,
        "time: {pane: 500ms, windows: [1m, 1h]}\ndrift: {false_alarms: 2 per 14d}\n"
        "models: {own: {canary: {alpha: 0.000123456789}}}\n"
        "detect: {limits: [{detector: psi, columns: 'features.*', above: 0.1}]}\n",
    )
    judged_by = JudgedBy(config)
    for model in ("own", "another"):
        text = judged_by.text(model)
        wanted = judged_by.settings(model)
        assert wanted.configuration == configuration_name(text)
        assert re.fullmatch("[0-9a-f]{64}", wanted.configuration)
        # Nothing of the model's name is needed: its own settings stand where those for all do.
        again = configured(tmp_path, text)
        assert JudgedBy(again).settings(model) == wanted
    assert judged_by.text("own") != judged_by.text("another")


@pytest.mark.parametrize(
    "change",
    [
        "time: {out_of_orderness: 3s}",
        "detect: {min_events: 7}",
        "judge: {learn_events: 61}",
        "drift: {enabled: false}",
        "canary: {alpha: 0.013}",
        "paired: {alpha: 0.013}",
        "online: {hold: 11m}",
        "models: {m: {canary: {alpha: 0.013}}}",
    ],
)
def test_whatever_decides_over_a_verdict_changes_the_name(tmp_path: Path, change: str) -> None:
    assert name(configured(tmp_path, change + "\n")) != name(Config())


@pytest.mark.parametrize(
    "change",
    [
        "policy: {automation: off}",
        "limits: {always_models: [m]}",
        "models: {other: {canary: {alpha: 0.013}}}",
        "models: {m: {}}",
    ],
)
def test_what_does_not_decide_over_a_verdict_leaves_the_name(tmp_path: Path, change: str) -> None:
    assert name(configured(tmp_path, change + "\n")) == name(Config())


def test_no_secret_is_in_the_text(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        f"kafka: {{bootstrap: 'h:9092', properties: {{sasl.password: {SECRET}}}}}\n"
        f"store: {{password: {SECRET}}}\n"
        f"receivers: {{webhooks: [{{url: 'https://h.example/{SECRET}'}}]}}\n",
    )
    assert SECRET not in JudgedBy(config).text("m")
    assert set(msgspec.yaml.decode(JudgedBy(config).text("m"))) == SECTIONS


def test_the_sections_in_the_text_have_no_place_for_a_secret() -> None:
    """All settings that the text can hold: none is a secret, or says by its name that it is one."""
    inside: dict[str, type] = {}
    for section in SECTIONS:
        inside |= settings_below(type(getattr(Config(), section)))
    assert len(inside) > len(SECTIONS)
    secret = re.compile("secret|password|token|credential|key|url|header|propert", re.IGNORECASE)
    for kind in inside.values():
        for field in fields(kind):
            assert not secret.search(field.name), f"{kind.__name__}.{field.name}"
            for hidden in (SecretStr, SecretSource):
                assert hidden.__name__ not in str(field.type), f"{kind.__name__}.{field.name}"


def test_a_message_is_the_row_that_the_store_keeps() -> None:
    (row,) = msgspec.json.decode(encode_configuration("time: {}\n", 5))["rows"]
    assert tuple(row) == CONFIGURATIONS.column_names
    assert row == {
        "configuration": configuration_name("time: {}\n"),
        "content": "time: {}\n",
        "seen_at": 5,
    }


def test_every_section_that_a_model_may_have_of_its_own_is_named_or_decides_nothing() -> None:
    own = {field.name for field in fields(ModelSettings)}
    assert own - SECTIONS == {"policy"}

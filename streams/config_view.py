"""The configuration as people and editors see it: in effect, without secrets, and its schema."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, SecretStr

from detectors.drift_settings import FalseAlarms
from streams.config import Config
from streams.config_meanings import meanings, settings_below
from streams.config_reader import DURATION_SUFFIX, public_name, settings_fields
from streams.durations import PATTERN, RATE_PATTERN, format_duration, format_rate

MASK: Final = "***"
_SECRET_NAME: Final = re.compile(
    r"password|passwd|secret|token|credential|jaas|routing_key|api_key|private_key|\.pem\b|\.key\b",
    re.IGNORECASE,
)
_PLACE_OF_SECRET: Final = re.compile(r"_(file|env|path)$|\.location$")
_URL: Final = re.compile(
    r"([a-z][a-z0-9+.-]*://)([^/?#\s]*)([^?#\s]*)(\?[^#\s]*)?(#\S*)?", re.IGNORECASE
)
_SECRET_PATHS: Final = frozenset({"receivers"})
"""Sections whose URLs are secrets in themselves: who knows the address may send to it."""


def effective_yaml(config: Config) -> str:
    """The configuration in effect as YAML that `streams.config` reads; secrets are ``***``."""
    return _dumped(_plain(config, ()))


def sections_yaml(sections: Mapping[str, Any]) -> str:
    """Some sections of a configuration, by name, in the same form."""
    return _dumped({name: _plain(section, (name,)) for name, section in sections.items()})


def _dumped(plain: Any) -> str:
    text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
    return text


def _plain(value: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, FalseAlarms):
        return format_rate(value.count, value.period_ms)
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if isinstance(value, BaseModel) or (is_dataclass(value) and not isinstance(value, type)):
        return {
            public_name(name) if _is_duration(name, part) else name: _duration(part)
            if _is_duration(name, part)
            else _plain(part, (*path, name))
            for name in settings_fields(type(value))
            for part in (getattr(value, name),)
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(part, (*path, str(key))) for key, part in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str | Path):
        return mask(str(value), path)
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(part, path) for part in value]
    return value


def _is_duration(name: str, value: Any) -> bool:
    if not name.endswith(DURATION_SUFFIX):
        return False
    parts = value if isinstance(value, tuple) else (value,)
    return all(isinstance(part, int) for part in parts)


def _duration(value: Any) -> Any:
    if isinstance(value, tuple):
        return [format_duration(part) for part in value]
    return format_duration(value)


def mask(text: str, path: tuple[str, ...]) -> str:
    """``text`` as it may be shown: nothing of a secret, and no credentials of a URL."""
    name = path[-1] if path else ""
    if text and _SECRET_NAME.search(name) and not _PLACE_OF_SECRET.search(name):
        return MASK
    hide_path = bool(path) and path[0] in _SECRET_PATHS
    return _URL.sub(lambda found: _masked_url(found, hide_path=hide_path), text)


def _masked_url(found: re.Match[str], *, hide_path: bool) -> str:
    scheme, authority, path, query, _ = found.groups()
    user, at, host = authority.rpartition("@")
    shown_path = f"/{MASK}" if hide_path and path.strip("/") else path
    # A user name alone is shown: it says which account is used and opens nothing.
    shown_user = f"{user.partition(':')[0]}:{MASK}" if ":" in user else user
    return f"{scheme}{shown_user}{at}{host}{shown_path}{f'?{MASK}' if query else ''}"


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the file, for editors and for checks before a deployment."""
    schema = Config.model_json_schema()
    rates = schema.get("$defs", {})
    rates[FalseAlarms.__name__] = {
        "type": "string",
        "pattern": RATE_PATTERN,
        "examples": ["1 per 30d"],
        "description": "How many false alarms are accepted in how long.",
    }
    definitions = {Config.__name__: schema, **schema.get("$defs", {})}
    for definition in definitions.values():
        _readable(definition)
    for name, wanted in settings_below(Config).items():
        for key, meaning in meanings(wanted).items():
            definitions[name].get("properties", {}).get(key, {}).setdefault("description", meaning)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "driftline configuration",
    }


def _readable(definition: dict[str, Any]) -> None:
    """Durations under both spellings; no defaults that only repeat those of a section."""
    properties: dict[str, Any] = definition.get("properties", {})
    written: dict[str, Any] = {}
    for name, about in properties.items():
        about.pop("title", None)
        if isinstance(about.get("default"), dict | list) and (
            "$ref" in about or "$ref" in about.get("items", {}) or "additionalProperties" in about
        ):
            about.pop("default")
        if name.endswith(DURATION_SUFFIX):
            written[public_name(name)] = _duration_schema(about)
            about["deprecated"] = True
            about["description"] = f"In milliseconds; better written `{public_name(name)}: 10s`."
        written[name] = about
    if properties:
        definition["properties"] = written


def _duration_schema(about: Mapping[str, Any]) -> dict[str, Any]:
    text = {"type": "string", "pattern": PATTERN, "examples": ["10s"]}
    default = about.get("default")
    if about.get("type") == "array":
        schema: dict[str, Any] = {"type": "array", "items": text}
        if isinstance(default, list | tuple):
            schema["default"] = [format_duration(part) for part in default]
        return schema
    return {**text, "default": format_duration(default)} if isinstance(default, int) else text

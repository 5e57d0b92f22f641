"""Whether the secrets of a configuration can be read, and by whom."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from sinks.credentials import SecretSource
from sinks.errors import Permanent
from sinks.http_guard import read_tokens
from streams.doctor import Check, Level

if TYPE_CHECKING:
    from streams.config import Config

_SECRET_FILES: Final = (
    "password_file",
    "token_file",
    "secret_file",
    "ssl.key.location",
    "ssl.keystore.location",
)


def secret_files(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Settings that name a file with a secret, with their path in the configuration."""
    if isinstance(value, SecretSource):
        if value.file:
            yield path, value.file
        return
    for name, inner in _members(value):
        where = f"{path}.{name}".lstrip(".")
        if not isinstance(inner, str):
            yield from secret_files(inner, where)
        elif inner and name.endswith(_SECRET_FILES):
            yield where, inner


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        yield from ((name, getattr(value, name)) for name in type(value).model_fields)
    elif is_dataclass(value):
        yield from ((each.name, getattr(value, each.name)) for each in fields(value))
    elif isinstance(value, Mapping):
        yield from ((str(name), inner) for name, inner in value.items())
    elif isinstance(value, tuple | list):
        yield from ((str(index), inner) for index, inner in enumerate(value))


def secret_checks(config: Config, config_path: Path | None) -> list[Check]:
    """Whether every secret that is kept in a file can be read, and by whom."""
    checks = []
    count = 0
    for setting, file in secret_files(config):
        count += 1
        if (found := _secret_file(setting, Path(file))) is not None:
            checks.append(found)
    holds = inline_secrets(config)
    if config_path is not None and holds and _open_to_all(config_path):
        checks.append(
            Check(
                "secrets",
                str(config_path),
                Level.WRONG,
                f"holds {', '.join(holds)} and is readable by everybody on this machine",
                "chmod 600, or keep the secret in a file of its own",
            )
        )
    try:
        read_tokens(config.serve.token_file)
    except Permanent as error:
        checks.append(Check("secrets", "serve.token_file", Level.WRONG, str(error)))
    if count and not checks:
        checks.append(Check("secrets", "files", Level.OK, f"{count} readable, by us alone"))
    return checks


def inline_secrets(config: Config) -> list[str]:
    """Settings that hold a secret themselves."""
    held = ["store.password"] if config.store.password else []
    wanted = ("sasl.password", "ssl.key.password", "ssl.keystore.password", "ssl.key.pem")
    return held + [f"kafka.properties.{name}" for name in wanted if name in config.kafka.properties]


def _secret_file(setting: str, file: Path) -> Check | None:
    try:
        with file.open("rb") as handle:
            empty = not handle.read(1)
    except OSError as error:
        why = error.strerror or type(error).__name__
        return Check(
            "secrets", setting, Level.WRONG, f"{file} cannot be read: {why}", "check path and mode"
        )
    if empty:
        return Check("secrets", setting, Level.WRONG, f"{file} is empty", "put the secret into it")
    if _open_to_all(file):
        return Check(
            "secrets",
            setting,
            Level.WARNING,
            f"{file} is readable by everybody on this machine",
            f"chmod 600 {file}",
        )
    return None


def _open_to_all(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False

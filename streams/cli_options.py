"""What the commands share: options, how settings and logs are set up, how a command ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from streams.errors import UserError

if TYPE_CHECKING:
    from streams.config import Config

LINE_CHARS: Final = 2_000
"""Of one line for a person: names and reasons in it may come from producers."""

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="DRIFTLINE_CONFIG",
        help="YAML file. Without one, all defaults. DRIFTLINE__A__B variables override it.",
    ),
]
Level = Annotated[
    str, typer.Option("--log-level", envvar="DRIFTLINE_LOG_LEVEL", help="debug|info|warning|error")
]
Format = Annotated[
    str, typer.Option("--log-format", envvar="DRIFTLINE_LOG_FORMAT", help="auto|json|text")
]


def load_settings(path: Path | None) -> Config:
    from streams.config import load_config

    return load_config(path, os.environ)


def set_up(role: str, level: str, log_format: str) -> None:
    from streams.logs import LogFormat, LogLevel, set_up_logs

    try:
        set_up_logs(role, LogFormat(log_format.lower()), LogLevel(level.lower()))
    except ValueError:
        raise UserError(
            "unknown log level or format",
            "--log-level, --log-format",
            "use debug|info|warning|error and auto|json|text",
        ) from None


def start(role: str, config: Path | None, level: str, log_format: str) -> Config:
    """What every role begins with: its settings, its logs, and a broker that it can ask."""
    from streams.heap import keep_flat

    keep_flat()
    settings = load_settings(config)
    set_up(role, level, log_format)
    try:
        _ = settings.kafka.servers
    except ValueError as error:
        raise UserError(str(error)) from None
    return settings


def exit_with(code: int | None) -> None:
    raise typer.Exit(code or 0)

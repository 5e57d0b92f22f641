"""Logs: structured events on stderr, as JSON for machines or as short lines for people.

Libraries log through the standard library; their warnings and errors take the same way out.
"""

from __future__ import annotations

import logging
import sys
from enum import StrEnum

import structlog


class LogFormat(StrEnum):
    """AUTO: text on a terminal, JSON otherwise."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    """The least severe events that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


_INDISCREET = ("urllib3", "clickhouse_connect")
"""They log whole URLs, in which the parameters of a query stand, also in their tracebacks. What
goes wrong there is raised to us as well, and we say it."""


def _discreet(record: logging.LogRecord) -> bool:
    """Whether a library's record is written. A filter and not a level of their loggers, because
    clickhouse-connect sets the level of urllib3 itself when it is imported."""
    return record.levelno >= logging.CRITICAL or record.name.partition(".")[0] not in _INDISCREET


def set_up_logs(role: str, log_format: LogFormat, level: LogLevel) -> None:
    """Configure structlog and the standard library for this process. Every event names ``role``."""
    number = logging.getLevelNamesMapping()[level.name]
    text = log_format is LogFormat.TEXT or (log_format is LogFormat.AUTO and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if text
        else structlog.processors.JSONRenderer()
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    ]

    def add_role(
        _logger: object, _name: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        return {"role": role, **event}

    structlog.configure(
        processors=[*shared, add_role, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, add_role],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(_discreet)
    # Libraries say at "info" what is of no use to an operator.
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)

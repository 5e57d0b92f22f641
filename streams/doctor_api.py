"""Whether `driftline serve` answers."""

from __future__ import annotations

import http.client
import json
from typing import Final

from detectors.action import printable
from sinks.serve_settings import ServeSettings
from streams.doctor import Check, Level

_ASK_S: Final = 3.0
_MAX_ANSWER_BYTES: Final = 64 * 1024


def api_checks(settings: ServeSettings) -> list[Check]:
    """Whether `driftline serve` answers, and whether it is ready."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    where = f"{host}:{settings.port}"
    checks: list[Check] = []
    if settings.host not in ("127.0.0.1", "::1", "localhost") and not settings.token_file:
        checks.append(
            Check(
                "api",
                where,
                Level.WARNING,
                "is open to the network and asks for no token",
                "set serve.token_file",
            )
        )
    connection = http.client.HTTPConnection(host, settings.port, timeout=_ASK_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(_MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException):
        return [
            *checks,
            Check(
                "api",
                where,
                Level.WARNING,
                "nobody answers here",
                "start `driftline serve` if deployers are to ask",
            ),
        ]
    finally:
        connection.close()
    if answer.status == http.client.OK:
        return [*checks, Check("api", where, Level.OK, "answers and is ready")]
    return [
        *checks,
        Check("api", where, Level.WRONG, f"is not ready: {_reason(body)}", "see the log of serve"),
    ]


def _reason(body: bytes) -> str:
    try:
        reason = json.loads(body)["reason"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "it did not say why"
    return printable(str(reason), 200)

"""Messages to a Slack channel through an incoming webhook.

Limits kept: header 150 characters, section text 3,000, block text far below 13,000 in all; a plain
``text`` always comes along. ``&``, ``<`` and ``>`` are escaped, so that a name made by a producer
can neither mention a channel nor place a link. The webhook's URL is itself the secret.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import ClassVar

from detectors.action import Action, ActionKind, Exhibit, Severity, printable
from sinks.credentials import SecretSource
from sinks.egress import Egress, raise_for_failure

MAX_HEADER_CHARS = 150
MAX_SECTION_CHARS = 3000
MAX_NAME_CHARS = 80
RETRIED = frozenset({408, 425, 429})
MARKS: Mapping[Severity, str] = {
    Severity.CRITICAL: ":rotating_light:",
    Severity.ERROR: ":red_circle:",
    Severity.WARNING: ":warning:",
    Severity.INFO: ":white_check_mark:",
}


@dataclass(frozen=True, slots=True)
class SlackSettings:
    """One channel: ``url`` says where the URL of its incoming webhook is kept."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str = "slack"
    url: SecretSource = field(default_factory=lambda: SecretSource(env="DRIFTLINE_SLACK_URL"))


class SlackReceiver:
    """Delivers pages and their ends to one channel."""

    kinds = frozenset({ActionKind.PAGE, ActionKind.RESOLVE})

    def __init__(
        self, settings: SlackSettings, egress: Egress, environ: Mapping[str, str] = os.environ
    ) -> None:
        """Raises Permanent if the URL is missing or may not be called."""
        self.name = settings.name
        self._settings = settings
        self._egress = egress
        self._environ = environ
        egress.check(settings.url.read(self.name, environ))

    async def deliver(self, action: Action, now_ms: int) -> str:  # noqa: ARG002 Slack stamps it
        """Send once. Returns how it was taken; raises Retryable or Permanent."""
        url = self._settings.url.read(self.name, self._environ)
        body = json.dumps(slack_message(action)).encode("ascii")
        reply = await self._egress.post(url, {"content-type": "application/json"}, body)
        raise_for_failure(reply, self.name, retried=RETRIED)
        return f"{self.name} answered {reply.status}"


def slack_message(action: Action) -> dict[str, object]:
    """The message for a page or a resolve. Raises ValueError for a rollback."""
    if action.kind is ActionKind.ROLLBACK:
        raise ValueError("Slack takes pages and resolves, not rollbacks")
    release = action.release
    word = "healthy again" if action.kind is ActionKind.RESOLVE else action.severity.value
    name = f"{printable(release.model, 60)}@{printable(release.version, 40)} ({release.role})"
    blocks: list[dict[str, object]] = [
        # A header is plain text: Slack does not read markup or entities in it.
        {
            "type": "header",
            "text": {"type": "plain_text", "text": f"{name}: {word}"[:MAX_HEADER_CHARS]},
        },
        _section(f"{MARKS[action.severity]} {escape(action.reason)}\n*{escape(action.note)}*"),
    ]
    if action.evidence:
        blocks.append(_section("\n".join(_line(exhibit) for exhibit in action.evidence)))
    return {
        "text": escape(f"{name}: {word}. {action.reason}")[:MAX_SECTION_CHARS],
        "blocks": blocks,
    }


def escape(text: str) -> str:
    """``text`` without control characters and with Slack's three special ones escaped."""
    shown = printable(text, MAX_SECTION_CHARS)
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _section(text: str) -> dict[str, object]:
    cut = text if len(text) <= MAX_SECTION_CHARS else text[: MAX_SECTION_CHARS - 1] + "…"
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut, "verbatim": True}}


def _line(exhibit: Exhibit) -> str:
    where = escape(printable(exhibit.column, MAX_NAME_CHARS))
    if exhibit.segment != "all":
        where += f" [{escape(printable(exhibit.segment, MAX_NAME_CHARS))}]"
    return (
        f"• {where}: {escape(exhibit.detector)} {_figure(exhibit.statistic)}, "
        f"limit {_figure(exhibit.threshold)}, n={exhibit.n}"
    )


def _figure(value: float) -> str:
    return f"{value:.4g}" if isfinite(value) else "n/a"

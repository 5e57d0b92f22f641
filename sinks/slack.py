"""Messages to a Slack channel through an incoming webhook.

Limits kept: header 150 characters, section text 3,000, block text far below 13,000 in all; a plain
``text`` always comes along. ``&``, ``<`` and ``>`` are escaped, so that a name made by a producer
can neither mention a channel nor place a link, nor end a table. The webhook's URL is itself the
secret. The evidence is a table with a bar each: how far the figure is beyond its limit.
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
from sinks.links import LinkSettings, links_of

MAX_HEADER_CHARS = 150
MAX_SECTION_CHARS = 3000
MAX_TABLE_CHARS = 2800
MAX_ROWS = 10
MAX_WHERE_CHARS = 36
BAR_CHARS = 8
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
    models: tuple[str, ...] = ("*",)


class SlackReceiver:
    """Delivers pages and their ends to one channel."""

    kinds = frozenset({ActionKind.PAGE, ActionKind.RESOLVE})
    dry_run = False

    def __init__(
        self,
        settings: SlackSettings,
        egress: Egress,
        environ: Mapping[str, str] = os.environ,
        links: LinkSettings | None = None,
    ) -> None:
        """Raises Permanent if the URL is missing or may not be called."""
        self.name = settings.name
        self.models = settings.models
        self._links = links or LinkSettings()
        self._settings = settings
        self._egress = egress
        self._environ = environ
        egress.check(settings.url.read(self.name, environ))

    async def deliver(self, action: Action, now_ms: int) -> str:  # noqa: ARG002 Slack stamps it
        """Send once. Returns how it was taken; raises Retryable or Permanent."""
        url = self._settings.url.read(self.name, self._environ)
        body = json.dumps(slack_message(action, self._links)).encode("ascii")
        reply = await self._egress.post(url, {"content-type": "application/json"}, body)
        raise_for_failure(reply, self.name)
        return f"{self.name} answered {reply.status}"


def slack_message(action: Action, links: LinkSettings) -> dict[str, object]:
    """The message for a page or a resolve. Raises ValueError for anything else."""
    if action.kind not in SlackReceiver.kinds:
        raise ValueError(f"Slack takes pages and resolves, not {action.kind}")
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
        blocks.append(_section(evidence_table(action.evidence)))
    shown = links_of(links, action)
    if shown:
        blocks.append(_section(" · ".join(f"<{escape(each.href)}|{each.text}>" for each in shown)))
    return {
        "text": escape(f"{name}: {word}. {action.reason}")[:MAX_SECTION_CHARS],
        "blocks": blocks,
    }


def escape(text: str) -> str:
    """``text`` without control characters and with Slack's three special ones escaped. Backticks,
    for which there is no escape, become quotes: else a name could open or end a block of code."""
    shown = printable(text, MAX_SECTION_CHARS).replace("`", "'")
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _section(text: str) -> dict[str, object]:
    cut = text if len(text) <= MAX_SECTION_CHARS else text[: MAX_SECTION_CHARS - 1] + "…"
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut, "verbatim": True}}


def evidence_table(evidence: tuple[Exhibit, ...]) -> str:
    """The findings as a table in a code block, as many rows as fit."""
    rows = [_row(exhibit) for exhibit in evidence[:MAX_ROWS]]
    width = max(len(where) for where, _ in rows)
    lines = [escape(f"{where:<{width}}  {rest}") for where, rest in rows]
    while len("\n".join(lines)) > MAX_TABLE_CHARS:
        lines.pop()
    left = len(evidence) - len(lines)
    more = f"\nand {left} more" if left else ""
    return "```" + "\n".join(lines) + f"{more}```"


def _row(exhibit: Exhibit) -> tuple[str, str]:
    where = exhibit.column
    if exhibit.segment != "all":
        where += f" [{exhibit.segment}]"
    detector = printable(exhibit.detector, MAX_WHERE_CHARS)
    return printable(where, MAX_WHERE_CHARS), (
        f"{_bar(exhibit)} {detector} {_figure(exhibit.statistic)}"
        f" limit {_figure(exhibit.threshold)} n={exhibit.n}"
    )


def _bar(exhibit: Exhibit) -> str:
    """A bar of how far the figure is beyond its limit: half full at the limit, full at twice."""
    ratio = 0.0
    if isfinite(exhibit.statistic) and isfinite(exhibit.threshold) and exhibit.threshold:
        ratio = abs(exhibit.statistic / exhibit.threshold)
    filled = min(BAR_CHARS, round(ratio * BAR_CHARS / 2))
    return "█" * filled + "░" * (BAR_CHARS - filled)


def _figure(value: float) -> str:
    return f"{value:.4g}" if isfinite(value) else "n/a"

"""Pages through PagerDuty Events API v2: trigger, acknowledge and resolve with one dedup_key per
incident.

Limits kept: summary 1,024 characters, dedup_key 255, body 512 kB (evidence that does not fit is
left out, the last first). 202 means accepted, 400 is never tried again, 429 and 5xx are.
Source: PagerDuty developer documentation.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

from detectors.action import Action, ActionKind, Exhibit, printable
from sinks.credentials import SecretSource
from sinks.egress import Egress, raise_for_failure
from sinks.links import LinkSettings, links_of
from sinks.webhook import exhibit_fields

EVENTS_URL = "https://events.pagerduty.com/v2/enqueue"
MAX_SUMMARY_CHARS = 1024
MAX_FIELD_CHARS = 255
MAX_EVENT_BYTES = 512 * 1024
EVENT_ACTIONS: Mapping[ActionKind, str] = {
    ActionKind.PAGE: "trigger",
    ActionKind.ACKNOWLEDGE: "acknowledge",
    ActionKind.RESOLVE: "resolve",
}


@dataclass(frozen=True, slots=True)
class PagerDutySettings:
    """One PagerDuty service. The secret is the 32 characters of its integration (routing) key."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str = "pagerduty"
    url: str = EVENTS_URL
    routing_key: SecretSource = field(
        default_factory=lambda: SecretSource(env="DRIFTLINE_PAGERDUTY_KEY")
    )
    models: tuple[str, ...] = ("*",)


class PagerDutyReceiver:
    """Delivers pages, their acknowledgements and their ends to one PagerDuty service."""

    kinds = frozenset(EVENT_ACTIONS)
    dry_run = False

    def __init__(
        self,
        settings: PagerDutySettings,
        egress: Egress,
        environ: Mapping[str, str] = os.environ,
        links: LinkSettings | None = None,
    ) -> None:
        """Raises Permanent if the URL may not be called or the key is missing."""
        self.name = settings.name
        self.models = settings.models
        self._links = links or LinkSettings()
        self._settings = settings
        self._egress = egress
        self._environ = environ
        egress.check(settings.url)
        settings.routing_key.read(self.name, environ)

    async def deliver(self, action: Action, now_ms: int) -> str:  # noqa: ARG002 the event has its own time
        """Send once. Returns how it was taken; raises Retryable or Permanent."""
        routing_key = self._settings.routing_key.read(self.name, self._environ)
        body = event_body(action, routing_key, self._links)
        reply = await self._egress.post(
            self._settings.url, {"content-type": "application/json"}, body
        )
        raise_for_failure(reply, self.name)
        return f"{self.name} answered {reply.status}"


def event_body(action: Action, routing_key: str, links: LinkSettings) -> bytes:
    """The event as it is sent, no larger than PagerDuty takes."""

    def body(shown: int) -> bytes:
        event = pagerduty_event(action, routing_key, links, action.evidence[:shown])
        return json.dumps(event).encode("ascii")

    most = len(action.evidence)
    # Of the counts from 0 on, those that fit come first.
    fitting = bisect_left(range(1, most + 1), x=True, key=lambda n: len(body(n)) > MAX_EVENT_BYTES)
    return body(fitting)


def pagerduty_event(
    action: Action, routing_key: str, links: LinkSettings, evidence: tuple[Exhibit, ...]
) -> dict[str, object]:
    """The event for a page, an acknowledgement or a resolve. Raises ValueError for a rollback."""
    if action.kind not in EVENT_ACTIONS:
        raise ValueError(f"PagerDuty takes {', '.join(EVENT_ACTIONS)}, not {action.kind}")
    event: dict[str, object] = {
        "routing_key": routing_key,
        "event_action": EVENT_ACTIONS[action.kind],
        "dedup_key": action.incident_key[:MAX_FIELD_CHARS],
    }
    if action.kind is not ActionKind.PAGE:
        return event
    release = action.release
    shown = links_of(links, action)
    event["client"] = "driftline"
    if shown:
        event["client_url"] = shown[0].href
        event["links"] = [{"href": link.href, "text": link.text} for link in shown]
    event["payload"] = {
        "summary": printable(f"{release}: {action.reason} ({action.note})", MAX_SUMMARY_CHARS),
        "source": printable(f"{release.model}/{release.version}", MAX_FIELD_CHARS),
        "severity": action.severity.value,
        "timestamp": datetime.fromtimestamp(action.created_ms / 1000, UTC).isoformat(),
        "component": printable(
            action.evidence[0].column if action.evidence else "", MAX_FIELD_CHARS
        ),
        "group": printable(release.model, MAX_FIELD_CHARS),
        "class": "model_health",
        "custom_details": {
            "model": printable(release.model),
            "version": printable(release.version),
            "role": release.role.value,
            "return_to": printable(action.return_to),
            "note": action.note,
            "evidence": [exhibit_fields(exhibit) for exhibit in evidence],
        },
    }
    return event

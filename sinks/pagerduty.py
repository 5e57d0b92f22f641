"""Pages through PagerDuty Events API v2: trigger and resolve with one dedup_key per incident.

Limits kept: summary 1,024 characters, dedup_key 255, body 512 kB (`sinks.egress`). 202 means
accepted, 400 is never tried again, 429 and 5xx are. Source: PagerDuty developer documentation.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

from detectors.action import Action, ActionKind, printable
from sinks.credentials import SecretSource
from sinks.egress import Egress, raise_for_failure
from sinks.webhook import exhibit_fields

EVENTS_URL = "https://events.pagerduty.com/v2/enqueue"
MAX_SUMMARY_CHARS = 1024
MAX_FIELD_CHARS = 255
RETRIED = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class PagerDutySettings:
    """One PagerDuty service. The secret is the 32 characters of its integration (routing) key."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str = "pagerduty"
    url: str = EVENTS_URL
    routing_key: SecretSource = field(
        default_factory=lambda: SecretSource(env="DRIFTLINE_PAGERDUTY_KEY")
    )


class PagerDutyReceiver:
    """Delivers pages and their ends to one PagerDuty service."""

    kinds = frozenset({ActionKind.PAGE, ActionKind.RESOLVE})

    def __init__(
        self, settings: PagerDutySettings, egress: Egress, environ: Mapping[str, str] = os.environ
    ) -> None:
        """Raises Permanent if the URL may not be called or the key is missing."""
        self.name = settings.name
        self._settings = settings
        self._egress = egress
        self._environ = environ
        egress.check(settings.url)
        settings.routing_key.read(self.name, environ)

    async def deliver(self, action: Action, now_ms: int) -> str:  # noqa: ARG002 the event has its own time
        """Send once. Returns how it was taken; raises Retryable or Permanent."""
        routing_key = self._settings.routing_key.read(self.name, self._environ)
        body = json.dumps(pagerduty_event(action, routing_key)).encode("ascii")
        reply = await self._egress.post(
            self._settings.url, {"content-type": "application/json"}, body
        )
        raise_for_failure(reply, self.name, retried=RETRIED)
        return f"{self.name} answered {reply.status}"


def pagerduty_event(action: Action, routing_key: str) -> dict[str, object]:
    """The event for a page (trigger) or a resolve. Raises ValueError for a rollback."""
    if action.kind is ActionKind.ROLLBACK:
        raise ValueError("PagerDuty takes pages and resolves, not rollbacks")
    event: dict[str, object] = {
        "routing_key": routing_key,
        "event_action": "trigger" if action.kind is ActionKind.PAGE else "resolve",
        "dedup_key": action.incident_key[:MAX_FIELD_CHARS],
    }
    if action.kind is ActionKind.RESOLVE:
        return event
    release = action.release
    event["client"] = "driftline"
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
            "model": release.model,
            "version": release.version,
            "role": release.role.value,
            "return_to": action.return_to,
            "note": action.note,
            "evidence": [exhibit_fields(exhibit) for exhibit in action.evidence],
        },
    }
    return event

"""The webhook: a signed request, to a deployer with a rollback, or to anyone with an incident.

Headers follow Standard Webhooks 1.0: ``webhook-id`` is the action's key, the same on every try
and from every replica, ``webhook-timestamp`` is the time of this try, ``webhook-signature`` is
``v1,`` + base64 of HMAC-SHA256 over ``id.timestamp.body``, once for each configured secret (so
that secrets rotate without a gap). The body is a structured CloudEvent 1.0 in JSON and is the
same bytes on every try.

A deployer must keep the ids it has seen for longer than a day (retries go on that long, each
with a new timestamp), and must act only if the version to leave is the one that runs.
examples/deployer.py does both.
"""

from __future__ import annotations

import base64
import binascii
import os
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from math import isfinite
from typing import ClassVar
from urllib.parse import quote

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from standardwebhooks import Webhook

from detectors.action import Action, ActionKind, Exhibit
from sinks.credentials import NoSecret, SecretSource
from sinks.egress import Egress, raise_for_failure

EVENT_TYPES: Mapping[ActionKind, str] = {
    ActionKind.ROLLBACK: "io.driftline.rollback.requested.v1",
    ActionKind.PAGE: "io.driftline.incident.paged.v1",
    ActionKind.ACKNOWLEDGE: "io.driftline.incident.acknowledged.v1",
    ActionKind.RESOLVE: "io.driftline.incident.resolved.v1",
}
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
MAX_BODY_BYTES = 20 * 1024
MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64
_AT_WORK = 409
"""What a deployer says while it still works on the same id."""


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """One endpoint. The secret is ``whsec_`` + base64 of 24 to 64 bytes; several, separated by
    white space, all sign. ``source`` is the CloudEvent source: who asks. ``kinds``: what is sent
    there; a deployer gets rollbacks alone."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str = "deployer"
    url: str = ""
    secret: SecretSource = field(default_factory=lambda: SecretSource(env="DRIFTLINE_ROLLBACK_KEY"))
    source: str = "urn:driftline"
    kinds: tuple[ActionKind, ...] = (ActionKind.ROLLBACK,)
    models: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        if not self.kinds:
            raise ValueError("kinds is empty; name what is sent, such as [rollback]")


class WebhookReceiver:
    """Delivers actions to one endpoint."""

    dry_run = False

    def __init__(
        self, settings: WebhookSettings, egress: Egress, environ: Mapping[str, str] = os.environ
    ) -> None:
        """Raises Permanent if the URL may not be called or the secret is missing or unfit."""
        self.name = settings.name
        self.kinds = frozenset(settings.kinds)
        self.models = settings.models
        self._settings = settings
        self._egress = egress
        self._environ = environ
        egress.check(settings.url)
        self._signers()

    async def deliver(self, action: Action, now_ms: int) -> str:
        """Ask once for ``action``. Returns how it was taken; raises Retryable or Permanent."""
        body = event_body(action, self._settings.source)
        headers = {
            "content-type": CONTENT_TYPE,
            **signed_headers(self._signers(), action.key, now_ms, body),
        }
        reply = await self._egress.post(self._settings.url, headers, body)
        raise_for_failure(reply, self.name, also_retried=_AT_WORK)
        return f"{self.name} answered {reply.status}"

    def _signers(self) -> tuple[Webhook, ...]:
        return signers(self._settings.secret.read(self.name, self._environ), self.name)


def signers(secrets: str, owner: str) -> tuple[Webhook, ...]:
    """One signer for each secret in ``secrets``. Raises NoSecret if one cannot be used."""
    made: list[Webhook] = []
    for secret in secrets.split():
        encoded = secret.removeprefix("whsec_")
        try:
            key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise NoSecret(f"{owner}: a secret is not whsec_ followed by base64") from None
        if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
            raise NoSecret(
                f"{owner}: a secret has {len(key)} bytes; Standard Webhooks asks for "
                f"{MIN_SECRET_BYTES} to {MAX_SECRET_BYTES}"
            )
        made.append(Webhook(key))
    return tuple(made)


def signed_headers(
    keys: tuple[Webhook, ...], message_id: str, now_ms: int, body: bytes
) -> dict[str, str]:
    """The three Standard Webhooks headers for ``body``, signed with every key."""
    at = datetime.fromtimestamp(now_ms // 1000, UTC)
    text = body.decode("utf-8")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now_ms // 1000),
        "webhook-signature": " ".join(key.sign(message_id, at, text) for key in keys),
    }


def event_body(action: Action, source: str) -> bytes:
    """The CloudEvent of ``action``: the same bytes for the same action, below 20 kB.

    ``data`` holds ``model``, ``role``, ``version`` (to leave), ``return_to``, ``reason``,
    ``evidence`` (a list of objects; null where a figure is not a number), ``action_key`` and
    ``decided_at``; for anything but a rollback also ``incident`` (the same from the first page to
    the end), ``severity`` and ``note``. Evidence that does not fit is left out, the last first.
    """
    # Of the numbers of exhibits, those that fit come first.
    fitting = bisect_left(
        range(1, len(action.evidence) + 1),
        x=True,
        key=lambda n: len(_body(action, source, action.evidence[:n])) >= MAX_BODY_BYTES,
    )
    return _body(action, source, action.evidence[:fitting])


def _body(action: Action, source: str, evidence: tuple[Exhibit, ...]) -> bytes:
    decided_at = datetime.fromtimestamp(action.created_ms / 1000, UTC)
    about_incident = {
        "incident": action.incident_key,
        "severity": action.severity.value,
        "note": action.note,
    }
    event = CloudEvent(
        {
            "specversion": "1.0",
            "type": EVENT_TYPES[action.kind],
            "source": source,
            "subject": quote(
                f"{action.release.model}/{action.release.version}", safe="/", errors="replace"
            ),
            "id": action.key,
            "time": decided_at,
            "datacontenttype": "application/json",
        },
        {
            "model": action.release.model,
            "role": action.release.role.value,
            "version": action.release.version,
            "return_to": action.return_to,
            "reason": action.reason,
            "evidence": [exhibit_fields(exhibit) for exhibit in evidence],
            "action_key": action.key,
            "decided_at": decided_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            **({} if action.kind is ActionKind.ROLLBACK else about_incident),
        },
    )
    return JSONFormat().write(event)


def exhibit_fields(exhibit: Exhibit) -> dict[str, str | int | float | None]:
    """An exhibit as JSON can hold it: what is not a finite number is null."""
    values = {entry.name: getattr(exhibit, entry.name) for entry in fields(exhibit)}
    return {
        name: None if isinstance(value, float) and not isfinite(value) else value
        for name, value in values.items()
    }

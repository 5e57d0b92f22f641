"""Incidents as alerts of Prometheus Alertmanager: POST /api/v2/alerts.

An alert is told from another by its labels alone, so these hold nothing that changes within an
incident but its severity; its end is sent for every severity, as the one that was paged last may
not have been the first. Prometheus repeats a firing alert for as long as it holds, and Alertmanager
ends an alert that says no end after five minutes; driftline speaks once, so it gives an end far
away (``lasts_ms``), which the true end replaces. Send to each Alertmanager of a cluster, as
Prometheus does: one entry each; they agree among themselves who notifies.

Source: prometheus/alertmanager, api/v2 (postAlerts) and its OpenAPI file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

from detectors.action import Action, ActionKind, Exhibit, Severity, printable
from sinks.credentials import SecretSource
from sinks.egress import Egress, raise_for_failure
from sinks.links import LinkSettings, links_of

PATH = "/api/v2/alerts"
MAX_LABEL_CHARS = 200
MAX_EVIDENCE_LINES = 10
DAY_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class AlertmanagerSettings:
    """One Alertmanager, at ``url`` (without the path of its API). ``token``, if it is configured,
    is sent as a bearer. ``labels`` are added to each alert as ``name=value``, for its routes."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str = "alertmanager"
    url: str = ""
    token: SecretSource = field(default_factory=SecretSource)
    labels: tuple[str, ...] = ()
    lasts_ms: int = 7 * DAY_MS
    models: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        if self.lasts_ms < 60_000:
            raise ValueError("lasts must be a minute or longer")
        for label in self.labels:
            name, equals, value = label.partition("=")
            # Alertmanager takes any UTF-8 since 0.27; this is what all of them take.
            if not equals or not value or not name.isidentifier() or not name.isascii():
                raise ValueError(f"labels: {label!r} is not name=value")
            if name in FIXED_LABELS:
                raise ValueError(f"labels: {name} is set by driftline; use another name")


FIXED_LABELS = frozenset({"alertname", "incident", "model", "version", "role", "severity"})


class AlertmanagerReceiver:
    """Delivers pages and their ends to one Alertmanager."""

    kinds = frozenset({ActionKind.PAGE, ActionKind.RESOLVE})
    dry_run = False

    def __init__(
        self,
        settings: AlertmanagerSettings,
        egress: Egress,
        environ: Mapping[str, str] = os.environ,
        links: LinkSettings | None = None,
    ) -> None:
        """Raises Permanent if the URL may not be called or the token is missing."""
        self.name = settings.name
        self.models = settings.models
        self._settings = settings
        self._egress = egress
        self._environ = environ
        self._links = links or LinkSettings()
        self._url = settings.url.rstrip("/") + PATH
        egress.check(self._url)
        settings.token.bearer(self.name, environ)

    async def deliver(self, action: Action, now_ms: int) -> str:
        """Send once. Returns how it was taken; raises Retryable or Permanent."""
        headers = {"content-type": "application/json"}
        headers |= self._settings.token.bearer(self.name, self._environ)
        body = json.dumps(alerts(action, self._settings, self._links, now_ms)).encode("ascii")
        reply = await self._egress.post(self._url, headers, body)
        raise_for_failure(reply, self.name)
        return f"{self.name} answered {reply.status}"


def alerts(
    action: Action, settings: AlertmanagerSettings, links: LinkSettings, now_ms: int
) -> list[dict[str, object]]:
    """The alerts for a page (one) or a resolve (one of each severity). Raises ValueError for
    anything else."""
    match action.kind:
        case ActionKind.PAGE:
            ends_ms = max(action.created_ms, now_ms) + settings.lasts_ms
            return [_alert(action, settings, links, action.severity, ends_ms)]
        case ActionKind.RESOLVE:
            return [
                _alert(action, settings, links, severity, action.created_ms)
                for severity in Severity
            ]
        case ActionKind.ROLLBACK | ActionKind.ACKNOWLEDGE:
            raise ValueError(f"Alertmanager takes pages and resolves, not {action.kind}")


def _alert(
    action: Action,
    settings: AlertmanagerSettings,
    links: LinkSettings,
    severity: Severity,
    ends_ms: int,
) -> dict[str, object]:
    release = action.release
    labels = {
        "alertname": "DriftlineIncident",
        "incident": action.incident_key,
        "model": _label(release.model),
        "version": _label(release.version),
        "role": release.role.value,
        "severity": severity.value,
        **dict(label.split("=", 1) for label in settings.labels),
    }
    shown = links_of(links, action)
    alert: dict[str, object] = {
        "labels": labels,
        "annotations": {
            "summary": printable(f"{release}: {action.reason}"),
            "description": printable(action.note),
            "evidence": "\n".join(_line(each) for each in action.evidence[:MAX_EVIDENCE_LINES]),
            **{link.text.lower(): link.href for link in shown},
        },
        "endsAt": _iso(ends_ms),
    }
    if action.kind is ActionKind.PAGE:
        alert["startsAt"] = _iso(action.created_ms)
    if shown:
        alert["generatorURL"] = shown[0].href
    return alert


def _label(text: str) -> str:
    """``text`` as a label: Alertmanager refuses what is no UTF-8 and drops a label of nothing."""
    shown = printable(text, MAX_LABEL_CHARS).encode("utf-8", "replace").decode()
    return shown or "-"


def _line(exhibit: Exhibit) -> str:
    segment = "" if exhibit.segment == "all" else f" [{exhibit.segment}]"
    return printable(
        f"{exhibit.column}{segment}: {exhibit.detector} {exhibit.statistic:.4g},"
        f" limit {exhibit.threshold:.4g}, n={exhibit.n}"
    )


def _iso(ms: int) -> str:
    at = datetime.fromtimestamp(ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""Whom the alert rules tell: two contact points, one for critical rules and one for the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, assert_never

from dashboards.rules import NOTIFY, PAGE
from dashboards.settings import SECRETS, Contact, GrafanaSettings

SIGNATURE_HEADER = "X-Grafana-Alerting-Signature"
TIMESTAMP_HEADER = "X-Grafana-Alerting-Timestamp"

Secret = Callable[[str], str]
"""What stands for the variable of that name: ``$NAME`` in files, its value for the API."""


def contact_points(settings: GrafanaSettings, secret: Secret) -> Iterator[tuple[str, Any]]:
    """(name, receivers) as in provisioning files; the API takes each receiver by itself."""
    alerts = settings.alerts
    for name, told in ((PAGE, alerts.page), (NOTIFY, alerts.notify)):
        yield name, [_receiver(name, contact, settings, secret) for contact in told]


def _receiver(
    name: str, contact: Contact, settings: GrafanaSettings, secret: Secret
) -> dict[str, Any]:
    return {
        "uid": f"{name.replace(' ', '-')}-{contact}",
        "type": "webhook" if contact is Contact.HOOK else contact.value,
        "disableResolveMessage": False,
        "settings": _settings(name, contact, settings, secret(SECRETS[contact])),
    }


def _settings(
    name: str, contact: Contact, settings: GrafanaSettings, secret: str
) -> dict[str, Any]:
    match contact:
        case Contact.HOOK:
            return {
                "url": settings.hook_url,
                "httpMethod": "POST",
                "maxAlerts": "0",
                "hmacConfig": {
                    "secret": secret,
                    "header": SIGNATURE_HEADER,
                    "timestampHeader": TIMESTAMP_HEADER,
                },
            }
        case Contact.PAGERDUTY:
            return {
                "integrationKey": secret,
                "severity": "critical" if name == PAGE else "warning",
                "class": "model health",
                "component": "driftline",
            }
        case Contact.SLACK:
            return {"url": secret}
        case _:
            assert_never(contact)

"""Receivers that are made as from configuration, and an endpoint that keeps what it is sent."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from math import nan

from detectors.action import Action, ActionKind, Exhibit, Severity, rollback_key
from detectors.release import Release, Role
from sinks.alertmanager import AlertmanagerSettings
from sinks.credentials import SecretSource
from sinks.egress import EgressSettings
from sinks.links import LinkSettings
from sinks.pagerduty import PagerDutySettings
from sinks.receivers import Receiver, ReceiversSettings, build_receivers
from sinks.slack import SlackSettings
from sinks.webhook import WebhookSettings

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
NEXT_SECRET = "whsec_" + base64.b64encode(b"n" * 32).decode()
NOW_MS = 1_763_700_000_123
KINDS = ("webhook", "pagerduty", "slack", "alertmanager")


@dataclass
class Endpoint:
    """A server that answers every POST with ``status`` and keeps what it got."""

    status: int = 200
    headers: str = ""
    port: int = 0
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@asynccontextmanager
async def endpoint(status: int = 200, headers: str = "") -> AsyncIterator[Endpoint]:
    seen = Endpoint(status, headers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        parsed = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head)}
        body = await reader.readexactly(int(parsed.get("content-length", "0")))
        seen.got.append((parsed, body))
        writer.write(
            f"HTTP/1.1 {seen.status} x\r\n{seen.headers}content-length: 0\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()


def receiver(
    kind: str, port: int, key: str = SECRET, links: LinkSettings | None = None
) -> Receiver:
    url = f"http://127.0.0.1:{port}/services/T0KEN"
    environ = {"KEY": key, "ROUTING": "r" * 32, "URL": url}
    settings = {
        "webhook": ReceiversSettings(
            webhooks=(WebhookSettings("there", url, SecretSource(env="KEY")),)
        ),
        "pagerduty": ReceiversSettings(
            pagerduty=(PagerDutySettings("there", url, SecretSource(env="ROUTING")),)
        ),
        "alertmanager": ReceiversSettings(alertmanager=(AlertmanagerSettings("there", url),)),
        "slack": ReceiversSettings(slack=(SlackSettings("there", SecretSource(env="URL")),)),
    }[kind]
    egress = EgressSettings(allow_private=(f"127.0.0.1:{port}",), total_timeout_ms=1_000)
    return build_receivers(replace(settings, links=links or LinkSettings()), egress, environ)[0]


def action(kind: ActionKind, text: str = "fell from 0.52 to 0.10", exhibits: int = 2) -> Action:
    return Action(
        rollback_key("gpt-4", "0613"),
        kind,
        Release("gpt-4", "0613", Role.CANARY),
        "0314",
        text,
        "rollback to 0314 requested",
        tuple(Exhibit(f"c{n}", "all", "psi", nan, 0.2, 99) for n in range(exhibits)),
        Severity.ERROR,
        "incident_1",
        NOW_MS,
    )


def for_kind(kind: str) -> Action:
    return action(ActionKind.ROLLBACK if kind == "webhook" else ActionKind.PAGE)

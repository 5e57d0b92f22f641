"""Incidents at Alertmanager: against a stand-in that refuses what it refuses, and against the real
one where it is installed (Debian: prometheus-alertmanager)."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from math import nan
from pathlib import Path
from typing import Any

import httpx2
import pytest

from detectors.action import Action, ActionKind, Exhibit, Severity
from detectors.release import Release, Role
from sinks.alertmanager import AlertmanagerReceiver, AlertmanagerSettings, alerts
from sinks.credentials import SecretSource
from sinks.egress import Egress, EgressSettings, RetryLater
from sinks.errors import Permanent
from sinks.links import LinkSettings
from tests.ports import free_port

REAL = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
HOSTILE = '<a> {{ .x }} \r\n\x1b[0m\u202e " \ud800' + "é" * 3000
LINKS = LinkSettings(grafana="https://grafana.example/d/x?var-model={model}")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class StandIn:
    """Alertmanager's API v2, as far as receiving goes."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Any]] = {}

    def post(self, body: bytes) -> int:
        try:
            given = json.loads(body)
        except ValueError:
            return 400
        if not isinstance(given, list):
            return 400
        now = datetime.now(UTC)
        kept: dict[str, dict[str, Any]] = {}
        for alert in given:
            labels = {name: value for name, value in alert["labels"].items() if value}
            texts = {**labels, **alert.get("annotations", {})}
            if not labels or not all(_LABEL_NAME.fullmatch(name) for name in texts):
                return 400
            for value in texts.values():
                if not isinstance(value, str):
                    return 400
                value.encode()
            starts = datetime.fromisoformat(alert.get("startsAt", alert["endsAt"]))
            ends = datetime.fromisoformat(alert["endsAt"])
            if ends < starts:
                return 400
            kept[json.dumps(labels, sort_keys=True)] = {"labels": labels, "active": ends > now}
        self.held |= kept
        return 200

    def active(self) -> list[dict[str, Any]]:
        return [alert for alert in self.held.values() if alert["active"]]


@asynccontextmanager
async def standing_in() -> AsyncIterator[int]:
    api = StandIn()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {n.lower(): v.strip() for n, _, v in (x.partition(":") for x in head[1:-2])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        status, said = 404, "[]"
        if target.startswith("/api/v2/alerts"):
            status = api.post(body) if method == "POST" else 200
            said = json.dumps(api.active())
        writer.write(
            f"HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n"
            f"content-length: {len(said)}\r\nconnection: close\r\n\r\n{said}".encode()
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


@pytest.fixture(scope="module", params=["stand_in", "alertmanager"])
def port(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[int]:
    """The port of the real one, 0 for the stand-in."""
    if request.param == "stand_in":
        yield 0
        return
    if REAL is None:
        pytest.skip("Alertmanager is not installed (Debian: prometheus-alertmanager)")
    folder: Path = tmp_path_factory.mktemp("alertmanager")
    (folder / "config.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    number = free_port()
    running = subprocess.Popen(
        [
            REAL,
            f"--config.file={folder / 'config.yml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{number}",
            "--cluster.listen-address=",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            with suppress(httpx2.TransportError):
                if httpx2.get(f"http://127.0.0.1:{number}/-/ready", trust_env=False).is_success:
                    break
            time.sleep(0.1)
        yield number
    finally:
        running.terminate()
        running.wait(10)


def play(port: int, main: Callable[[int], Awaitable[None]]) -> None:
    async def run() -> None:
        if port:
            await main(port)
            return
        async with standing_in() as number:
            await main(number)

    asyncio.run(run())


def receiver(port: int, **more: Any) -> AlertmanagerReceiver:
    egress = Egress(EgressSettings(allow_private=(f"127.0.0.1:{port}",), total_timeout_ms=3_000))
    settings = AlertmanagerSettings("am", f"http://127.0.0.1:{port}/", **more)
    return AlertmanagerReceiver(settings, egress, {"T": "token"}, LINKS)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def page(incident: str, severity: Severity = Severity.ERROR, **more: Any) -> Action:
    action = Action(
        key=f"page_{incident}",
        kind=ActionKind.PAGE,
        release=Release("gpt-4", "0613", Role.CANARY),
        return_to="0314",
        reason="fell from 0.52 to 0.10",
        note="rollback to 0314 requested",
        evidence=(Exhibit("c", "all", "psi", nan, 0.2, 99),),
        severity=severity,
        incident_key=incident,
        created_ms=now_ms() - 5_000,
    )
    return replace(action, **more)


def resolve(incident: str) -> Action:
    return page(
        incident, Severity.INFO, kind=ActionKind.RESOLVE, evidence=(), created_ms=now_ms() - 1_000
    )


async def active(port: int, incident: str) -> list[dict[str, Any]]:
    async with httpx2.AsyncClient(trust_env=False) as client:
        reply = await client.get(f"http://127.0.0.1:{port}/api/v2/alerts?active=true")
    found: list[dict[str, Any]] = reply.json()
    return [alert for alert in found if alert["labels"].get("incident") == incident]


def test_a_page_fires_and_its_end_resolves_it(port: int) -> None:
    async def main(at: int) -> None:
        here = receiver(at, labels=("team=risk",))
        await here.deliver(page("one"), now_ms())
        (firing,) = await active(at, "one")
        assert firing["labels"] == {
            "alertname": "DriftlineIncident",
            "incident": "one",
            "model": "gpt-4",
            "version": "0613",
            "role": "canary",
            "severity": "error",
            "team": "risk",
        }
        await here.deliver(resolve("one"), now_ms())
        assert await active(at, "one") == []

    play(port, main)


def test_a_repeat_is_one_alert_and_a_worse_page_is_ended_as_well(port: int) -> None:
    async def main(at: int) -> None:
        here = receiver(at)
        for _ in range(3):
            await here.deliver(page("two", Severity.WARNING), now_ms())
        assert len(await active(at, "two")) == 1
        await here.deliver(page("two", Severity.CRITICAL), now_ms())
        assert len(await active(at, "two")) == 2
        await here.deliver(page("three"), now_ms())
        await here.deliver(resolve("two"), now_ms())
        assert await active(at, "two") == []
        assert len(await active(at, "three")) == 1

    play(port, main)


def test_hostile_names_are_taken(port: int) -> None:
    async def main(at: int) -> None:
        here = receiver(at)
        hostile = page(
            "four",
            release=Release(HOSTILE, HOSTILE, Role.CANARY),
            reason=HOSTILE,
            note=HOSTILE,
            evidence=(Exhibit(HOSTILE, HOSTILE, "psi", nan, 0.2, 1),) * 10,
        )
        await here.deliver(hostile, now_ms())
        await here.deliver(page("five", release=Release("", "\x00", Role.CANARY)), now_ms())
        assert len(await active(at, "four")) == len(await active(at, "five")) == 1

    play(port, main)


def test_an_end_before_its_beginning_is_never_sent() -> None:
    """The real one answers 400 for that, and then nothing of the request counts."""
    late = page("six", created_ms=now_ms() + 3_600_000)
    for action in (page("six"), late, resolve("six")):
        for alert in alerts(action, AlertmanagerSettings(), LINKS, now_ms()):
            starts = alert.get("startsAt", alert["endsAt"])
            assert str(starts) <= str(alert["endsAt"])


def test_a_page_lasts_until_its_end_is_said() -> None:
    (alert,) = alerts(page("seven"), AlertmanagerSettings(), LINKS, now_ms())
    lasts = datetime.fromisoformat(str(alert["endsAt"])) - datetime.now(UTC)
    assert 6.9 < lasts.total_seconds() / 86_400 < 7.1
    assert alert["generatorURL"] == "https://grafana.example/d/x?var-model=gpt-4"


def test_nobody_there_is_tried_again_and_the_token_is_sent() -> None:
    got: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 503 x\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        here = receiver(port, token=SecretSource(env="T"))
        with pytest.raises(RetryLater) as caught:
            await here.deliver(page("eight"), now_ms())
        assert caught.value.retry_after_ms == 3_000
        server.close()
        await server.wait_closed()
        with pytest.raises(RetryLater):
            await here.deliver(page("eight"), now_ms())

    asyncio.run(main())
    assert "authorization: Bearer token" in got[0]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"labels": ("team",)}, "name=value"),
        ({"labels": ("a-b=c",)}, "name=value"),
        ({"labels": ("model=x",)}, "set by driftline"),
        ({"lasts_ms": 1}, "a minute"),
    ],
)
def test_settings_that_alertmanager_would_refuse_are_refused_first(
    more: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        AlertmanagerSettings(**more)


def test_an_address_that_is_not_allowed_stops_the_start() -> None:
    with pytest.raises(Permanent, match="allow_private"):
        AlertmanagerReceiver(
            AlertmanagerSettings(url="http://10.0.0.1:9093"), Egress(EgressSettings())
        )

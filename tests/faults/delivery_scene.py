"""Deliver without Kafka before the example deployer, whose log is the truth about what was done."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import Self

from standardwebhooks import Webhook

from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from examples.deployer import Faults, build
from examples.ledger import Ledger, Running
from examples.serving import bind, server
from sinks.credentials import SecretSource
from sinks.egress import EgressSettings
from sinks.receivers import Receiver, ReceiversSettings, Routes, build_receivers, routes
from sinks.webhook import WebhookSettings
from streams.deliver import (
    DeliverSettings,
    ModelState,
    decode_state,
    deliver_entry,
    due,
    encode_state,
    new_state,
    on_delivery,
    on_tick,
    on_verdict,
)
from streams.outbox import ActionRow

KEY = b"k" * 32
SECRET = "whsec_" + base64.b64encode(KEY).decode()
SETTINGS = DeliverSettings()
CANARY = Release("gpt-4", "0613", Role.CANARY)
GOOD = Running("gpt-4", "0314", "")
BAD = Running("gpt-4", "0314", "0613")
DAY_MS = 24 * 3_600_000


def verdict(status: Status = Status.FAIL, sequence: int = 1) -> Verdict:
    return Verdict(CANARY, status, "bad", sequence, 0, 0, 0, "0314", 9, nan, nan, (), 7)


@asynccontextmanager
async def deployer(path: Path, faults: Faults | None = None) -> AsyncIterator[int]:
    """The example deployer over the ledger at ``path``; gives its port."""
    with bind("127.0.0.1", 0) as listener:
        running = server(build(Ledger(path), (Webhook(KEY),), faults))
        task = asyncio.create_task(running.serve(sockets=[listener]))
        while not running.started:
            await asyncio.sleep(0.01)
        try:
            yield int(listener.getsockname()[1])
        finally:
            running.should_exit = True
            await task


@asynccontextmanager
async def cutting(port: int, cuts: int, *, before: bool) -> AsyncIterator[int]:
    """A proxy to ``port`` that resets the first ``cuts`` connections: ``before`` anything is
    passed on, or after the far side has answered (and so acted) but before the reply is."""
    left = cuts

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        left -= 1
        cut = left >= 0
        if cut and before:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        far_writer.write(
            head.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
            + await reader.readexactly(length)
        )
        reply = await far_reader.read()
        far_writer.close()
        if cut:
            writer.transport.abort()
            return
        writer.write(reply)
        await writer.drain()
        writer.close()

    proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(proxy.sockets[0].getsockname()[1])
    finally:
        proxy.close()


def webhook(port: int, timeout_ms: int = 2_000) -> tuple[dict[str, Receiver], Routes]:
    settings = ReceiversSettings(
        webhooks=(
            WebhookSettings("deployer", f"http://127.0.0.1:{port}/rollback", SecretSource(env="K")),
        )
    )
    egress = EgressSettings(allow_private=(f"127.0.0.1:{port}",), total_timeout_ms=timeout_ms)
    made = build_receivers(settings, egress, {"K": SECRET})
    return {receiver.name: receiver for receiver in made}, routes(made)


@dataclass
class Worker:
    """Deliver without Kafka: a state, a clock that jumps to the next try, and the rows."""

    receivers: dict[str, Receiver]
    table: Routes
    state: ModelState
    rows: list[ActionRow]
    now_ms: int = 0

    def take(self, given: Verdict) -> None:
        self.state, rows = on_verdict(self.state, given, SETTINGS, self.table, self.now_ms)
        self.rows.extend(rows)

    async def send_due(self, *, forget: bool = False) -> None:
        """Send what is due. ``forget``: die before the outcome is noted."""
        for entry in due(self.state, SETTINGS, self.now_ms):
            outcome = await deliver_entry(entry, self.receivers, time.time_ns() // 1_000_000)
            if forget:
                continue
            self.state, rows = on_delivery(
                self.state, entry, outcome, SETTINGS, self.table, self.now_ms
            )
            self.rows.extend(rows)

    async def drain(self, tries: int = 60) -> None:
        """Go on until the outbox is empty, as far as ``tries`` jumps of the clock."""
        for _ in range(tries):
            await self.send_due()
            following = self.state.outbox.next_try_ms()
            if following is None:
                return
            self.now_ms = max(self.now_ms, following)
            self.state, rows = on_tick(self.state, SETTINGS, self.table, self.now_ms)
            self.rows.extend(rows)

    def restarted(self) -> Self:
        """What a new process knows: the last state that was written."""
        return replace(self, state=decode_state(encode_state(self.state)), rows=[])


def worker(port: int, timeout_ms: int = 2_000) -> Worker:
    receivers, table = webhook(port, timeout_ms)
    return Worker(receivers, table, new_state("gpt-4"), [])


def fresh(path: Path) -> Ledger:
    ledger = Ledger(path)
    ledger.deploy(BAD)
    return ledger


def executed(ledger: Ledger) -> int:
    return sum(1 for entry in ledger.log() if entry.outcome == "executed")

"""G1 to G3: orders that are forged, old or repeated, and secrets that change.

Two doors take signed orders: the example deployer (Standard Webhooks) and the hooks of `serve`
(Grafana's HMAC). Each play gives how often a door did what it may not, with its guard and without.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from standardwebhooks import Webhook
from starlette.testclient import TestClient

from detectors.action import Action, ActionKind, Severity, rollback_key
from detectors.policy import Approval
from detectors.release import Release, Role
from examples.deployer import build
from examples.ledger import Ledger, Outcome, Running
from sinks.hook_routes import GRAFANA
from sinks.webhook import event_body, signed_headers, signers
from tests.faults.action_cells import FIRST, Target
from tests.faults.action_world import World, config, partition_of, settle, take
from tests.unit.sinks.operations_scene import HOOK, NOW, api, body, grafana_forgeries, signed

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

KEY: Final = b"k" * 32
BAD: Final = Running("gpt-4", "0314", "0613")
ORDER: Final = Action(
    rollback_key("gpt-4", "0613"),
    ActionKind.ROLLBACK,
    Release("gpt-4", "0613", Role.CANARY),
    "0314",
    "fell from 0.52 to 0.10",
    "",
    (),
    Severity.ERROR,
    "incident_1",
    NOW,
)
BODY: Final = event_body(ORDER, "urn:driftline")
_MINUTE_S: Final = 60
_DAY_S: Final = 86_400


class Credulous(Webhook):
    """Without the guard: every request is genuine, and of now."""

    def verify(self, data: bytes | str, headers: dict[str, str], *, json_parse: bool = True) -> Any:
        return json.loads(data) if json_parse else None


def vouching(app: ASGIApp) -> ASGIApp:
    """Without the guard: something in front of the hooks that proves everybody to be genuine."""
    proof = (b"authorization", f"Bearer {HOOK}".encode())

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        kept = [header for header in scope["headers"] if header[0] != b"authorization"]
        await app({**scope, "headers": [*kept, proof]}, receive, send)

    return front


def order(ago_s: float = 0, key: bytes = KEY) -> dict[str, str]:
    """The headers of `BODY`, signed so long ago."""
    return signed_headers((Webhook(key),), ORDER.key, int((time.time() - ago_s) * 1000), BODY)


def forged_orders() -> dict[str, tuple[dict[str, str], bytes]]:
    """Headers and bodies that nobody with the secret signed so."""
    right = order()
    signature, stamp = right["webhook-signature"], right["webhook-timestamp"]
    first, _, rest = BODY.partition(b".")

    def changed(**values: str) -> dict[str, str]:
        return right | {f"webhook-{name}": text for name, text in values.items()}

    return {
        "no headers": ({}, BODY),
        "no signature": (changed(signature=""), BODY),
        "a wrong signature": (changed(signature="v1," + "A" * 43 + "="), BODY),
        "a truncated signature": (changed(signature=signature[:-6]), BODY),
        "another secret": (order(key=b"x" * 32), BODY),
        "version v0": (changed(signature=signature.replace("v1,", "v0,")), BODY),
        "another body": (right, BODY.replace(b"0.52", b"0.53")),
        "written otherwise": (right, json.dumps(json.loads(BODY), indent=1).encode()),
        "another id": (changed(id=ORDER.key + "2"), BODY),
        # The signed text is id.time.body: a dot must not move from one into the next.
        "an id with a dot": (changed(id=f"{ORDER.key}.{stamp}", timestamp=first.decode()), rest),
        "moved in time": (changed(timestamp=str(int(stamp) + 1)), BODY),
        "no number of a time": (changed(timestamp="nan"), BODY),
    }


def forgeries(*, guarded: bool) -> int:
    """G1: forged orders that were not refused with 401, or were carried out."""
    let_in = 0
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "db")
        door = _deployer(ledger, guarded=guarded)
        for headers, content in forged_orders().values():
            ledger.deploy(BAD)
            reply = door.post("/rollback", headers=headers, content=content)
            let_in += reply.status_code != 401
        let_in += _executed(ledger) if guarded else 0
        ledger.deploy(BAD)
        _genuine(door.post("/rollback", headers=order(), content=BODY).status_code == 200)
        _genuine(not guarded or _executed(ledger) == 1)
    client, kafka = api(token="", around=(lambda app: app) if guarded else vouching)
    for headers, content in grafana_forgeries().values():
        kafka.commands.clear()
        reply = client.post(GRAFANA, headers=headers, content=content)
        let_in += reply.status_code != 401 or bool(kafka.commands)
    kafka.commands.clear()
    client.post(GRAFANA, headers=signed(body()), content=body())
    _genuine(len(kafka.commands) == 1)
    return let_in


def replays(*, guarded: bool) -> int:
    """G2: orders that were taken although they were signed long ago, and executions beyond the
    first. Between two, a person puts the version back on purpose, so that another could act."""
    return _replays_at_the_deployer(guarded=guarded) + asyncio.run(_replays_at_the_hook(guarded))


def _replays_at_the_deployer(*, guarded: bool) -> int:
    """One id, signed at several times, to replicas and after restarts of one ledger. Without the
    guard each of them has a memory of its own, and the time of signing is not looked at."""
    taken_late = executed = 0
    within = (0, 0, 1, 4 * _MINUTE_S)
    beyond = (-302, 301, 6 * _MINUTE_S, 3 * _DAY_S)
    with tempfile.TemporaryDirectory() as folder:
        ledgers = []
        for number, ago_s in enumerate((*within, *beyond)):
            ledger = Ledger(Path(folder) / ("db" if guarded else f"db{number}"))
            ledger.deploy(BAD)
            ledgers.append(ledger)
            door = _deployer(ledger, guarded=guarded)
            status = door.post("/rollback", headers=order(ago_s), content=BODY).status_code
            if ago_s in beyond:
                taken_late += status != 401
            else:
                _genuine(status == 200)
        executed = _executed(ledgers[0]) if guarded else sum(map(_executed, ledgers))
    _genuine(executed >= 1)
    return taken_late + executed - 1


async def _replays_at_the_hook(guarded: bool) -> int:
    """One notification of Grafana, again and again, to replicas of `serve` with clocks further on;
    what they publish goes to deliver, which is started anew each time."""
    target = Target(random.Random(0), guarded=guarded)
    world = World(config(Approval.AUTOMATIC), target)
    partition = partition_of(world.config)
    content = body()
    headers = signed(content)
    taken_late = 0
    for later_s in (0, 1, 4 * _MINUTE_S, 6 * _MINUTE_S, 3 * _DAY_S):
        client, kafka = api(
            token="",
            now_ms=NOW + later_s * 1000,
            around=(lambda app: app) if guarded else vouching,
        )
        reply = client.post(GRAFANA, headers=headers, content=content)
        taken_late += later_s > 5 * _MINUTE_S and reply.status_code != 401
        if not guarded:
            world.kafka.data.clear()
        world.now_ms = NOW + later_s * 1000
        target.running = "2"
        agent = world.started()
        await take(agent, partition, 0, FIRST)
        for command in kafka.commands:
            await take(agent, partition, 0, command)
        await settle(agent)
    _genuine(len(target.executed) >= 1)
    return taken_late + len(target.executed) - 1


def rotation(*, guarded: bool) -> int:
    """G3: genuine orders that were refused while a secret was replaced, and orders that were taken
    under the old one when it was gone. Without the guard there is one secret at a time."""
    old, new = "older-secret-of-hooks", "newer-secret-of-hooks"
    wrong = 0
    # What the door knows, and the secrets that its callers sign with at that time.
    for known, used in ((f"{old}", (old,)), (f"{old} {new}", (old, new)), (new, (new,))):
        held = known if guarded else known.split()[-1]
        client, _ = api(token="", grafana_secrets=held)
        for secret in used:
            headers = signed(body(), secret)
            wrong += client.post(GRAFANA, headers=headers, content=body()).status_code != 202
    gone = client.post(GRAFANA, headers=signed(body(), old), content=body())
    wrong += gone.status_code != 401
    return wrong + _rotation_at_the_deployer(guarded=guarded)


def _rotation_at_the_deployer(*, guarded: bool) -> int:
    """driftline signs with all it has; the deployer goes from the old secret to the new one."""
    old, new = ("whsec_" + base64.b64encode(byte * 32).decode() for byte in (b"o", b"n"))
    wrong = 0
    stages: Iterable[tuple[str, str]] = ((old, old), (f"{old} {new}", old), (f"{old} {new}", new))
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "db")
        for sends, knows in (*stages, (new, new)):
            held = sends if guarded else sends.split()[-1]
            door = TestClient(build(ledger, (Webhook(knows),)))
            wrong += _ordered(door, held) != 200
        wrong += _ordered(door, old) != 401
    return wrong


def _ordered(door: TestClient, secrets: str) -> int:
    headers: Mapping[str, str] = signed_headers(
        signers(secrets, "driftline"), ORDER.key, time.time_ns() // 1_000_000, BODY
    )
    return door.post("/rollback", headers=headers, content=BODY).status_code


def _deployer(ledger: Ledger, *, guarded: bool) -> TestClient:
    return TestClient(build(ledger, (Webhook(KEY) if guarded else Credulous(KEY),)))


def _executed(ledger: Ledger) -> int:
    return sum(entry.outcome == Outcome.EXECUTED for entry in ledger.log())


def _genuine(done: bool) -> None:
    """What is genuine must be done, or a count of nothing would mean nothing."""
    if not done:
        raise AssertionError("a genuine order was not carried out")

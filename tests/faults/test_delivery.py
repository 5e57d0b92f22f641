"""From a FAIL to one executed rollback, with everything in between going wrong.

The deployer of examples/ is the far side; its log is the truth about what was executed.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from standardwebhooks import Webhook

from detectors.action import Action, ActionKind
from detectors.verdict import Status
from examples.deployer import Faults
from examples.ledger import Ledger, Running
from sinks.receivers import routes
from sinks.webhook import event_body, signed_headers
from streams.deliver import (
    deliver_entry,
    due,
    new_state,
    on_tick,
)
from streams.outbox import ActionState
from tests.faults.delivery_scene import (
    BAD,
    DAY_MS,
    GOOD,
    KEY,
    SETTINGS,
    Worker,
    cutting,
    deployer,
    executed,
    fresh,
    verdict,
    webhook,
    worker,
)


@pytest.mark.parametrize(
    "faults",
    [
        Faults(),
        Faults(fail_first=5),
        Faults(lose_replies=4),
        Faults(hang_replies=2),
        Faults(fail_first=2, lose_replies=2, hang_replies=1),
    ],
    ids=["healthy", "refuses_first", "acts_then_500", "acts_then_silent", "all_of_it"],
)
def test_a_rollback_is_retried_until_acknowledged_and_executed_once(
    tmp_path: Path, faults: Faults
) -> None:
    ledger = fresh(tmp_path / "db")

    async def main() -> None:
        async with deployer(tmp_path / "db", faults) as port:
            here = worker(port, timeout_ms=300)
            here.take(verdict())
            await here.drain()
            assert here.state.outbox.entries == ()
            assert here.rows[-1].state is ActionState.ACKNOWLEDGED
            wrong = faults.fail_first + faults.lose_replies + faults.hang_replies
            assert here.rows[-1].attempt == wrong + 1

    asyncio.run(main())
    assert executed(ledger) == 1
    assert ledger.running() == (GOOD,)


@pytest.mark.parametrize("before", [True, False], ids=["before_the_request", "before_the_reply"])
def test_resets_on_the_way_do_not_lose_or_double_it(tmp_path: Path, before: bool) -> None:
    ledger = fresh(tmp_path / "db")

    async def main() -> None:
        async with (
            deployer(tmp_path / "db") as port,
            cutting(port, 3, before=before) as between,
        ):
            here = worker(between)
            here.take(verdict())
            await here.drain()
            assert [row.state for row in here.rows if row.kind is ActionKind.ROLLBACK] == [
                ActionState.PENDING,
                *[ActionState.RETRYING] * 3,
                ActionState.ACKNOWLEDGED,
            ]

    asyncio.run(main())
    assert executed(ledger) == 1


def test_an_endpoint_that_was_down_for_ten_minutes_gets_one_rollback(tmp_path: Path) -> None:
    ledger = fresh(tmp_path / "db")

    async def main() -> None:
        async with deployer(tmp_path / "gone") as gone:
            pass
        here = worker(gone)
        here.take(verdict())
        while here.now_ms < 600_000:
            await here.send_due()
            assert len(here.state.outbox.entries) == 1
            here.now_ms = here.state.outbox.next_try_ms() or 0
        async with deployer(tmp_path / "db") as port:
            # The same endpoint, at a new port: only the address differs.
            here.receivers, here.table = webhook(port)
            await here.drain()
        attempts = [row.attempt for row in here.rows if row.state is ActionState.RETRYING]
        assert 15 < max(attempts) < 60

    asyncio.run(main())
    assert executed(ledger) == 1


@pytest.mark.parametrize("sent_before_crash", [False, True])
def test_a_killed_worker_neither_loses_nor_doubles_it(
    tmp_path: Path, sent_before_crash: bool
) -> None:
    ledger = fresh(tmp_path / "db")

    async def main() -> None:
        async with deployer(tmp_path / "db") as port:
            here = worker(port)
            here.take(verdict())
            if sent_before_crash:
                entry = due(here.state, SETTINGS, 0)[0]
                await deliver_entry(entry, here.receivers, time.time_ns() // 1_000_000)
            after = here.restarted()
            after.take(verdict())  # the bus delivers again what was not committed
            await after.drain()
            assert after.state.outbox.entries == ()

    asyncio.run(main())
    assert executed(ledger) == 1


def test_a_worker_that_lost_its_state_asks_again_under_the_same_id(tmp_path: Path) -> None:
    ledger = fresh(tmp_path / "db")

    async def main() -> None:
        for _ in range(2):
            # The deployer restarts as well: its memory of ids is on disk.
            async with deployer(tmp_path / "db") as port:
                here = worker(port)
                here.take(verdict())
                await here.drain()
        assert len({entry.webhook_id for entry in ledger.log()}) == 1

    asyncio.run(main())
    assert [entry.outcome for entry in ledger.log()] == ["executed", "repeated"]


def test_concurrent_deliveries_to_two_replicas_execute_once(tmp_path: Path) -> None:
    ledger = fresh(tmp_path / "db")

    async def main() -> None:
        async with deployer(tmp_path / "db") as one, deployer(tmp_path / "db") as two:
            workers = [worker(port) for port in (one, two) * 5]
            for here in workers:
                here.take(verdict())
            await asyncio.gather(*(here.drain() for here in workers))
            assert all(here.rows[-1].state is ActionState.ACKNOWLEDGED for here in workers)

    asyncio.run(main())
    assert executed(ledger) == 1
    assert len(ledger.log()) == 10


def test_repeats_flapping_and_reordering_send_one_rollback(tmp_path: Path) -> None:
    ledger = fresh(tmp_path / "db")

    async def main() -> None:
        async with deployer(tmp_path / "db") as port:
            here = worker(port)
            for sequence in (1, 1, 3, 2, *range(4, 104)):
                here.take(verdict(Status.PASS if sequence % 2 == 0 else Status.FAIL, sequence))
                await here.send_due()
                here.now_ms += 2_000

    asyncio.run(main())
    assert [entry.outcome for entry in ledger.log()] == ["executed"]


@pytest.mark.parametrize(("same_id", "times"), [(True, 1), (False, 2)])
def test_a_late_repeat_does_not_undo_a_redeploy_because_of_its_id(
    tmp_path: Path, same_id: bool, times: int
) -> None:
    """With the guard (the id) taken away, the same request is executed twice."""
    ledger = fresh(tmp_path / "db")

    async def main() -> None:
        async with deployer(tmp_path / "db") as port:
            here = worker(port)
            here.take(verdict())
            action = here.state.outbox.entries[0].action
            await here.drain()
            ledger.deploy(BAD)  # a person puts the canary back on purpose
            again = action if same_id else replace(action, key=action.key + "x")
            await here.receivers["deployer"].deliver(again, time.time_ns() // 1_000_000)

    asyncio.run(main())
    assert executed(ledger) == times


def test_nothing_is_done_when_the_bad_version_does_not_run(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "db")
    other = Running("gpt-4", "0314", "0701")
    ledger.deploy(other)

    async def main() -> None:
        async with deployer(tmp_path / "db") as port:
            here = worker(port)
            here.take(verdict())
            await here.drain()
            assert here.rows[-1].state is ActionState.ACKNOWLEDGED

    asyncio.run(main())
    assert [entry.outcome for entry in ledger.log()] == ["declined"]
    assert ledger.running() == (other,)


def test_forged_and_replayed_requests_are_refused_and_execute_nothing(tmp_path: Path) -> None:
    ledger = fresh(tmp_path / "db")
    key = (Webhook(KEY),)

    async def main() -> None:
        async with deployer(tmp_path / "db") as port:
            here = worker(port)
            here.take(verdict())
            action: Action = here.state.outbox.entries[0].action
            body = event_body(action, "urn:driftline")
            now = datetime.now(UTC)

            def signed(at: datetime = now, keys: tuple[Webhook, ...] = key) -> dict[str, str]:
                return signed_headers(keys, action.key, int(at.timestamp() * 1000), body)

            def changed(**values: str) -> dict[str, str]:
                return signed() | {f"webhook-{name}": text for name, text in values.items()}

            signature = signed()["webhook-signature"]
            attacks: dict[str, tuple[dict[str, str], bytes]] = {
                "no headers": ({}, body),
                "no signature": (changed(signature=""), body),
                "other secret": (signed(keys=(Webhook(b"x" * 32),)), body),
                "truncated": (changed(signature=signature[:-6]), body),
                "version v0": (changed(signature=signature.replace("v1,", "v0,")), body),
                "not base64": (changed(signature="v1,%%%"), body),
                "no comma": (changed(signature="v1"), body),
                "other id": (changed(id=action.key + "2"), body),
                "other body": (signed(), body.replace(b"0613", b"0612")),
                "re-serialised": (signed(), json.dumps(json.loads(body), indent=1).encode()),
                "not UTF-8": (signed(), b"\xff" + body),
                "old by 301 s": (signed(now - timedelta(seconds=301)), body),
                "old by 3 days": (signed(now - timedelta(days=3)), body),
                "new by 302 s": (signed(now + timedelta(seconds=302)), body),
                "moved in time": (changed(timestamp=str(int(now.timestamp()) + 1)), body),
                "no time": (changed(timestamp="nan"), body),
            }
            async with httpx2.AsyncClient(trust_env=False) as client:
                url = f"http://127.0.0.1:{port}/rollback"
                for name, (headers, sent) in attacks.items():
                    reply = await client.post(url, headers=headers, content=sent)
                    assert reply.status_code == 401, name
                large = await client.post(url, headers=signed(), content=b"x" * 100_000)
                assert large.status_code == 413
                assert executed(ledger) == 0
                # The control: the same request, as it should be, is executed; a replay is not.
                for _ in range(3):
                    reply = await client.post(url, headers=signed(), content=body)
                    assert reply.status_code == 200

    asyncio.run(main())
    assert executed(ledger) == 1


def test_after_a_day_of_silence_the_rollback_expires_and_people_know(tmp_path: Path) -> None:
    async def main() -> None:
        async with deployer(tmp_path / "gone") as gone:
            pass
        here = worker(gone)
        here.take(verdict())
        here.now_ms = DAY_MS
        here.state, rows = on_tick(here.state, SETTINGS, here.table, here.now_ms)
        assert [row.state for row in rows] == [ActionState.EXPIRED, ActionState.UNROUTED]
        assert rows[1].kind is ActionKind.PAGE
        assert here.state.outbox.entries == ()

    asyncio.run(main())


def test_an_error_nobody_foresaw_is_tried_again_and_its_text_is_kept_out(tmp_path: Path) -> None:
    class Broken:
        name = "deployer"
        kinds = frozenset({ActionKind.ROLLBACK})
        models = ("*",)
        dry_run = False

        async def deliver(self, action: Action, now_ms: int) -> str:
            raise RuntimeError("SECRET")

    async def main() -> None:
        broken = Broken()
        here = Worker({"deployer": broken}, routes((broken,)), new_state("gpt-4"), [])
        here.take(verdict())
        await here.send_due()
        assert here.rows[-1].state is ActionState.RETRYING
        assert here.rows[-1].detail == "internal error RuntimeError"

    asyncio.run(main())

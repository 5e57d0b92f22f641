"""A flood of findings leads to one page per incident and does not hold a rollback up."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from math import nan
from typing import Any

from detectors.action import Action, ActionKind
from detectors.finding import Finding, Outcome
from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from sinks.control import ControlBoard, decode_control
from sinks.egress import RetryLater
from streams.changelog import Changelog
from streams.config import Config
from streams.deliver_agent import DeliverAgent
from streams.deliver_topics import DeliverTopics
from streams.wire import encode_verdict

MODELS = 100
FINDINGS_EACH = 100


@dataclass
class Kafka:
    """A table and a topic in memory that acknowledge at once; ``board`` reads what is sent."""

    data: dict[bytes, bytes] = field(default_factory=dict)
    sent: int = 0
    board: ControlBoard | None = None

    async def send_changelog(self, *_: Any, **__: Any) -> None:
        return None

    async def send(self, *, value: bytes, key: bytes | None = None) -> Any:
        self.sent += 1
        if self.board is not None:
            self.board.take(decode_control(value))
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        acknowledged.set_result(None)
        return acknowledged


@dataclass
class Endpoint:
    """Takes actions after ``delay_s``; notes what came when."""

    name: str
    kinds: frozenset[ActionKind]
    delay_s: float = 0.0
    fails: bool = False
    models: tuple[str, ...] = ("*",)
    dry_run: bool = False
    got: list[tuple[float, Action]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    async def deliver(self, action: Action, now_ms: int) -> str:
        self.got.append((time.perf_counter(), action))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.delay_s)
        self.at_once -= 1
        if self.fails:
            raise RetryLater("down")
        return "taken"


def verdict(model: str, sequence: int, role: Role = Role.CANARY, findings: int = 3) -> bytes:
    release = Release(model, "2", role)
    failing = tuple(
        Finding(
            release=release,
            segment="all",
            column=f"c{n}",
            detector="psi",
            window_start_ms=0,
            window_ms=60_000,
            revision=0,
            against="",
            outcome=Outcome.FAIL,
            statistic=1.0,
            threshold=0.2,
            n=1_000,
            n_against=0,
            reason="far off",
            decides=True,
            critical=False,
        )
        for n in range(findings)
    )
    return encode_verdict(
        Verdict(release, Status.FAIL, "bad", sequence, 0, 0, 0, "1", 9, nan, nan, failing, 7)
    )


def agent(*receivers: Endpoint) -> DeliverAgent:
    kafka = Kafka()
    board = ControlBoard(max_rollbacks_per_hour=1_000)
    return DeliverAgent(
        Config(),
        Changelog(kafka),
        DeliverTopics(kafka, kafka, Kafka(board=board)),
        receivers,
        lambda: time.time_ns() // 1_000_000,
        board,
    )


PAGES = frozenset({ActionKind.PAGE, ActionKind.RESOLVE})
ROLLBACKS = frozenset({ActionKind.ROLLBACK})


def test_ten_thousand_findings_make_one_page_an_incident_and_a_rollback_overtakes_them() -> None:
    pager = Endpoint("pager", PAGES, delay_s=0.02)
    deployer = Endpoint("deployer", ROLLBACKS)

    async def main() -> float:
        here = agent(pager, deployer)
        for number in range(MODELS):
            # Shadows: they page and are not rolled back.
            for sequence in (1, 2):
                value = verdict(f"m{number}", sequence, Role.SHADOW, FINDINGS_EACH)
                await here.take(0, number, value)
        await asyncio.sleep(0)
        asked = time.perf_counter()
        await here.take(0, MODELS, verdict("fraud", 1))
        while not deployer.got:
            await asyncio.sleep(0.005)
        waited_s = deployer.got[0][0] - asked
        for _ in range(8):
            await here.tick()
            await asyncio.sleep(0.05)
        return waited_s

    waited_s = asyncio.run(main())
    assert waited_s < 1.0
    assert len(deployer.got) == 1
    pages = Counter(action.incident_key for _, action in pager.got)
    assert set(pages.values()) == {1}
    # The pager is not called faster than it can take.
    pace = Config().pace
    assert pager.most_at_once <= pace.in_flight
    elapsed_s = pager.got[-1][0] - pager.got[0][0]
    assert 5 <= len(pages) <= pace.burst + elapsed_s * pace.per_minute / 60 + 1


def test_a_pager_that_is_down_is_left_alone_and_rollbacks_go_on() -> None:
    pager = Endpoint("pager", PAGES, fails=True)
    deployer = Endpoint("deployer", ROLLBACKS)

    async def main() -> None:
        here = agent(pager, deployer)
        for number in range(30):
            await here.take(0, number, verdict(f"m{number}", 1))
            await asyncio.sleep(0.002)
        await here.tick()
        await asyncio.sleep(0.05)

    asyncio.run(main())
    assert len(deployer.got) == 30
    # Those in flight when the circuit opened may still come to their end.
    limits = Config().pace
    assert limits.break_after <= len(pager.got) <= limits.break_after + limits.in_flight


def test_a_fail_leaves_as_a_rollback_within_300_ms() -> None:
    deployer = Endpoint("deployer", ROLLBACKS)

    async def main() -> list[float]:
        here = agent(Endpoint("pager", PAGES), deployer)
        waits = []
        for number in range(100):
            asked = time.perf_counter()
            await here.take(0, number, verdict(f"m{number}", 1))
            while len(deployer.got) <= number:
                await asyncio.sleep(0)
            waits.append(deployer.got[-1][0] - asked)
        return sorted(waits)

    waits = asyncio.run(main())
    assert waits[94] < 0.3

"""Everything one run of a cell needs: topics of its own on the shared broker, traffic, roles."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import confluent_kafka

from streams.bounded_call import NEVER_RETURNS
from streams.internal_topics import DEADLETTERS, INTAKE, SUMMARIES, WINDOWS
from tests.faults.broker_requests import Broker
from tests.faults.checker import (
    Report,
    check_dead_letters,
    check_ledger,
    check_summaries,
    check_windows,
)
from tests.faults.mock_broker import MockBroker
from tests.faults.roles import STOP_S, RoleProcess, Trouble, wait_until
from tests.faults.topic_reading import Committed, ends, records, rows
from tests.faults.traffic import LATENESS_MS, OUT_OF_ORDERNESS_MS, PANE_MS, PARTITIONS, Traffic

WINDOW_MS = 5 * PANE_MS
CAUGHT_UP_S = 120.0
"""Who has read nothing more for so long is stuck. How soon all is read after a fault is for the
cells to say that are about it."""
LONGEST_S = 600.0
"""Traffic goes on while a slow machine starts and kills roles, and they read more the longer that
takes; but not for ever."""
FAILPOINT_S = 180.0
"""A role that starts on a busy machine comes to its failpoint within this time."""
MOST_HEIRS = 4
"""More of them, and starting again does not help."""

CONFIGURATION = """
time: {{pane: {pane}ms, windows: [{window}ms], out_of_orderness: {order}ms,
  allowed_lateness: {lateness}ms, idle_timeout: 10m}}
summarize: {{flush_interval: 100ms, batch_messages: 100, compiled: false}}
judge: {{learn_events: 0, blind_after: 1h}}
inputs: [{{topic: {topic}, format: ndjson}}]
kafka: {{prefix: {topic}., partitions: {partitions}, bootstrap: "{bootstrap}"}}
store: {{path: {folder}/store, http_port: {store}}}
"""


@dataclass(frozen=True, slots=True)
class Change:
    """A guard that is removed: ``mutant`` of tests.faults.mutants for the roles named in ``roles``,
    and settings (variables) for all. Nothing: the line as it is."""

    mutant: str = ""
    roles: tuple[str, ...] = ("summarize",)
    environment: Mapping[str, str] = field(default_factory=dict)


AS_IT_IS = Change()


class Scene:
    """Use it in a ``with`` block: leaving it ends every process that was started."""

    def __init__(
        self,
        address: str,
        folder: Path,
        seed: int,
        *,
        change: Change = AS_IT_IS,
        bootstrap: str = "",
        pause_s: float = 0.05,
        internal_partitions: int = 1,
        input_settings: Mapping[str, str] | None = None,
        bad: bool = False,
        extra: str = "",
        store_port: int = 0,
        mock: MockBroker | None = None,
    ) -> None:
        self.broker = Broker(address)
        self.address = address
        self.topic = f"in-{uuid.uuid4().hex[:8]}"
        self.folder = folder / self.topic
        self.folder.mkdir(parents=True)
        self.change = change
        self.report = Report()
        self.roles: list[RoleProcess] = []
        self.missing: dict[int, range] = {}
        """Offsets that were deleted before they were read."""
        self.gaps_are_expected = False
        self.started_ms = time.time_ns() // 1_000_000
        (mock or self.broker).make_topic(self.topic, PARTITIONS, input_settings)
        text = CONFIGURATION.format(
            pane=PANE_MS,
            window=WINDOW_MS,
            order=OUT_OF_ORDERNESS_MS,
            lateness=LATENESS_MS,
            topic=self.topic,
            partitions=internal_partitions,
            bootstrap=bootstrap or address,
            folder=self.folder,
            store=store_port,
        )
        (self.folder / "line.yaml").write_text(text + extra, encoding="utf-8")
        self.traffic = Traffic(address, self.topic, seed, pause_s, bad)
        self._supervised: RoleProcess | None = None
        self._heirs = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for role in self.roles:
            role.kill()
        self._stack.close()

    def internal(self, name: str) -> str:
        return f"{self.topic}.{name}"

    def start(self, role: str, failpoint: str = "", name: str = "", **more: str) -> RoleProcess:
        started = RoleProcess(
            role,
            self.folder,
            name or f"{role}-{len(self.roles)}",
            failpoint=failpoint,
            mutant=self.change.mutant if role in self.change.roles else "",
            environment={**self.change.environment, **more},
        )
        self.roles.append(started)
        return started

    def bury(self, role: str) -> None:
        """Nobody of this role is alive: do for the broker what only its time-outs would do."""
        if any(each.role == role and each.alive() for each in self.roles):
            raise Trouble(f"a process of {role} is alive")
        self.broker.leave(self.internal(role))
        self.broker.end_transactions(f"{self.topic}.")

    def kill_at(self, role: str, step: str, times: int, kills: int) -> None:
        """So many processes of a role one after the other, each killed when it comes to a step for
        the given time."""
        for _ in range(kills):
            self.kill_by(role, f"{step}=kill:{times}")
            self.bury(role)

    def kill_by(self, role: str, failpoint: str) -> None:
        """One process of a role that is killed by its failpoint. Where the client's call did not
        return before it came there, it is another's turn, as with `supervise`."""
        for _ in range(1 + MOST_HEIRS):
            started = self.start(role, failpoint)
            self.wait(f"{started.name} killed", lambda: not started.alive(), FAILPOINT_S)  # noqa: B023
            if NEVER_RETURNS not in started.said():
                break
            self.report.notes.append("a call did not return before the failpoint")
            self.bury(role)
        started.wait_killed(0)
        self.report.kills += 1

    def stop(self, role: RoleProcess) -> None:
        """SIGTERM: it must end well, and in time."""
        code, seconds = role.terminate()
        if code != 0 or seconds > STOP_S:
            self.report.add("stuck", 1, f"{role.name}: exit code {code} after {seconds:.1f} s")

    def worker(self) -> RoleProcess:
        """A worker that no fault is meant for: see `supervise`."""
        started = self.start("summarize")
        self.supervise(started)
        return started

    def supervise(self, worker: RoleProcess) -> None:
        """From here on every wait of this scene does for the worker what its supervisor does: it
        starts another where one has ended because a call of the Kafka client does not return. When
        that is cannot be foreseen: the call may have been made long after the fault."""
        self._supervised = worker

    def living(self, worker: RoleProcess) -> RoleProcess:
        """The worker, or who goes on for it."""
        self._replace()
        return self._supervised or worker

    def _heir_is_wanted(self) -> bool:
        worker = self._supervised
        return (
            worker is not None
            and not worker.alive()
            and NEVER_RETURNS in worker.said()
            and self._heirs < MOST_HEIRS
        )

    def _replace(self) -> bool:
        """Start another where one is wanted; whether one was."""
        if not self._heir_is_wanted():
            return False
        self._heirs += 1
        self.report.notes.append("a call did not return, and another worker went on")
        self.supervise(self.start("summarize"))
        return True

    def wait(self, what: str, asked: Callable[[], object], seconds: float) -> float:
        """`wait_until`, with a supervisor; the time counts anew for who goes on."""
        took = wait_until(what, lambda: self._heir_is_wanted() or asked(), seconds)
        while self._replace():
            took += wait_until(what, lambda: self._heir_is_wanted() or asked(), seconds)
        return took

    def wait_read(self, seconds: float = CAUGHT_UP_S, group: str = "summarize") -> float:
        """Until the group has committed the ends of all input partitions; or ``stuck``."""
        return self.wait_group(group, self.topic, seconds)

    def wait_group(
        self,
        group: str,
        topic: str,
        seconds: float = CAUGHT_UP_S,
        wanted: Mapping[int, int] | None = None,
        *,
        in_all: bool = False,
    ) -> float:
        """Until the group has committed the ends of all partitions of the topic, or what is
        ``wanted``; or ``stuck``: when it has committed nothing more for so many ``seconds``, or
        needs longer than that ``in_all``."""
        wanted = dict(wanted or ends(self.address, topic))
        committed = Committed(self.address, self.internal(group), topic, max(wanted, default=0) + 1)
        self._stack.callback(committed.close)

        most, since = -1, time.monotonic()

        def reached() -> bool:
            nonlocal most, since
            found = committed.offsets()
            now, total = time.monotonic(), sum(found.values())
            if total > most:
                most, since = total, now
            elif now - since > seconds and not self._heir_is_wanted():
                raise Trouble(f"{group} does not come to the end of {topic}")
            return all(found.get(p, 0) >= end for p, end in wanted.items())

        try:
            what = f"{group} at the end of {topic}"
            return self.wait(what, reached, seconds if in_all else LONGEST_S)
        except Trouble as trouble:
            said = {role.name: role.said()[-400:] for role in self.roles[-3:]}
            behind = {p: end - committed.offsets().get(p, 0) for p, end in wanted.items()}
            self.report.add("stuck", 1, f"{trouble}; behind {behind}; {said}")
            return seconds

    def wait_committed(self) -> None:
        """Until something of every input partition is committed."""
        committed = Committed(self.address, self.internal("summarize"), self.topic, PARTITIONS)
        self._stack.callback(committed.close)

        def all_of_them() -> bool:
            return sum(offset > 0 for offset in committed.offsets().values()) == PARTITIONS

        wait_until("something of every partition is committed", all_of_them, CAUGHT_UP_S)

    def overrun_retention(self, beyond: int = 40) -> None:
        """Delete what is not committed, and some more, as retention does."""
        committed = Committed(self.address, self.internal("summarize"), self.topic, PARTITIONS)
        found = committed.offsets()
        committed.close()
        self.missing = {p: range(at, at + beyond) for p, at in found.items()}
        self.broker.delete_before(self.topic, {p: gone.stop for p, gone in self.missing.items()})

    def wait_lag_below(self, lag_s: float, seconds: float) -> float:
        """Until everything that was sent ``lag_s`` ago is committed, and what came of it can be
        read by readers of committed records."""
        summaries = self.internal(SUMMARIES)
        committed = Committed(self.address, self.internal("summarize"), self.topic, PARTITIONS)
        self._stack.callback(committed.close)
        history: deque[tuple[float, int, int]] = deque()

        def caught_up() -> bool:
            now = time.monotonic()
            try:
                sent = sum(ends(self.address, self.topic).values())
                written = sum(ends(self.address, summaries).values())
            except confluent_kafka.KafkaException:
                return False  # partitions have no leader yet
            history.append((now, sent, written))
            while len(history) > 1 and history[1][0] <= now - lag_s:
                history.popleft()
            at, sent_then, written_then = history[0]
            if now - at < lag_s:
                return False
            readable = sum(ends(self.address, summaries, committed=True).values())
            return sum(committed.offsets().values()) >= sent_then and readable >= written_then

        return self.wait(f"lag below {lag_s:g} s", caught_up, seconds)

    def check(self) -> Report:
        """Everything that stage one promises."""
        log, report, missing = self.traffic.log, self.report, self.missing
        expected = log.expected(missing)
        for partition, gone in missing.items():
            expected.dead[partition, gone.start] += 1  # the letter that says so
        summaries = records(self.address, self.internal(SUMMARIES))
        check_summaries(report, log, self.topic, summaries, self.started_ms, missing)
        ledger = rows(self.address, self.internal(INTAKE))
        check_ledger(
            report,
            log.expected(missing),
            ends(self.address, self.topic),
            ledger,
            self.topic,
            missing,
            self.gaps_are_expected,
        )
        check_dead_letters(
            report, expected, records(self.address, self.internal(DEADLETTERS)), self.topic
        )
        return report

    def check_windows(self) -> None:
        """What stage two promises."""
        found = rows(self.address, self.internal(WINDOWS))
        check_windows(self.report, self.traffic.log.expected(), found, WINDOW_MS)


Run = Callable[[Scene, int], Report]
"""What a cell does; the number is that of kills (or of other faults)."""

"""B10, B11: what the producers of an input topic do to it."""

from __future__ import annotations

import time
import urllib.request
import uuid
from collections.abc import Mapping
from typing import Final

import confluent_kafka
from prometheus_client.parser import text_string_to_metric_families

from detectors.verdict import Status, Verdict
from tests.faults.broker_cells import finish_alive
from tests.faults.cells import Cell, Stage
from tests.faults.checker import Report
from tests.faults.gap_cells import both, verdicts
from tests.faults.judge_cells import end_judged
from tests.faults.roles import RoleProcess, Trouble, wait_until
from tests.faults.scene import Change, Scene
from tests.faults.summarize_cells import finish
from tests.faults.tcp_proxy import TcpProxy
from tests.faults.topic_reading import ends, records
from tests.faults.traffic import PARTITIONS, Sent
from tests.ports import free_port

BLIND_AFTER_S: Final = 5.0
IDLE_AFTER_S: Final = 2.0
TOLD_S: Final = 60.0
"""Within this time everybody is told, also on a machine that has much else to do."""
SETTINGS: Final[Mapping[str, str]] = {
    "DRIFTLINE__JUDGE__BLIND_AFTER": f"{BLIND_AFTER_S:g}s",
    "DRIFTLINE__TIME__IDLE_TIMEOUT": f"{IDLE_AFTER_S:g}s",
}


# --- B10: the same again -------------------------------------------------------------------------


def sent_twice(stage: Stage) -> Report:
    """A producer sends an event again because the answer got lost, and an application sends the
    same event again of its own accord. In the topic both are messages like any other: each counts
    once, whatever is killed meanwhile."""
    with (
        TcpProxy(stage.kafka.distant_port, stage.kafka.proxy_port) as proxy,
        _scene(stage) as scene,
        scene.traffic,
    ):
        worker = scene.start("summarize")
        worker.wait_ready()
        careless = confluent_kafka.Producer(
            {
                "bootstrap.servers": proxy.place,
                "enable.idempotence": False,
                "message.send.max.retries": 10,
                "retry.backoff.ms": 50,
                "linger.ms": 0,
                "log_level": 0,
            }
        )
        scene.traffic.hold()  # so that nothing of this is late
        again = [_newest(scene, partition) for partition in range(PARTITIONS)]
        for _ in range(5 * stage.kills):
            for partition, body in enumerate(again):
                careless.produce(scene.topic, body, partition=partition)  # by the application
            careless.flush(30)
            proxy.link.unanswered = 1
            careless.produce(scene.topic, again[0], partition=0)  # by the client
            careless.flush(30)
        scene.traffic.go_on()
        worker.kill()
        scene.report.kills += 1
        scene.bury("summarize")
        scene.kill_at("summarize", "summarize.sent", 5, stage.kills)
        scene.traffic.halt()
        _take_from_topic(scene)
        stored = sum(sent.body == again[0] for sent in scene.traffic.log.messages[0])
        asked = 1 + 10 * stage.kills
        scene.report.notes.append(f"{stored - asked} messages twice because an answer got lost")
        if stored <= asked:
            raise Trouble("no answer got lost: the cell shows nothing")
        return finish(scene)


def _newest(scene: Scene, partition: int) -> bytes:
    """The newest event that the traffic sent to a partition."""
    sent = scene.traffic.log.messages[partition]
    return max((each for each in sent if each.rows and not each.dead), key=_time).body


def _time(sent: Sent) -> int:
    return max(ts for ts, _, _ in sent.rows)


def _take_from_topic(scene: Scene) -> None:
    """Others than the traffic have written to the topic: the log becomes what stands there."""

    def all_closed() -> bool:
        return ends(scene.address, scene.topic, committed=True) == ends(scene.address, scene.topic)

    wait_until("every transaction of the topic has ended", all_closed, 60)
    log = scene.traffic.log
    known = {sent.body: sent for some in log.messages.values() for sent in some}
    messages: dict[int, list[Sent]] = {p: [] for p in log.messages}
    offsets: dict[int, list[int]] = {p: [] for p in log.messages}
    for record in records(scene.address, scene.topic):
        messages[record.partition].append(known[record.value or b""])
        offsets[record.partition].append(record.offset)
    log.messages, log.offsets = messages, offsets


# --- B11: transactions ---------------------------------------------------------------------------


def aborted_transactions(stage: Stage) -> Report:
    """A producer aborts what it sent."""
    with _scene(stage) as scene, scene.traffic:
        worker = scene.start("summarize")
        worker.wait_ready()
        aborting = _producer(scene, "aborts", 5.0)
        for _ in range(5 * stage.kills):
            aborting.begin_transaction()
            for partition in range(PARTITIONS):
                aborting.produce(scene.topic, _newest(scene, partition), partition=partition)
            aborting.flush(10)
            aborting.abort_transaction(10)
            scene.report.kills += 1
        scene.gaps_are_expected = True
        return finish_alive(scene, worker)


def hanging_transactions(stage: Stage) -> Report:
    """Two transactions stay open for longer than anybody should be blind without saying so, while
    events go on coming behind them: one is committed at last, one is ended by the broker."""
    port = free_port()
    with _scene(stage) as scene, scene.traffic:
        worker, judge = both(scene, SETTINGS, DRIFTLINE__METRICS__PORT=str(port))
        for commits in (True, False):
            before = len(verdicts(scene))
            hanging = _producer(scene, "hangs", TOLD_S + (60.0 if commits else 10.0))
            scene.traffic.hold()  # so that what hangs is not late
            hanging.begin_transaction()
            hanging.produce(scene.topic, _newest(scene, 0), partition=0)
            hanging.flush(10)
            scene.traffic.go_on()
            _check_hanging(scene, before, port)
            if commits:
                hanging.commit_transaction(10)
            _check_seen_again(scene)
            scene.report.kills += 1
        return _finish(scene, worker, judge)


def _check_hanging(scene: Scene, before: int, port: int) -> None:
    """While a transaction hangs the lag grows, and who has traffic becomes BLIND. ``before``: how
    many verdicts there were."""
    lag = _lag(port, scene.topic, 0)
    releases = {verdict.release for verdict in verdicts(scene)[:before]}

    def blind() -> bool:
        newest = {verdict.release: verdict for verdict in verdicts(scene)[before:]}
        return newest.keys() >= releases and all(map(_is_behind, newest.values()))

    try:
        seconds = wait_until(
            "every release is BLIND, an input partition being behind", blind, TOLD_S
        )
        scene.report.notes.append(f"all BLIND after {seconds:.1f} s")
    except Trouble as trouble:
        scene.report.add("unsaid", 1, str(trouble))
    lags = (lag, _lag(port, scene.topic, 0))
    scene.report.add("unsaid", int(lags[1] <= lags[0]), f"the lag does not grow: {lags}")


def _is_behind(verdict: Verdict) -> bool:
    return verdict.status is Status.BLIND and "behind" in verdict.reason


def _check_seen_again(scene: Scene) -> None:
    """When it has ended all releases are seen again."""

    def seen() -> bool:
        newest = {verdict.release: verdict.status for verdict in verdicts(scene)}
        return bool(newest) and Status.BLIND not in newest.values()

    try:
        seconds = wait_until("no release is BLIND", seen, 2 * TOLD_S)
        scene.report.notes.append(f"all seen {seconds:.1f} s after the transaction")
    except Trouble as trouble:
        scene.report.add("stuck", 1, str(trouble))


def silent_after_transactions(stage: Stage) -> Report:
    """The producer of one partition writes in transactions and then falls silent: behind its last
    message stands the mark of a commit, or of an abort. The partition is idle like any other."""
    with _scene(stage) as scene, scene.traffic:
        worker, judge = both(scene, SETTINGS)
        body = _newest(scene, 0)
        scene.traffic.leave_out(0)
        marking = _producer(scene, "marks", 60.0)
        for number in range(2 * stage.kills):
            marking.begin_transaction()
            marking.produce(scene.topic, body, partition=0)
            marking.flush(10)
            if number % 2:
                marking.abort_transaction(10)
            else:
                marking.commit_transaction(10)
            scene.report.kills += 1
        time.sleep(IDLE_AFTER_S + 2 * BLIND_AFTER_S)
        newest = {verdict.release: verdict for verdict in verdicts(scene)}
        for release, verdict in newest.items():
            blind = verdict.status is Status.BLIND
            scene.report.add("stuck", int(blind), f"{release} is BLIND: {verdict.reason}")
        return _finish(scene, worker, judge)


def _finish(scene: Scene, worker: RoleProcess, judge: RoleProcess) -> Report:
    scene.gaps_are_expected = True
    scene.traffic.halt()
    _take_from_topic(scene)
    end_judged(scene, worker, judge)
    return scene.check()


def _producer(scene: Scene, what: str, timeout_s: float) -> confluent_kafka.Producer:
    """A transactional producer whose open transaction the broker ends after ``timeout_s``."""
    made = confluent_kafka.Producer(
        {
            "bootstrap.servers": scene.address,
            "transactional.id": f"{scene.topic}-{what}-{uuid.uuid4().hex[:8]}",
            "transaction.timeout.ms": int(timeout_s * 1000),
            "log_level": 0,
        }
    )
    made.init_transactions(10)
    return made


def _lag(port: int, topic: str, partition: int) -> float:
    """``driftline_input_lag_messages``, as Prometheus would read it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    wanted = {"topic": topic, "partition": str(partition)}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "driftline_input_lag_messages" and sample.labels == wanted:
                return sample.value
    raise Trouble(f"no lag of {topic}[{partition}] is told")


def _scene(stage: Stage) -> Scene:
    return Scene(stage.address, stage.folder, stage.seed, change=stage.change, pause_s=0.1)


CELLS: Final = (
    Cell(
        "B10",
        "producers send messages twice: answers get lost, applications repeat themselves",
        "a message is known by its offset, and by nothing that stands in it",
        sent_twice,
        Change("knows-by-content"),
        ("lost",),
        kills=1,
    ),
    Cell(
        "B11",
        "aborted transactions in an input topic",
        "committed records only are read",
        aborted_transactions,
        Change("reads-uncommitted"),
        ("duplicate", "miscounted"),
    ),
    Cell(
        "B11 hanging",
        "a transaction in an input topic hangs: what lag and verdicts say",
        "a partition is idle only when all of it was read, also what is held back",
        hanging_transactions,
        Change("ends-where-it-can-read"),
        ("unsaid",),
        kills=1,
    ),
    Cell(
        "B11 idle",
        "a partition falls silent behind the marks of transactions",
        "it has been read to where its client stands, not to its last message",
        silent_after_transactions,
        Change("reads-to-the-last-message"),
        ("stuck",),
        kills=1,
    ),
)

"""B13 for judge and deliver: the connections of a Faust app to the broker die without a word."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

from detectors.verdict import Status
from streams.internal_topics import SUMMARIES
from tests.faults import deliver_cells
from tests.faults.cells import Cell, Stage
from tests.faults.checker import Report
from tests.faults.judge_cells import checked
from tests.faults.lag import LAG_S, Lag
from tests.faults.roles import STOP_S, RoleProcess, Trouble, wait_until
from tests.faults.scene import CAUGHT_UP_S, Change, Scene
from tests.faults.tcp_proxy import TcpProxy
from tests.faults.webhook_receiver import WebhookReceiver


def judge_behind(stage: Stage) -> Report:
    """A judge whose connections are all dead, and it is not told: it goes on in time, and what it
    asks for a second time is not done twice."""
    with (
        TcpProxy(stage.kafka.distant_port, stage.kafka.proxy_port) as proxy,
        _scene(stage) as scene,
        scene.traffic,
    ):
        worker, judge = _both(scene, proxy)
        lag = Lag(scene, "judge", (SUMMARIES,))
        try:
            wait_until("the judge at the end", lag.caught_up, 30)
            for _ in range(stage.kills):
                proxy.forget()
                scene.report.kills += 1
                time.sleep(LAG_S)  # so much is not judged by now
                try:
                    seconds = LAG_S + wait_until("the judge is back", lag.caught_up, CAUGHT_UP_S)
                    scene.report.notes.append(f"lag below {LAG_S:g} s after {seconds:.1f} s")
                except Trouble as trouble:
                    scene.report.add("stuck", 1, f"{trouble}; {judge.said()[-300:]}")
                    return scene.report
        finally:
            lag.close()
        if not judge.alive():
            scene.report.add("stuck", 1, f"the judge did not live through it: {judge.said()}")
            return scene.report
        return checked(scene, worker, judge)


def judge_told_to_stop(stage: Stage) -> Report:
    """SIGTERM while all its connections are dead: it ends in time, and another goes on."""
    with (
        TcpProxy(stage.kafka.distant_port, stage.kafka.proxy_port) as proxy,
        _scene(stage) as scene,
        scene.traffic,
    ):
        worker, judge = _both(scene, proxy)
        for _ in range(stage.kills):
            time.sleep(4)
            proxy.link.silent = True
            time.sleep(1)
            _, seconds = judge.terminate()
            proxy.heal()
            proxy.reset()
            scene.report.kills += 1
            scene.report.notes.append(f"ended after {seconds:.1f} s")
            late = seconds > STOP_S
            scene.report.add("stuck", int(late), f"the judge took {seconds:.1f} s to end")
            scene.bury("judge")
            judge = _judge(scene, proxy)
            judge.wait_ready()
        return checked(scene, worker, judge)


def deliver_behind(stage: Stage) -> Report:
    """deliver, whose connections are dead when a canary fails: one rollback each, in time."""
    with (
        TcpProxy(stage.kafka.distant_port, stage.kafka.proxy_port) as broker,
        deliver_cells.played(stage) as (scene, receiver, verdicts, _),
    ):
        role = scene.start("deliver", DRIFTLINE__KAFKA__BOOTSTRAP=broker.place)
        role.wait_ready()
        for number in range(stage.kills + 1):
            verdicts.send(str(number + 2), Status.FAIL)
            try:
                seconds = wait_until(
                    "executed", partial(_executed, receiver, number + 1), CAUGHT_UP_S
                )
            except Trouble as trouble:
                scene.report.add("stuck", 1, f"{trouble}; {role.said()[-300:]}")
                return scene.report
            scene.report.notes.append(f"executed after {seconds:.1f} s")
            if number < stage.kills:
                broker.forget()
                scene.report.kills += 1
        scene.stop(role)
        return deliver_cells.finish(scene, receiver, stage.kills + 1)


def _executed(receiver: WebhookReceiver, wanted: int) -> bool:
    return len(receiver.log.executed) >= wanted


def _scene(stage: Stage) -> Scene:
    return Scene(
        stage.address,
        stage.folder,
        stage.seed,
        change=stage.change,
        pause_s=0.1,
        internal_partitions=2,
    )


def _both(scene: Scene, proxy: TcpProxy) -> tuple[RoleProcess, RoleProcess]:
    """A worker with a good network, and a judge behind the proxy."""
    worker = scene.start("summarize")
    judge = _judge(scene, proxy)
    worker.wait_ready()
    judge.wait_ready()
    return worker, judge


def _judge(scene: Scene, proxy: TcpProxy) -> RoleProcess:
    return scene.start("judge", DRIFTLINE__KAFKA__BOOTSTRAP=proxy.place)


_STUCK: Final = ("stuck",)
_ANSWERS: Final = "a request that gets no answer for 12 s ends its connection"

CELLS: Final = (
    Cell(
        "B13 judge",
        "connections of the judge to the broker are dead and nobody is told",
        _ANSWERS,
        judge_behind,
        Change("results-wait-for-answers", ("judge",)),
        _STUCK,
        kills=1,
    ),
    Cell(
        "B13 deliver",
        "connections of deliver to the broker are dead, and a canary fails",
        _ANSWERS,
        deliver_behind,
        Change("results-wait-for-answers", ("deliver",)),
        _STUCK,
        kills=1,
    ),
    Cell(
        "A11 judge",
        "SIGTERM of the judge while nothing that it sends is answered",
        "a role that cannot stop in time ends all the same",
        judge_told_to_stop,
        Change("results-stop-when-they-can", ("judge",)),
        _STUCK,
        kills=1,
    ),
)

"""B13, C2, F2: the network between driftline and broker, store and deployer.

What stands in between is tests.faults.tcp_proxy.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from detectors.verdict import Status
from tests.faults import deliver_cells
from tests.faults.broker_cells import finish_alive
from tests.faults.cells import Cell, Stage
from tests.faults.checker import Report
from tests.faults.engine import Engine
from tests.faults.roles import Trouble, wait_until
from tests.faults.scene import Change, Scene
from tests.faults.store_cells import check_stored
from tests.faults.tcp_proxy import TcpProxy

CAUGHT_UP_S: Final = 30.0
"""So long after the network works again a lag below 5 s is reached."""


# --- the broker ----------------------------------------------------------------------------------


def dead_connections(stage: Stage, proxy: TcpProxy) -> None:
    """All connections die and neither end is told; new ones work."""
    proxy.forget()


def resets(stage: Stage, proxy: TcpProxy) -> None:
    """For ten seconds everybody is reset twice a second, also in the middle of a request."""
    for number in range(20):
        if number % 2:
            proxy.reset()
        else:
            proxy.link.cut_after = 100
        time.sleep(0.5)
    proxy.heal()


def slow_network(stage: Stage, proxy: TcpProxy) -> None:
    """For twenty seconds 100 ms each way, and 200 kB/s a connection."""
    proxy.link.latency_s, proxy.link.bytes_per_s = 0.1, 200_000.0
    time.sleep(20)
    proxy.heal()


Fault = Callable[[Stage, TcpProxy], None]


def broker_behind(fault: Fault, stage: Stage) -> Report:
    """A worker that reaches its broker through a bad network only."""
    with (
        TcpProxy(stage.kafka.distant_port, stage.kafka.proxy_port) as proxy,
        Scene(
            stage.address,
            stage.folder,
            stage.seed,
            change=stage.change,
            bootstrap=proxy.place,
        ) as scene,
        scene.traffic,
    ):
        worker = scene.start("summarize")
        worker.wait_ready()
        scene.supervise(worker)
        scene.wait_lag_below(5.0, 30)
        for _ in range(stage.kills):
            fault(stage, proxy)
            scene.report.kills += 1
            try:
                seconds = scene.wait_lag_below(5.0, CAUGHT_UP_S)
                scene.report.notes.append(f"lag below 5 s after {seconds:.1f} s")
            except Trouble as trouble:
                scene.report.add("stuck", 1, str(trouble))
        scene.report.notes.append(f"{proxy.connections} connections, {proxy.resets} resets")
        return finish_alive(scene, worker)


# --- the store -----------------------------------------------------------------------------------


def store_behind(stage: Stage) -> Report:
    """Inserts are cut in the middle, answers get lost, connections hang or are dead."""
    with (
        Engine(stage.folder) as engine,
        TcpProxy(engine.port) as proxy,
        Scene(stage.address, stage.folder, stage.seed, change=stage.change) as scene,
        scene.traffic,
    ):
        worker = scene.start("summarize")
        store = scene.start(
            "store",
            DRIFTLINE__STORE__URL=f"http://{proxy.place}",
            DRIFTLINE__STORE__INSERT_TIMEOUT="3s",
        )
        worker.wait_ready()
        store.wait_ready()
        time.sleep(2)
        for _ in range(stage.kills):
            for begin in (_cut, _unanswered, _silent, _reset, _refusing):
                begin(proxy)
                time.sleep(5)
                proxy.heal()
                scene.report.kills += 1
                time.sleep(1)
            proxy.forget()
            scene.report.kills += 1
            time.sleep(5)
        if not store.alive():
            scene.report.add("stuck", 1, f"the store did not live through it: {store.said()}")
        scene.traffic.end()
        scene.wait_read()
        scene.stop(worker)
        scene.check()
        check_stored(scene, engine.port, store)
        scene.report.notes.append(f"{proxy.connections} connections, {proxy.resets} resets")
        scene.stop(store)
        return scene.report


def _cut(proxy: TcpProxy) -> None:
    proxy.link.cut_after = 600


def _unanswered(proxy: TcpProxy) -> None:
    proxy.link.unanswered = 3


def _silent(proxy: TcpProxy) -> None:
    proxy.link.silent = True


def _reset(proxy: TcpProxy) -> None:
    proxy.reset()


def _refusing(proxy: TcpProxy) -> None:
    proxy.link.refusing = True
    proxy.reset()


# --- the deployer --------------------------------------------------------------------------------


def deployer_behind(stage: Stage) -> Report:
    """Requests are cut, answers get lost, and connections hang: one rollback each, and one only."""
    with deliver_cells.played(stage) as (scene, receiver, verdicts, proxy):
        role = scene.start("deliver")
        role.wait_ready()
        faults: tuple[Callable[[TcpProxy], None], ...] = (_cut_early, _unanswered, _refusing)
        for number, begin in enumerate(faults * stage.kills, 2):
            begin(proxy)
            tried = proxy.connections
            verdicts.send(str(number), Status.FAIL)
            wait_until("two tries", partial(_tried, proxy, tried + 2), 30)
            proxy.heal()
            scene.report.kills += 1
        scene.stop(role)
        return deliver_cells.finish(scene, receiver, len(faults) * stage.kills)


def _tried(proxy: TcpProxy, connections: int) -> bool:
    return proxy.connections >= connections


def _cut_early(proxy: TcpProxy) -> None:
    proxy.link.cut_after = 60


_STUCK: Final = ("stuck",)

CELLS: Final = (
    Cell(
        "B13 half-open",
        "connections to the broker are dead and nobody is told",
        "a request that gets no answer for 10 s ends its connection",
        partial(broker_behind, dead_connections),
        Change("waits-for-answers"),
        _STUCK,
        kills=1,
    ),
    Cell(
        "B13 resets",
        "connections to the broker are reset twice a second, also in the middle of a request",
        "a worker whose client does not return from a call ends, and another goes on",
        partial(broker_behind, resets),
        Change("waits-for-calls"),
        _STUCK,
        kills=1,
    ),
    Cell(
        "C2 proxy",
        "the store behind a network that cuts inserts, loses answers, hangs, resets and refuses",
        "an insert that was not answered is made again",
        store_behind,
        Change("store-skips-errors", ("store",)),
        ("lost",),
        kills=1,
    ),
    Cell(
        "F2 proxy",
        "the deployer behind a network that cuts requests, loses answers and refuses",
        "the id of a rollback is the same on every try",
        deployer_behind,
        Change("deliver-new-keys", ("deliver",)),
        ("double-rollback",),
        kills=1,
    ),
)

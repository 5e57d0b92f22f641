"""C: the store away, slow, hanging, erring, full, or of another schema. No row is lost, none is
counted twice, and no offset is committed before its rows are stored.

The engine is real (chDB behind its HTTP face), with a fault switch before it; the broker is a list.
Each kind of fault is also played to a store without the guard against it, which must then fail.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pytest

from sinks.clickhouse import connect
from sinks.errors import Permanent
from sinks.migrations import migrate
from sinks.schema import DEAD_LETTERS, INTAKE
from sinks.table import Table
from streams.store_loop import Store
from tests.faults.store_fault_switch import Mode, Switch
from tests.faults.store_scene import (
    AT_MS,
    MESSAGES,
    QUICK,
    ROWS,
    TOPICS,
    CommitsFirst,
    Insert,
    ListConsumer,
    Outcome,
    Scene,
    guarded,
    made,
    play,
    skips_errors,
    unguarded_tables,
)

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# --- C1, C2: down, slow, hanging, cut ------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "times", "seconds"),
    [
        (Mode.REFUSE, 15, 0.0),
        (Mode.CUT, 3, 0.0),
        (Mode.SLOW, 3, 0.3),
        (Mode.HANG, 1, 30.0),
        (Mode.UNANSWERED, 4, 0.0),
        (Mode.GATEWAY, 4, 0.0),
    ],
    ids=["C1-down", "C2-cut", "C2-slow", "C2-hangs", "C2-reply-lost", "C2-bad-gateway"],
)
def test_a_store_in_trouble_loses_and_doubles_nothing(
    scene: Scene, mode: Mode, times: int, seconds: float
) -> None:
    scene.switch.set(mode, times, seconds=seconds)
    outcome = play(scene, timeout_ms=1_000)
    assert outcome == Outcome(0, 0, 0)
    assert scene.switch.seen > times


def test_c1_down_for_as_long_as_asked_the_store_holds_one_batch_and_no_more(scene: Scene) -> None:
    """DRIFTLINE_OUTAGE_S makes it as long as an evening's run may be."""
    seconds = float(os.environ.get("DRIFTLINE_OUTAGE_S", "2"))
    scene.switch.set(Mode.REFUSE)
    threading.Timer(seconds, lambda: scene.switch.set(Mode.PASS, 0)).start()
    began = time.monotonic()
    outcome = play(scene, seconds=seconds + 20)
    assert outcome == Outcome(0, 0, 0)
    assert time.monotonic() - began >= seconds
    # Pauses grow: an outage is no storm of requests.
    assert scene.switch.seen < seconds * 1000 / QUICK.longest_pause_ms + 60


@pytest.mark.parametrize("code", [241, 516], ids=["C2-200-with-error", "C2-200-with-refusal"])
def test_an_error_that_says_200_is_an_error(scene: Scene, code: int) -> None:
    scene.switch.set(Mode.ERROR_IN_200, 2, code=code)
    outcome = play(scene)
    assert outcome.clean
    assert bool(outcome.refusals) == (code == 516)


# --- C3: errors in each class --------------------------------------------------------------------

_PASSING: Final = (159, 202, 209, 210, 241, 243, 252, 425)
_STOPPING: Final = (16, 47, 60, 81, 164, 192, 193, 497, 516)


@pytest.mark.parametrize("code", _PASSING, ids=lambda code: f"C3-{code}")
def test_errors_that_pass_are_waited_for(scene: Scene, code: int) -> None:
    scene.switch.set(Mode.CODE, 3, code=code)
    assert play(scene) == Outcome(0, 0, 0)


@pytest.mark.parametrize("code", _STOPPING, ids=lambda code: f"C3-{code}")
def test_errors_that_do_not_pass_stop_the_role_loudly_and_lose_nothing(
    scene: Scene, code: int
) -> None:
    scene.switch.set(Mode.CODE, code=code)
    stopped = play(scene, lives=1)
    assert len(stopped.refusals) == 1
    assert f"code {code}" in stopped.refusals[0]
    assert "made by a test" not in stopped.refusals[0]
    assert stopped.clean
    scene.switch.set(Mode.PASS, 0)
    assert play(scene) == Outcome(0, 0, 0)


# --- C4, C5, C9: again, after a repair, in between -----------------------------------------------


def test_c4_a_batch_comes_again_after_many_others(scene: Scene) -> None:
    play(scene)
    for offset in range(20):
        scene.client.insert(
            "dead_letters",
            [["in", 9, offset, -1, "x", 1, datetime.fromtimestamp(AT_MS / 1000, UTC)]],
            column_names=list(DEAD_LETTERS.column_names),
            database=scene.database,
        )
    scene.broker.committed.clear()
    play(scene)
    assert scene.rows(DEAD_LETTERS) == MESSAGES * ROWS + 20


def test_c5_rows_that_were_deleted_come_back_when_they_are_read_again(scene: Scene) -> None:
    play(scene)
    scene.client.command(
        f"ALTER TABLE {scene.database}.dead_letters DELETE WHERE offset < 100",
        settings={"mutations_sync": 2},
    )
    assert scene.rows(DEAD_LETTERS) == MESSAGES * ROWS - 100
    scene.broker.committed.clear()
    assert play(scene) == Outcome(0, 0, 0)


@pytest.mark.parametrize("store_type", [Store, CommitsFirst], ids=["C9-guard", "C9-no-guard"])
def test_dying_between_two_tables_commits_neither(scene: Scene, store_type: type[Store]) -> None:
    died: list[str] = []

    def dies(scene: Scene, client: Client) -> Insert:
        insert = guarded(scene, client)

        def once(table: Table, columns: pa.Table) -> None:
            if table is INTAKE and not died:
                died.append(table.name)
                raise Permanent("killed between the tables")
            insert(table, columns)

        return once

    outcome = play(scene, insert_of=dies, store_type=store_type)
    assert died
    assert outcome.clean is (store_type is Store)
    assert len(outcome.refusals) == 1


# --- without guards ------------------------------------------------------------------------------


def test_c3_no_guard_without_the_order_of_commits_rows_are_lost(scene: Scene) -> None:
    scene.switch.set(Mode.CODE, code=516)
    outcome = play(scene, store_type=CommitsFirst)
    assert outcome.lost
    assert outcome.early


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.ERROR_IN_200],
                         ids=["C1-no-guard", "C2-no-guard"])  # fmt: skip
def test_without_waiting_for_the_store_rows_are_lost(scene: Scene, mode: Mode) -> None:
    scene.switch.set(mode, 3, code=241)
    outcome = play(scene, insert_of=skips_errors)
    assert outcome.lost
    assert outcome.early


@contextmanager
def naked(switch: Switch, direct: Client, name: str, window: int = 0) -> Iterator[Scene]:
    """Without the guard: tables in which nothing replaces a row that is written twice. ``window``:
    how many blocks the engine remembers, to drop the same when they come again."""
    database = f"d{abs(hash(name))}"
    migrate(direct, database=database, migrations=unguarded_tables()[:1])
    for table in TOPICS.values():
        direct.command(
            f"ALTER TABLE {database}.{table.name} MODIFY SETTING"
            f" non_replicated_deduplication_window = {window}"
        )
    try:
        scene = made(database, direct, switch)
        scene.broker.stored = lambda _: 10**9
        yield scene
    finally:
        direct.command(f"DROP DATABASE {database}")


def store_all(scene: Scene) -> int:
    """Stores everything, in the same blocks each time; how many rows there are then."""
    scene.broker.committed.clear()
    client = connect(scene.settings())
    settings = replace(QUICK, flush_rows=20, flush_ms=10_000)
    try:
        store = Store(ListConsumer(scene.broker), guarded(scene, client), settings, topics=TOPICS)
        until = time.monotonic() + 10
        ends = scene.broker.committed.get
        store.run(lambda: all(ends(t, 0) == MESSAGES for t in TOPICS) or time.monotonic() > until)
    finally:
        client.close()
    return scene.rows(DEAD_LETTERS, final=False)


def test_c2_no_guard_without_keys_that_replace_rows_are_doubled(
    switch: Switch, direct: Client
) -> None:
    with naked(switch, direct, "c2") as scene:
        switch.set(Mode.UNANSWERED, 2)
        assert store_all(scene) > MESSAGES * ROWS


def test_c4_no_guard_a_window_of_blocks_is_overrun(switch: Switch, direct: Client) -> None:
    """With a window that is long enough the batch is known again; with a short one it is not."""
    for window, known in ((1_000, True), (5, False)):
        with naked(switch, direct, f"c4 {window}", window) as scene:
            assert store_all(scene) == MESSAGES * ROWS
            assert (store_all(scene) == MESSAGES * ROWS) is known


def test_c5_no_guard_a_window_of_blocks_keeps_deleted_rows_away(
    switch: Switch, direct: Client
) -> None:
    with naked(switch, direct, "c5", 1_000) as scene:
        store_all(scene)
        direct.command(
            f"ALTER TABLE {scene.database}.dead_letters DELETE WHERE offset < 100",
            settings={"mutations_sync": 2},
        )
        assert store_all(scene) == MESSAGES * ROWS - 100

"""What both Faust apps (judge and deliver) have in common: how they are made, fed and stopped.

Faust assigns partitions, restores tables and feeds agents; nothing else is left to it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import faust

from streams.changelog import Changelog
from streams.faust_broker import app_arguments, connect
from streams.faust_epochs import TopicIds
from streams.faust_recovery import Tables
from streams.kafka import MOST_RECORD_BYTES, KafkaSettings
from streams.lease import Lease
from streams.stopping import STOPS_WITHIN_S, end_within
from streams.supervise import report_ready
from streams.wire import FindingRow, Row, encode_rows

ROWS_PER_MESSAGE = 500
AT_ONCE = 1_000
"""Records that are worked on at a time where `at_once` is used."""


class App(faust.App):
    """Leaves no folders behind: tables are in memory and in Kafka, so nothing is ever put there.
    ``topic_ids``: of the topics that it reads."""

    topic_ids: TopicIds

    def _create_directories(self) -> None:
        return


def make_app(kafka: KafkaSettings, name: str) -> App:
    """An app whose records are bytes. Nothing connects until it is started."""
    app = App(
        kafka.topic(name),
        store="memory://",
        key_serializer="raw",
        value_serializer="raw",
        topic_partitions=kafka.partitions,
        web_enabled=False,
        producer_max_request_size=MOST_RECORD_BYTES,
        broker_heartbeat_interval=1.0,
        broker_commit_interval=1.0,
        broker_commit_every=1_000,
        stream_wait_empty=False,
        worker_redirect_stdouts=False,
        TableManager=Tables,
        **app_arguments(kafka),
    )
    app.topic_ids = connect(app, kafka)
    return app


def topic(app: faust.App, kafka: KafkaSettings, name: str) -> Any:
    """An internal topic, to read from or send to."""
    return app.topic(kafka.topic(name), key_type=bytes, value_type=bytes)


def table(app: faust.App, kafka: KafkaSettings, name: str, lease: Lease) -> Changelog:
    """A changelog-backed table, written only while ``lease`` holds."""
    stored = app.Table(name, key_type=bytes, value_type=bytes, partitions=kafka.partitions)
    return Changelog(stored, lease.check)


def on_assignment(app: faust.App, changed: Callable[[set[int]], None]) -> None:
    """Call ``changed`` with the partitions that are ours whenever they change: with none as soon as
    any is taken away, and with the new ones once their tables are restored."""

    @app.on_partitions_revoked.connect
    async def revoked(*_: Any, **__: Any) -> None:
        changed(set())

    @app.on_rebalance_complete.connect
    async def complete(*_: Any, **__: Any) -> None:
        changed({assigned.partition for assigned in app.consumer.assignment()})
        report_ready()


class Superseded(Exception):
    """The partition of what was being done is not ours any more: it must not be acknowledged."""


async def crash_on_failure(app: faust.App, work: Awaitable[None]) -> None:
    """Faust goes on with the next record when an agent raises, as if this one had been processed.
    Here the process ends instead, and its successor begins again with this record."""
    try:
        await work
    except Superseded:
        raise
    except Exception as error:
        await app.crash(error)
        raise


async def at_once(
    app: faust.App, stream: Any, take: Callable[[int, int, bytes | None], Awaitable[None]]
) -> None:
    """Give every record of ``stream`` to ``take``, many at a time; each is acknowledged when it is
    done, and Faust commits no offset beyond one that is not. A failure ends the process, as above;
    a record that is `Superseded` is left to whoever has its partition now.
    """
    free = asyncio.Semaphore(AT_ONCE)
    running: set[asyncio.Task[None]] = set()

    async def one(event: Any) -> None:
        try:
            message = event.message
            work = take(message.partition, message.offset, message.value)
            await crash_on_failure(app, work)
            await stream.ack(event)
        except Superseded:
            return
        finally:
            free.release()

    async for event in stream.noack().events():
        await free.acquire()
        task = asyncio.create_task(one(event))
        running.add(task)
        task.add_done_callback(running.discard)


async def send_rows(to: Any, rows: Sequence[Row | FindingRow]) -> list[Awaitable[object]]:
    """Rows for the store, some hundred a message."""
    return [
        await to.send(value=encode_rows(rows[at : at + ROWS_PER_MESSAGE]))
        for at in range(0, len(rows), ROWS_PER_MESSAGE)
    ]


class _Worker(faust.Worker):
    """Stops in time: Faust waits for its clients, which may wait for a broker that is away."""

    def _schedule_shutdown(self, number: signal.Signals) -> None:
        end_within(STOPS_WITHIN_S)
        super()._schedule_shutdown(number)

    def on_worker_shutdown(self) -> None:
        """Also called when the app has crashed."""
        end_within(STOPS_WITHIN_S)
        super().on_worker_shutdown()


def run_app(app: faust.App) -> int:
    """Run until SIGTERM; returns the exit code. It never takes longer than `STOPS_WITHIN_S`."""
    worker = _Worker(app, loglevel="WARN", redirect_stdouts=False, console_port=0)
    try:
        worker.execute_from_commandline()
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else 1

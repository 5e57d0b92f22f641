"""What both Faust apps (judge and deliver) have in common: how they are made, fed and stopped.

Faust assigns partitions, restores tables and feeds agents; nothing else is left to it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import faust

from streams.changelog import Changelog
from streams.faust_broker import app_arguments, connect
from streams.kafka import KafkaSettings
from streams.lease import SESSION_S, Lease
from streams.supervise import report_ready
from streams.wire import FindingRow, Row, encode_rows

ROWS_PER_MESSAGE = 500


def make_app(kafka: KafkaSettings, name: str) -> faust.App:
    """An app whose records are bytes. Nothing connects until it is started."""
    app = faust.App(
        kafka.topic(name),
        store="memory://",
        key_serializer="raw",
        value_serializer="raw",
        topic_partitions=kafka.partitions,
        web_enabled=False,
        # A killed worker's partitions are free after this time; Faust's own default is 60 s.
        broker_session_timeout=SESSION_S,
        broker_heartbeat_interval=1.0,
        broker_commit_interval=1.0,
        broker_commit_every=1_000,
        stream_wait_empty=False,
        worker_redirect_stdouts=False,
        **app_arguments(kafka),
    )
    connect(app, kafka)
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


async def crash_on_failure(app: faust.App, work: Awaitable[None]) -> None:
    """Faust goes on with the next record when an agent raises, as if this one had been processed.
    Here the process ends instead, and its successor begins again with this record."""
    try:
        await work
    except Exception as error:
        await app.crash(error)
        raise


async def send_rows(to: Any, rows: Sequence[Row | FindingRow]) -> list[Awaitable[object]]:
    """Rows for the store, some hundred a message."""
    return [
        await to.send(value=encode_rows(rows[at : at + ROWS_PER_MESSAGE]))
        for at in range(0, len(rows), ROWS_PER_MESSAGE)
    ]


def run_app(app: faust.App) -> int:
    """Run until SIGTERM; returns the exit code."""
    worker = faust.Worker(app, loglevel="WARN", redirect_stdouts=False, console_port=0)
    try:
        worker.execute_from_commandline()
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else 1

"""Guards removed from judge, deliver and store; see tests.faults.mutants."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
import uuid
from typing import Any


def forgets() -> None:
    """judge, deliver: state is kept in memory and not written to its changelog."""
    from streams.changelog import Changelog

    setattr(Changelog, "_send", lambda *_: asyncio.sleep(0))  # noqa: B010


def _acknowledges_first(agent: Any) -> None:
    """A record is acknowledged when it comes, and worked on some seconds later."""
    take = agent.take
    waiting: asyncio.Queue[tuple[float, tuple[Any, ...]]] = asyncio.Queue()
    tasks: list[asyncio.Task[None]] = []

    async def work() -> None:
        while True:
            due, arguments = await waiting.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await take(*arguments)

    async def later(*arguments: Any) -> None:
        if not tasks:
            tasks.append(asyncio.create_task(work()))
        waiting.put_nowait((time.monotonic() + 3.0, arguments))

    setattr(agent, "take", later)  # noqa: B010


def judge_acknowledges_first() -> None:
    """judge: a record's offset is committed before its results are there."""
    from streams import judge_app

    class Hasty(judge_app.JudgeAgent):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            _acknowledges_first(self)

    setattr(judge_app, "JudgeAgent", Hasty)  # noqa: B010


def deliver_acknowledges_first() -> None:
    """deliver: a verdict's offset is committed before what follows from it is remembered."""
    from streams import deliver_app
    from streams.deliver_agent import DeliverAgent

    class Hasty(DeliverAgent):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            _acknowledges_first(self)

    setattr(deliver_app, "DeliverAgent", Hasty)  # noqa: B010


def judge_applies_twice() -> None:
    """judge: what state and intervals say about the record they have taken in is not read."""
    from streams import judge_state
    from streams.model_state import decode_interval, decode_state

    def state_without(value: bytes) -> Any:
        state = decode_state(value)
        state.applied = -1
        return state

    def interval_without(value: bytes, layout: Any) -> Any:
        interval = decode_interval(value, layout)
        interval.applied = -1
        return interval

    setattr(judge_state, "decode_state", state_without)  # noqa: B010
    setattr(judge_state, "decode_interval", interval_without)  # noqa: B010


def judge_counts_gaps() -> None:
    """judge: Faust's own reckoning of what may be committed."""
    from faust.transport.consumer import Consumer

    from streams.faust_broker import InOrder

    setattr(InOrder, "_new_offset", Consumer._new_offset)  # noqa: B010
    setattr(InOrder, "_add_gap", Consumer._add_gap)  # noqa: B010


def judge_restores_once() -> None:
    """judge: Faust's own waiting for the broker while tables are restored."""
    from streams.faust_recovery import PatientRecovery

    del PatientRecovery._wait


def judge_keeps_entries_whole() -> None:
    """judge: an entry of its state is one record, however large it is."""
    from streams import changelog

    init = changelog.Changelog.__init__

    def whole(self: Any, table: Any, before_write: Any) -> None:
        init(self, table, before_write, 2**40)

    setattr(changelog.Changelog, "__init__", whole)  # noqa: B010


def judge_lets_in_early() -> None:
    """judge: Faust's own order. What is fetched too early is thrown away as Faust does, but each
    time and not only when two threads meet badly."""
    from faust.transport.drivers.aiokafka import Consumer

    from streams.faust_broker import SeekFirst

    async def careless(self: Any, active_partitions: Any, timeout: float) -> Any:
        records = dict(await Consumer._getmany(self, active_partitions, timeout))
        for tp in [tp for tp in records if not self._is_changelog_tp(tp)]:
            if records[tp] and tp not in self._sought:
                self._sought[tp] = records.pop(tp)[0].offset
        return records

    setattr(SeekFirst, "_getmany", careless)  # noqa: B010
    setattr(SeekFirst, "perform_seek", Consumer.perform_seek)  # noqa: B010
    setattr(SeekFirst, "resume_partitions", Consumer.resume_partitions)  # noqa: B010


def has_no_lease() -> None:
    """judge, deliver: who was frozen does not notice."""
    from streams.lease import Lease

    setattr(Lease, "check", lambda _: None)  # noqa: B010


def wait_for_answers() -> None:
    """judge, deliver: a connection on which nothing is answered is kept for five minutes."""
    from streams import faust_broker

    setattr(faust_broker, "ANSWER_S", 300.0)  # noqa: B010


def stop_when_they_can() -> None:
    """judge, deliver: stopping takes as long as it takes, on connections that are dead as well."""
    from streams import faust_app

    wait_for_answers()
    setattr(faust_app, "end_within", lambda _: None)  # noqa: B010


def take_names_for_topics() -> None:
    """judge, deliver, store: a topic is known by its name, and not by its id."""
    from streams import epochs

    setattr(epochs, "ids_of", lambda _: epochs.NO_EPOCHS)  # noqa: B010


def deliver_new_keys() -> None:
    """deliver: each try has an id of its own."""
    from sinks import webhook

    signed = webhook.signed_headers

    def fresh(keys: Any, message_id: str, now_ms: int, body: bytes) -> dict[str, str]:
        return signed(keys, f"{message_id}-{uuid.uuid4().hex[:8]}", now_ms, body)

    setattr(webhook, "signed_headers", fresh)  # noqa: B010


def deliver_fails_all() -> None:
    """deliver: whatever the verdict says, it is taken for a FAIL."""
    from detectors.verdict import Status
    from streams import deliver_agent
    from streams.wire import decode_verdict

    def always_fail(value: bytes) -> Any:
        return dataclasses.replace(decode_verdict(value), status=Status.FAIL)

    setattr(deliver_agent, "decode_verdict", always_fail)  # noqa: B010


def store_commits_first() -> None:
    """store: offsets are committed when messages are read, not when their rows are stored."""
    from streams import store_loop

    flush = store_loop.Store._flush

    def hasty(self: Any) -> None:
        self._uncommitted.update(self._batch.offsets)
        self._commit()
        flush(self)

    setattr(store_loop.Store, "_flush", hasty)  # noqa: B010


def judge_passes_gaps() -> None:
    """judge: what workers say about messages that are gone is not read."""
    from streams import judge

    setattr(judge, "enter", lambda *_: False)  # noqa: B010


def store_skips_errors() -> None:
    """store: an insert that failed is not made again."""
    from sinks.clickhouse import insert_columns
    from sinks.errors import Permanent, Retryable
    from streams import store

    def once(*given: Any, **named: Any) -> None:
        with contextlib.suppress(Permanent, Retryable):
            insert_columns(*given, **named)

    setattr(store, "insert_columns", once)  # noqa: B010

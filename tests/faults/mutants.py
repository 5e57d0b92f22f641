"""Roles with one guard removed: ``python -m tests.faults.mutants NAME ROLE --config FILE``.

A fault test that passes without its guard proves nothing. Each function here takes away what keeps
one promise, in a process of its own, and then runs the role as the command line does; the cell that
is about the promise must fail with it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import confluent_kafka

from streams import cli


def commits_first() -> None:
    """summarize: offsets are committed when messages are read, not with what came of them."""

    class Hasty(confluent_kafka.Consumer):
        def consume(self, *arguments: Any, **named: Any) -> list[confluent_kafka.Message]:
            messages = super().consume(*arguments, **named)
            read = [m for m in messages if m.error() is None and ".pairs" not in (m.topic() or "")]
            if read and self.memberid():
                last = {(m.topic() or "", m.partition() or 0): (m.offset() or 0) for m in read}
                places = [confluent_kafka.TopicPartition(t, p, o + 1) for (t, p), o in last.items()]
                self.commit(offsets=places, asynchronous=False)
            return messages

    setattr(confluent_kafka, "Consumer", Hasty)  # noqa: B010 - a class cannot be assigned to


def reads_from_start() -> None:
    """summarize: what was committed is not looked at."""
    from streams.positions import Positions

    def from_start(self: Any, places: list[Any]) -> list[Any]:
        for place in places:
            place.offset = 0
        return places

    setattr(Positions, "committed", from_start)  # noqa: B010


def forgets_the_clock() -> None:
    """summarize: the event time that a partition has reached is not committed with its offset."""
    from streams import summarizer

    setattr(summarizer, "encode_clock", lambda _: "")  # noqa: B010


def ignores_sigterm() -> None:
    """summarize: nobody asks whether to stop."""
    from streams import summarize

    def deaf() -> Callable[[], bool]:
        signal.signal(signal.SIGTERM, _nothing)
        return bool

    setattr(summarize, "stop_signals", deaf)  # noqa: B010


def long_timeouts() -> None:
    """summarize: what a dead worker leaves open stays open for long."""
    from streams import kafka

    setattr(kafka, "TRANSACTION_MS", 120_000)  # noqa: B010


def skips_silently() -> None:
    """summarize: what was deleted before it was read is passed over without a word."""
    from streams import summarizer

    setattr(summarizer.Summarizer, "lost", lambda *_: None)  # noqa: B010


def looks_once() -> None:
    """summarize: the partitions of a topic are those at the start."""
    _change_consumer({"topic.metadata.refresh.interval.ms": 3_600_000})


def reads_uncommitted() -> None:
    """summarize: records of transactions that were aborted are read as well."""
    _change_consumer({"isolation.level": "read_uncommitted"})


def _change_consumer(settings: dict[str, Any]) -> None:
    from streams import summarize
    from streams.kafka import input_consumer

    setattr(  # noqa: B010
        summarize, "input_consumer", lambda *given: {**input_consumer(*given), **settings}
    )


def keeps_whole_letters() -> None:
    """summarize: a dead letter keeps the whole message."""
    from sinks import dead_letters

    setattr(dead_letters, "MAX_BYTES", 2**31)  # noqa: B010


def gives_up() -> None:
    """summarize: a call of the broker that takes too long is the end."""
    from streams import output, positions

    setattr(positions, "patiently", lambda call, stop: call(5.0))  # noqa: B010
    setattr(output, "is_passing", lambda error: False)  # noqa: B010


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


def dies_at_refused_commit() -> None:
    """summarize, without transactions: offsets that are refused are the end."""
    from streams.output import Output

    def write(self: Any, records: Any, offsets: Any) -> bool:
        self._produce(records)
        self._producer.flush(30)
        if offsets:
            self._consumer.commit(offsets=list(offsets), asynchronous=False)
        return True

    setattr(Output, "write", write)  # noqa: B010


def sends_once() -> None:
    """summarize: what a broker does not take at once is not sent again."""
    from streams import summarize
    from streams.kafka import producer

    once = {"enable.idempotence": False, "message.send.max.retries": 0}
    setattr(summarize, "producer", lambda *given: {**producer(*given), **once})  # noqa: B010


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

    def hasty(self: Any, stop: Any) -> None:
        self._uncommitted.update(self._batch.offsets)
        self._commit()
        flush(self, stop)

    setattr(store_loop.Store, "_flush", hasty)  # noqa: B010


def _nothing(number: int, frame: object) -> None:
    """A signal that is not heard."""


MUTANTS: dict[str, Callable[[], None]] = {
    "commits-first": commits_first,
    "reads-from-start": reads_from_start,
    "reads-uncommitted": reads_uncommitted,
    "sends-once": sends_once,
    "skips-silently": skips_silently,
    "store-commits-first": store_commits_first,
    "deliver-acknowledges-first": deliver_acknowledges_first,
    "deliver-fails-all": deliver_fails_all,
    "deliver-forgets": forgets,
    "deliver-has-no-lease": has_no_lease,
    "deliver-new-keys": deliver_new_keys,
    "dies-at-refused-commit": dies_at_refused_commit,
    "forgets-the-clock": forgets_the_clock,
    "gives-up": gives_up,
    "ignores-sigterm": ignores_sigterm,
    "judge-acknowledges-first": judge_acknowledges_first,
    "judge-applies-twice": judge_applies_twice,
    "judge-counts-gaps": judge_counts_gaps,
    "judge-forgets": forgets,
    "judge-lets-in-early": judge_lets_in_early,
    "judge-has-no-lease": has_no_lease,
    "keeps-whole-letters": keeps_whole_letters,
    "long-timeouts": long_timeouts,
    "looks-once": looks_once,
}


def main() -> int:
    MUTANTS[sys.argv[1]]()
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())

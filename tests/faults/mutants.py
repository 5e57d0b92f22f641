"""Roles with one guard removed: ``python -m tests.faults.mutants NAME ROLE --config FILE``.

A fault test that passes without its guard proves nothing. Each function here takes away what keeps
one promise, in a process of its own, and then runs the role as the command line does; the cell that
is about the promise must fail with it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any

import confluent_kafka

from streams import cli
from tests.faults import results_mutants

_OUT_AFTER = 200
"""Messages that come before a client leaves some out."""


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

    setattr(summarizer, "encode_clock", lambda *_: "")  # noqa: B010


def ignores_sigterm() -> None:
    """summarize: nobody asks whether to stop."""
    from streams import summarize_role

    def deaf() -> Callable[[], bool]:
        signal.signal(signal.SIGTERM, _nothing)
        return bool

    setattr(summarize_role, "stop_signals", deaf)  # noqa: B010


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
    from streams import summarize_role
    from streams.kafka import input_consumer

    setattr(  # noqa: B010
        summarize_role, "input_consumer", lambda *given: {**input_consumer(*given), **settings}
    )


def keeps_whole_letters() -> None:
    """summarize: a dead letter keeps the whole message."""
    from sinks import dead_letters

    setattr(dead_letters, "MAX_BYTES", 2**31)  # noqa: B010


def gives_up() -> None:
    """summarize: a call of the broker that takes too long is the end; and since a worker that ends
    for a call that does not return is replaced, which helps as well, that is waited for."""
    from streams import output, positions

    waits_for_calls()
    setattr(positions, "patiently", lambda call, stop: call(5.0))  # noqa: B010
    setattr(output, "is_passing", lambda error: False)  # noqa: B010


def client_leaves_out() -> None:
    """summarize: its client leaves out two messages, once. A fault, no guard is removed."""

    class Careless(confluent_kafka.Consumer):
        seen = 0

        def consume(self, *arguments: Any, **named: Any) -> list[confluent_kafka.Message]:
            messages = super().consume(*arguments, **named)
            before, self.seen = self.seen, self.seen + len(messages)
            if before >= _OUT_AFTER or self.seen < _OUT_AFTER:
                return messages
            partition = messages[-1].partition()
            out = [m for m in messages if m.partition() == partition and m.error() is None][-2:]
            return [m for m in messages if m not in out]

    setattr(confluent_kafka, "Consumer", Careless)  # noqa: B010


def believes_the_client() -> None:
    """summarize: where no message comes for an offset, there is none; with a client that leaves
    some out."""
    from streams.holes import Holes

    client_leaves_out()
    setattr(Holes, "must_look_again", lambda *_: False)  # noqa: B010


def dies_at_refused_commit() -> None:
    """summarize, without transactions: offsets that are refused are the end."""
    from streams.output import Output

    def write(self: Any, records: Any, offsets: Any, _: Any) -> bool:
        self._produce(records)
        self._producer.flush(30)
        if offsets:
            self._consumer.commit(offsets=list(offsets), asynchronous=False)
        return True

    setattr(Output, "write", write)  # noqa: B010


def sends_once() -> None:
    """summarize: what a broker does not take at once is not sent again."""
    from streams import summarize_role
    from streams.kafka import producer

    once = {"enable.idempotence": False, "message.send.max.retries": 0}
    setattr(summarize_role, "producer", lambda *given: {**producer(*given), **once})  # noqa: B010


def keeps_groups_whole() -> None:
    """summarize: a group of a delta is one record, however large it is."""
    from streams import accumulate

    setattr(accumulate, "in_parts", lambda group, *_: [(group, 0)])  # noqa: B010


def answers_when_closing() -> None:
    """summarize: partitions that the group gives while the worker closes are taken, whatever was
    said about stopping."""
    from streams.summarize import Worker

    on_assign = Worker._on_assign

    def eager(self: Any, *given: Any) -> None:
        self._closing, self._stop = False, bool
        on_assign(self, *given)

    setattr(Worker, "_on_assign", eager)  # noqa: B010


def knows_by_content() -> None:
    """summarize: a message that says what another has said is taken for the same one."""
    from streams import summarizer

    take, seen = summarizer.Summarizer.take, set[Any]()

    def once(self: Any, messages: Any, now_ms: int) -> None:
        new = [each for each in messages if each.value() not in seen]
        seen.update(each.value() for each in messages)
        take(self, new, now_ms)

    setattr(summarizer.Summarizer, "take", once)  # noqa: B010


def _counts_to(end_of: Callable[[Any, Any], tuple[int, int]]) -> None:
    """``end_of`` the consumer and a place: where the partition ends, and to where it was read."""
    from streams.summarize import Worker

    def left(self: Any) -> dict[Any, int]:
        found = {}
        for place, intake in self._summarizer.intake.partitions.items():
            end, read_to = end_of(self._consumer, confluent_kafka.TopicPartition(*place))
            found[place] = max(end - max(read_to, intake.next_offset), 0)
        return found

    setattr(Worker, "_left", left)  # noqa: B010


def ends_where_it_can_read() -> None:
    """summarize: a partition ends where the first open transaction begins."""

    def end_of(consumer: Any, place: Any) -> tuple[int, int]:
        readable = consumer.get_watermark_offsets(place, timeout=10)[1]
        return readable, consumer.position([place])[0].offset

    _counts_to(end_of)


def reads_to_the_last_message() -> None:
    """summarize: a partition has been read to the last message in it, and not to what is behind."""
    _counts_to(lambda consumer, place: (consumer.get_watermark_offsets(place, cached=True)[1], 0))


def passes_new_topics() -> None:
    """summarize: a topic that was made again is read like one that is new."""
    from streams.positions import Beginning, Positions

    def quietly(self: Any, place: Any) -> Beginning:
        return Beginning(self._watermarks(place)[0])

    setattr(Positions, "_made_again", quietly)  # noqa: B010


def seeks_after_gaps() -> None:
    """summarize: after a gap a partition is sought in, and not assigned anew."""
    from streams.summarize import Worker

    rewind = Worker._rewind

    class Seeking:
        def __init__(self, consumer: Any) -> None:
            self._consumer = consumer

        def __getattr__(self, name: str) -> Any:
            return getattr(self._consumer, name)

        def assign(self, starts: list[Any]) -> None:
            for start in starts:
                self._consumer.seek(start)

    def seek(self: Any) -> None:
        consumer = self._consumer
        self._consumer = Seeking(consumer)
        rewind(self)
        self._consumer = consumer

    setattr(Worker, "_rewind", seek)  # noqa: B010


def takes_names_for_topics() -> None:
    """summarize: a topic is known by its name, and not by its id."""
    from streams import summarize_role
    from streams.epochs import NO_EPOCHS

    setattr(summarize_role, "source_of", lambda *_: NO_EPOCHS)  # noqa: B010


def waits_for_calls() -> None:
    """summarize: a call of a transaction is waited for until it returns."""
    from streams import output

    setattr(output, "bounded", lambda call, _: call())  # noqa: B010


def waits_for_answers() -> None:
    """summarize: a connection on which nothing is answered is kept for five minutes, and a call on
    it is waited for."""
    waits_for_calls()
    _change_consumer({"socket.timeout.ms": 300_000})


def _nothing(number: int, frame: object) -> None:
    """A signal that is not heard."""


MUTANTS: dict[str, Callable[[], None]] = {
    "answers-when-closing": answers_when_closing,
    "believes-the-client": believes_the_client,
    "client-leaves-out": client_leaves_out,
    "commits-first": commits_first,
    "deliver-acknowledges-first": results_mutants.deliver_acknowledges_first,
    "deliver-fails-all": results_mutants.deliver_fails_all,
    "deliver-forgets": results_mutants.forgets,
    "deliver-has-no-lease": results_mutants.has_no_lease,
    "deliver-new-keys": results_mutants.deliver_new_keys,
    "dies-at-refused-commit": dies_at_refused_commit,
    "ends-where-it-can-read": ends_where_it_can_read,
    "forgets-the-clock": forgets_the_clock,
    "gives-up": gives_up,
    "ignores-sigterm": ignores_sigterm,
    "judge-acknowledges-first": results_mutants.judge_acknowledges_first,
    "judge-applies-twice": results_mutants.judge_applies_twice,
    "judge-counts-gaps": results_mutants.judge_counts_gaps,
    "judge-restores-once": results_mutants.judge_restores_once,
    "judge-forgets": results_mutants.forgets,
    "judge-has-no-lease": results_mutants.has_no_lease,
    "judge-keeps-entries-whole": results_mutants.judge_keeps_entries_whole,
    "judge-lets-in-early": results_mutants.judge_lets_in_early,
    "judge-takes-names-for-topics": results_mutants.take_names_for_topics,
    "judge-passes-gaps": results_mutants.judge_passes_gaps,
    "keeps-groups-whole": keeps_groups_whole,
    "keeps-whole-letters": keeps_whole_letters,
    "knows-by-content": knows_by_content,
    "long-timeouts": long_timeouts,
    "looks-once": looks_once,
    "passes-new-topics": passes_new_topics,
    "reads-from-start": reads_from_start,
    "reads-to-the-last-message": reads_to_the_last_message,
    "reads-uncommitted": reads_uncommitted,
    "seeks-after-gaps": seeks_after_gaps,
    "results-stop-when-they-can": results_mutants.stop_when_they_can,
    "results-wait-for-answers": results_mutants.wait_for_answers,
    "sends-once": sends_once,
    "skips-silently": skips_silently,
    "store-commits-first": results_mutants.store_commits_first,
    "store-skips-errors": results_mutants.store_skips_errors,
    "takes-names-for-topics": takes_names_for_topics,
    "waits-for-answers": waits_for_answers,
    "waits-for-calls": waits_for_calls,
}


def main() -> int:
    MUTANTS[sys.argv[1]]()
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())

"""The role ``judge``: summaries in; windows, findings and verdicts out.

A Faust app: workers come and go, its state is in changelog-backed tables. See
:mod:`streams.judge_state` for the order of writing that makes a crash harmless.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import confluent_kafka
import faust
import structlog

from streams import evidence_kernels
from streams.changelog import acknowledged
from streams.clock import wall_ms
from streams.errors import UnavailableError
from streams.failpoints import reached
from streams.faust_app import (
    crash_on_failure,
    make_app,
    on_assignment,
    run_app,
    send_rows,
    table,
    topic,
)
from streams.internal_topics import (
    CLOCKS,
    CONFIGURATIONS,
    DELTAS,
    EVIDENCE,
    FINDINGS,
    INTERVALS,
    JUDGE,
    MODELS,
    REFERENCES,
    SUMMARIES,
    VERDICTS,
    WINDOWS,
    topic_specs,
)
from streams.judge_state import JudgeState, steps
from streams.judged_by import JudgedBy, encode_configuration
from streams.kafka import whole_topic_consumer
from streams.kafka_topics import ensure_topics
from streams.lease import Lease
from streams.metrics_port import metrics_port, new_registry
from streams.metrics_verdicts import JudgeMetrics
from streams.outputs import Outputs
from streams.pair_delta import PairDelta, decode_summaries
from streams.reference_book import ReferenceBook, encode_reference
from streams.wire import (
    Delta,
    Unreadable,
    encode_verdict,
    finding_rows,
    verdict_key,
)

if TYPE_CHECKING:
    from streams.config import Config

log = structlog.get_logger()

_REFERENCE_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Source:
    """What the judge reads: the full name of ``summaries``, and the id of the topic that it reads
    under it at present, "" where the broker has none."""

    topic: str = SUMMARIES
    topic_id: Callable[[], str] = str


class JudgeAgent:
    """What the agent does, apart from Faust. ``topics``: where results go, by short name;
    ``configuration_of``: the settings of a model as text, which its verdicts name."""

    def __init__(
        self,
        state: JudgeState,
        book: ReferenceBook,
        topics: Mapping[str, Any],
        clock_ms: Callable[[], int],
        metrics: JudgeMetrics | None = None,
        configuration_of: Callable[[str], str] = lambda _model: "",
        source: Source = Source(),
    ) -> None:
        self._source = source
        self._configuration_of = configuration_of
        self._described: set[str] = set()
        self._metrics = metrics
        self._state = state
        self._book = book
        self._topics = topics
        self._clock_ms = clock_ms

    async def take(self, partition: int, offset: int, value: bytes | None) -> None:
        """One record of ``summaries``."""
        began = time.monotonic()
        try:
            record = decode_summaries(value)
        except Unreadable as error:
            log.warning(
                "summaries record refused", partition=partition, offset=offset, why=str(error)
            )
            if self._metrics is not None:
                self._metrics.refused()
            return
        reached("judge.taken")
        number = await self._number(partition, offset)
        if isinstance(record, Delta):
            await self._know(record.reference)
            self._state.judge(partition, record.model)
        elif isinstance(record, PairDelta):
            self._state.judge(partition, record.model)
        elif not self._state.note_times(partition, record, number):
            return
        times = self._state.times(partition).of
        for judge, outputs in steps(self._state.judges(partition), record, times, number):
            await self._publish(partition, number, outputs)
            reached("judge.published")
            if self._metrics is not None:
                self._metrics.published(outputs)
            if outputs.late:
                log.warning("late events left out", model=judge.state.model, events=outputs.late)
            if judge.unwritten:
                await self._state.write(partition, judge, number, record, value or b"")
        await self._state.write_times(partition, number)
        reached("judge.written")
        if self._metrics is not None:
            newest = [clock.newest_ms for clock in times.values() if not clock.idle]
            seconds = time.monotonic() - began
            self._metrics.applied(partition, offset, seconds, newest, self._clock_ms())

    async def _number(self, partition: int, offset: int) -> int:
        """By which a record is known, whatever topics of that name there were before."""
        if await self._state.begin(partition, self._source.topic, self._source.topic_id()):
            log.error("topic made again", topic=self._source.topic, partition=partition)
            if self._metrics is not None:
                self._metrics.made_again()
        return self._state.number(partition, offset)

    async def _know(self, reference: str) -> None:
        """A worker used this reference, so it is in the topic: wait until we have read it too."""
        if not reference or self._book.by_id(reference) is not None:
            return
        loop = asyncio.get_running_loop()
        wait = functools.partial(self._book.wait_for, reference, _REFERENCE_WAIT_S)
        if await loop.run_in_executor(None, wait) is None:
            raise UnavailableError(
                f"reference {reference} is not in the topic",
                REFERENCES,
                "was the topic deleted? publish the reference again",
            )

    async def _publish(self, partition: int, number: int, outputs: Outputs) -> None:
        if outputs.empty:  # most records are deltas of open panes
            return
        sent: list[Awaitable[object]] = []
        for reference in outputs.learnt:
            self._book.put(reference)
            value = encode_reference(reference, self._clock_ms())
            sent.append(await self._topics[REFERENCES].send(key=reference.model, value=value))
            log.info("reference learnt", model=reference.model, reference=reference.id)
        sent += await send_rows(self._topics[WINDOWS], outputs.windows)
        sent += await send_rows(self._topics[FINDINGS], finding_rows(outputs.findings, number))
        described = self._undescribed(outputs)
        for name, value in described.items():
            sent.append(await self._topics[CONFIGURATIONS].send(key=name, value=value))
        await acknowledged(sent)
        self._described |= described.keys()
        # Verdicts last: whoever acts on one finds its findings published, and its configuration.
        await acknowledged(
            [
                await self._topics[VERDICTS].send(
                    key=verdict_key(verdict.release),
                    value=encode_verdict(verdict),
                    partition=partition,
                )
                for verdict in outputs.verdicts
            ]
        )
        for verdict in outputs.verdicts:
            log.info(
                "verdict",
                model=verdict.release.model,
                version=verdict.release.version,
                role=verdict.release.role.value,
                status=verdict.status.value,
            )

    def _undescribed(self, outputs: Outputs) -> dict[str, bytes]:
        """The configurations that the verdicts name and this process has not published yet."""
        return {
            verdict.configuration: encode_configuration(
                self._configuration_of(verdict.release.model), self._clock_ms()
            )
            for verdict in outputs.verdicts
            if verdict.configuration and verdict.configuration not in self._described
        }


def build(config: Config, book: ReferenceBook, metrics: JudgeMetrics | None = None) -> faust.App:
    """The app, ready to run."""
    kafka = config.kafka
    app = make_app(kafka, JUDGE)
    lease = Lease.watched()

    judged_by = JudgedBy(config)
    state = JudgeState(
        table(app, kafka, MODELS, lease),
        table(app, kafka, INTERVALS, lease),
        table(app, kafka, DELTAS, lease),
        table(app, kafka, EVIDENCE, lease),
        table(app, kafka, CLOCKS, lease),
        kafka.partitions,
        judged_by.settings,
        book.by_id,
        evidence_kernels.ready,
    )
    results = {
        n: topic(app, kafka, n) for n in (WINDOWS, FINDINGS, VERDICTS, REFERENCES, CONFIGURATIONS)
    }
    read = kafka.topic(SUMMARIES)
    source = Source(read, lambda: app.topic_ids.of(read))
    agent = JudgeAgent(state, book, results, wall_ms, metrics, judged_by.text, source)

    def changed(_: set[int]) -> None:
        """What is kept in memory is loaded again from the tables."""
        state.forget()
        if metrics is not None:
            metrics.forget()

    on_assignment(app, changed)

    @app.agent(topic(app, kafka, SUMMARIES), name="judge")
    async def judge(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            work = agent.take(message.partition, message.offset, message.value)
            await crash_on_failure(app, work)

    return app


def run(config: Config) -> int:
    """Run until SIGTERM. Returns the exit code."""
    ensure_topics(config.kafka, topic_specs(config.kafka))

    def make_consumer() -> confluent_kafka.Consumer:
        return confluent_kafka.Consumer(whole_topic_consumer(config.kafka, "references"))

    registry = new_registry()
    with (
        metrics_port(config.metrics, registry),
        ReferenceBook(make_consumer, config.kafka.topic(REFERENCES)) as book,
    ):
        book.wait_read()
        if config.summarize.compiled:
            evidence_kernels.warm_up()
        return run_app(build(config, book, JudgeMetrics(registry)))

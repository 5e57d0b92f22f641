"""The judge as it runs in a worker, on topics and tables that take everything at once.

Faust, its event loop and the network are left out; all that driftline does for a record is in: it
is decoded, the judge takes it in, and rows, verdicts, deltas, intervals and states are encoded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine

import confluent_kafka
import structlog

from bench.memory_part import Discarded, MemoryTable
from detectors.reference import Reference
from streams.changelog import Changelog
from streams.evidence_kernels import ready
from streams.internal_topics import FINDINGS, REFERENCES, VERDICTS, WINDOWS
from streams.judge import ModelSettings
from streams.judge_app import JudgeAgent
from streams.judge_state import JudgeState
from streams.reference_book import ReferenceBook
from streams.wire import Delta, Progress, encode


class Worker:
    """Of one model."""

    def __init__(self, reference: Reference, settings: ModelSettings) -> None:
        book = ReferenceBook(_no_consumer, REFERENCES)
        book.put(reference)
        tables = [Changelog(MemoryTable()) for _ in range(5)]
        models, intervals, deltas, evidence, clocks = tables
        state = JudgeState(
            models, intervals, deltas, evidence, clocks, 1, lambda _: settings, book.by_id, ready
        )
        self._topics = {name: Discarded() for name in (WINDOWS, FINDINGS, VERDICTS, REFERENCES)}
        # Every verdict is logged, and nobody reads it here.
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        self._agent = JudgeAgent(state, book, self._topics, lambda: 0)
        self._offset = 0

    def prepared(self, record: Delta | Progress) -> Callable[[], None]:
        """What is timed."""
        value, offset = encode(record), self._offset
        self._offset += 1
        return lambda: _run(self._agent.take(0, offset, value))

    def published(self, topic: str) -> int:
        """Messages so far."""
        return self._topics[topic].sent


def _run(work: Coroutine[object, None, None]) -> None:
    """To its end, which it comes to without waiting: a loop that is started for each record costs
    what Faust's, which runs on, does not."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError("something was waited for: the topics and tables here take all at once")


def _no_consumer() -> confluent_kafka.Consumer:
    raise RuntimeError("this book is filled by hand")

"""The processes whose memory is measured, with all that the real roles import and hold.

``python -m bench.memory_part summarize|judge FOLDER PANES MODELS`` prints one JSON object. Kafka
is left out: summarize reads messages from files and writes its records to one, the judge reads it.
What the judge's changelog tables hold in memory they hold here as well.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import itertools
import json
import logging
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import confluent_kafka
import structlog

from bench.events import START_MS
from bench.measure import resident_mb
from bench.memory_scene import Scene, read_blocks, read_references, write_blocks
from detectors.thresholds import ThresholdSettings
from streams.cardinality import Limits
from streams.changelog import Changelog
from streams.evidence_kernels import load, ready
from streams.inputs import InputFormat, InputSettings
from streams.internal_topics import FINDINGS, REFERENCES, SUMMARIES, VERDICTS, WINDOWS
from streams.judge import ModelSettings
from streams.judge_app import JudgeAgent
from streams.judge_state import JudgeState
from streams.kafka import KafkaSettings
from streams.reference_book import ReferenceBook
from streams.sampling import SampleSettings
from streams.standing import JudgeSettings
from streams.summarizer import Summarizer, SummarizeSettings
from streams.timeline import NEVER, TimeSettings

TOPIC = "predictions"
PARTITIONS = KafkaSettings().partitions


def summarize(scene: Scene, folder: Path) -> dict[str, Any]:
    """One worker with all models; flushes once a pane, and when its buffer is full."""
    references = read_references(folder)
    summarizer = Summarizer(
        [InputSettings(topic=TOPIC, format=InputFormat.JSON)],
        TimeSettings(),
        SummarizeSettings(),
        Limits(),
        SampleSettings(),
        references.get,
        PARTITIONS,
        "bench",
    )
    summarizer.intake.assign((TOPIC, 0), 1, NEVER, START_MS)
    idle = resident_mb()
    resident: list[float] = []
    offset = sent = deltas = 0
    cpu = 0.0
    for pane in range(scene.panes):
        for values in read_blocks(folder / f"messages-{pane}"):
            messages = [
                confluent_kafka.Message(TOPIC, 0, offset + i, value=value)
                for i, value in enumerate(values)
            ]
            offset += len(values)
            start = time.process_time()
            summarizer.take(messages, START_MS)
            records = summarizer.flush(START_MS, {}) if summarizer.full else []
            cpu += time.process_time() - start
            sent += _keep(records, folder)
        start = time.process_time()
        records = summarizer.flush(START_MS, {})
        summarizer.intake.clear()
        gc.collect(0)
        cpu += time.process_time() - start
        sent += _keep(records, folder)
        deltas += sum(1 for record in records if record.key is not None)
        resident.append(resident_mb())
    return {
        "idle_mb": idle,
        "resident_mb": resident,
        "peak_mb": resident_mb(peak=True),
        "cpu_us_per_event": cpu / offset * 1e6,
        "bytes_per_release_and_flush": sent / scene.releases / scene.panes,
    }


def _keep(records: list[Any], folder: Path) -> int:
    summaries = [(r.partition, r.value) for r in records if r.topic == SUMMARIES]
    if summaries:
        write_blocks(folder / "summaries", [[pair] for pair in summaries])
    return sum(len(value) for _, value in summaries)


class MemoryTable:
    """A table as Faust keeps it, whose changelog takes everything at once."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}

    def send_changelog(self, *record: Any, **serializers: Any) -> Awaitable[None]:
        del record, serializers
        return _acknowledged()

    def size(self) -> int:
        return sum(len(key) + len(value) for key, value in self.data.items())


class Discarded:
    """A topic that counts what is sent to it."""

    def __init__(self) -> None:
        self.sent = self.bytes = 0

    async def send(self, *, value: bytes, **place: Any) -> Awaitable[None]:
        del place
        self.sent += 1
        self.bytes += len(value)
        return _acknowledged()


@functools.cache
def _acknowledged() -> Awaitable[None]:
    """By Kafka, before anybody waits for it."""
    loop = asyncio.new_event_loop()
    done = loop.create_future()
    done.set_result(None)
    loop.close()
    return done


async def judge(scene: Scene, folder: Path) -> dict[str, Any]:
    """One judge with all models, with compiled kernels where numba is installed."""

    def no_consumer() -> confluent_kafka.Consumer:
        raise RuntimeError("this book is filled by hand")

    book = ReferenceBook(no_consumer, REFERENCES)
    for reference in read_references(folder).values():
        book.put(reference)
    own = ModelSettings(TimeSettings(), ThresholdSettings(), JudgeSettings())
    tables = [MemoryTable() for _ in range(5)]
    models, intervals, deltas, evidence, clocks = tables
    state = JudgeState(
        Changelog(models),
        Changelog(intervals),
        Changelog(deltas),
        Changelog(evidence),
        Changelog(clocks),
        PARTITIONS,
        lambda _: own,
        book.by_id,
        ready,
    )
    topics = {name: Discarded() for name in (WINDOWS, FINDINGS, VERDICTS, REFERENCES)}
    agent = JudgeAgent(state, book, topics, lambda: START_MS)
    compiled = load() is not None
    idle = resident_mb()
    resident: list[float] = []
    offsets = [0] * PARTITIONS
    cpu = slowest = 0.0
    records = 0
    after_windows: list[float] = []
    cpu_after_windows: list[float] = []
    for (record,) in read_blocks(folder / "summaries"):
        partition, value = record
        start = time.process_time()
        await agent.take(partition, offsets[partition], value)
        took = time.process_time() - start
        cpu, slowest = cpu + took, max(slowest, took)
        offsets[partition] += 1
        records += 1
        if records % 500 == 0:
            resident.append(resident_mb())
        if topics[VERDICTS].sent >= (len(after_windows) + 1) * scene.releases:
            after_windows.append(resident_mb())  # every release has closed one window more
            cpu_after_windows.append(cpu)
    resident.append(resident_mb())
    keys = scene.releases * scene.columns
    panes = TimeSettings().windows_ms[0] // TimeSettings().pane_ms
    lasting = [
        (after - before) / (keys * panes) * 1e6
        for before, after in itertools.pairwise(cpu_after_windows)
    ]
    return {
        "compiled": compiled,
        "idle_mb": idle,
        "resident_mb": resident,
        "after_windows_mb": after_windows,
        "peak_mb": resident_mb(peak=True),
        "cpu_s": cpu,
        "slowest_record_s": slowest,
        "records": records,
        "cpu_us_per_release_column_pane": cpu / (keys * scene.panes) * 1e6,
        "cpu_us_per_release_column_pane_by_window": lasting,
        "intervals": len(intervals.data),
        "intervals_table_mb": intervals.size() / 1e6,
        "models_table_mb": models.size() / 1e6,
        "findings_mb_sent": topics[FINDINGS].bytes / 1e6,
        "verdicts_sent": topics[VERDICTS].sent,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.memory_part")
    parser.add_argument("part", choices=("summarize", "judge"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("panes", type=int)
    parser.add_argument("models", type=int)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    scene = Scene(given.panes, given.models)
    if given.part == "summarize":
        figures = summarize(scene, given.folder)
    else:
        figures = asyncio.run(judge(scene, given.folder))
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()

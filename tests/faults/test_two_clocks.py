"""D5: two workers whose clocks are minutes apart. Verdicts are those of clocks that agree."""

from __future__ import annotations

import json
from typing import Final

import pytest

from detectors.canary_rules import CanarySettings
from detectors.drift_settings import DriftSettings
from detectors.thresholds import Against, Detector, Limit, ThresholdSettings
from detectors.verdict import Status
from streams.cardinality import Limits
from streams.evidence import EvidenceSettings
from streams.inputs import InputSettings
from streams.internal_topics import SUMMARIES
from streams.judge import ModelJudge, ModelSettings
from streams.model_state import ModelState
from streams.sampling import SampleSettings
from streams.standing import JudgeSettings
from streams.summarizer import Summarizer, SummarizeSettings
from streams.timeline import MINUTE, NEVER, PartitionTime, TimeSettings
from streams.wire import Delta, Progress, decode
from tests.faults.worker_line import message

NOW: Final = 1_700_000_000_000
TOPIC: Final = "events"
APART_MS: Final = 10 * MINUTE
TIME: Final = TimeSettings(pane_ms=1_000, windows_ms=(5_000,), out_of_orderness_ms=0)
LIMIT: Final = Limit(Detector.MEAN_WORSE, 0.2, "scores.*", Against.PRODUCTION, critical=True)


def event(at_ms: int, role: str, quality: float, number: int) -> bytes:
    return json.dumps(
        {
            "ts": NOW + at_ms + number,
            "model": "m",
            "version": "1" if role == "production" else "2",
            "role": role,
            "scores": {"quality": quality + 0.01 * (number % 5)},
        }
    ).encode()


def played(apart_ms: int, blind_after_ms: int, quality: float) -> list[tuple[str, Status]]:
    """Two workers, each with a partition: one has production, the other the canary. The first
    one's clock is ahead. Gives every verdict, by version."""
    workers = [
        Summarizer(
            (InputSettings(TOPIC),), TIME, SummarizeSettings(), Limits(), SampleSettings(),
            lambda _: None, 1, f"w{place}",
        )
        for place in range(2)
    ]  # fmt: skip
    for place, worker in enumerate(workers):
        worker.intake.assign((TOPIC, place), 2, NEVER, NOW)
    judge = ModelJudge(
        ModelState("m"),
        {},
        ModelSettings(
            TIME,
            ThresholdSettings(min_events=20, limits=(LIMIT,)),
            JudgeSettings(blind_after_ms=blind_after_ms, learn_events=0),
            EvidenceSettings(DriftSettings(enabled=False), CanarySettings(enabled=False)),
        ),
        lambda _: None,
        {},
    )
    times: dict[tuple[str, int], PartitionTime] = {}
    found: list[tuple[str, Status]] = []
    offset = 0
    for second in range(60):
        for place, (worker, role) in enumerate(zip(workers, ("production", "canary"), strict=True)):
            clock = NOW + second * 1_000 + (apart_ms if place == 0 else 0)
            score = 1.0 if role == "production" else quality
            bodies = [event(second * 1_000, role, score, i) for i in range(50)]
            messages = [message(second * 50 + i, each, place) for i, each in enumerate(bodies)]
            worker.take(messages, clock)
            for record in worker.flush(clock, {}):
                if record.topic != SUMMARIES:
                    continue
                offset += 1
                judge.begin()
                read = decode(record.value)
                if isinstance(read, Delta):
                    judge.delta(read, offset)
                    continue
                assert isinstance(read, Progress)
                for entry in read.partitions:
                    times[TOPIC, entry.partition] = PartitionTime(
                        entry.newest_ms, entry.idle, entry.partitions
                    )
                outputs = judge.progress(read, times, offset)
                found += [(v.release.version, v.status) for v in outputs.verdicts]
            worker.committed()
    return found


@pytest.mark.parametrize("quality", [1.0, 0.0], ids=["D5-good", "D5-bad"])
def test_clocks_apart_change_no_verdict(quality: float) -> None:
    right = played(0, 15 * MINUTE, quality)
    assert played(APART_MS, 15 * MINUTE, quality) == right
    assert (Status.PASS if quality else Status.FAIL) in {s for v, s in right if v == "2"}
    assert Status.BLIND not in {status for _, status in right}


@pytest.mark.parametrize("quality", [1.0, 0.0], ids=["D5-good-no-guard", "D5-bad-no-guard"])
def test_the_time_of_silence_must_be_longer_than_clocks_are_apart(quality: float) -> None:
    """Without the guard: ``blind_after`` is shorter than the clocks are apart."""
    blind = played(APART_MS, 5 * MINUTE, quality)
    assert Status.BLIND in {status for _, status in blind}

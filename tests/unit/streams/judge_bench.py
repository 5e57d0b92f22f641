"""A judge and the worker before it, for tests: events in, what is published out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast

import numpy as np
import pyarrow as pa
from confluent_kafka import Message

from detectors.canary_rules import CanarySettings
from detectors.drift_settings import DriftSettings
from detectors.finding import Finding
from detectors.reference import Reference, reference_from_table
from detectors.release import Role
from detectors.thresholds import Against, Detector, Limit, ThresholdSettings
from detectors.verdict import Status, Verdict
from streams.cardinality import Limits
from streams.evidence import EvidenceSettings
from streams.inputs import InputSettings
from streams.internal_topics import SUMMARIES
from streams.judge import ModelJudge, ModelSettings
from streams.model_state import (
    ModelState,
)
from streams.outputs import Outputs
from streams.sampling import SampleSettings
from streams.standing import JudgeSettings
from streams.summarizer import Summarizer, SummarizeSettings
from streams.timeline import NEVER, PartitionTime, TimeSettings
from streams.wire import Delta, Progress, Row, decode

TIME = TimeSettings(
    pane_ms=1_000, windows_ms=(5_000, 20_000), out_of_orderness_ms=0, allowed_lateness_ms=10_000
)
QUALITY = Limit(Detector.MEAN_WORSE, 0.2, "scores.*", Against.PRODUCTION, critical=True)
DRIFT = Limit(Detector.PSI, 0.25, "features.*")
THRESHOLDS = ThresholdSettings(min_events=20, limits=(QUALITY, DRIFT))
SETTINGS = JudgeSettings(
    blind_after_ms=60_000, retire_after_ms=600_000, confirm_fails=2, confirm_of=3, learn_events=0
)
LIMITS_ALONE = EvidenceSettings(DriftSettings(enabled=False), CanarySettings(enabled=False))
WALL_MS = 1_700_000_000_000


Event = dict[str, object]


def events(
    at_ms: int, n: int = 50, role: str = "production", quality: float = 1.0, x: float = 0.0
) -> list[Event]:
    """Events of the second from ``at_ms`` on."""
    rng = np.random.default_rng(at_ms)
    return [
        {
            "ts": WALL_MS + at_ms + i * 1_000 // n,
            "model": "m",
            "version": "1" if role == "production" else "2",
            "role": role,
            "scores": {"quality": quality + float(rng.normal(0, 0.1))},
            "features": {"x": x + float(rng.normal())},
        }
        for i in range(n)
    ]


class Bench:
    """A judge and the worker before it. ``wall_ms`` is the clock that is in the records."""

    def __init__(
        self,
        judge: JudgeSettings = SETTINGS,
        reference: Reference | None = None,
        thresholds: ThresholdSettings = THRESHOLDS,
        evidence: EvidenceSettings = LIMITS_ALONE,
    ) -> None:
        self.reference = reference
        self.known = {reference.id: reference} if reference else {}
        self.settings = ModelSettings(TIME, thresholds, judge, evidence)
        self.judge = ModelJudge(ModelState("m"), {}, self.settings, self.known.get, {})
        self.offset = 0
        self.wall_ms = WALL_MS
        self.newest_ms = NEVER
        self.windows: list[Row] = []
        self.findings: list[Finding] = []
        self.verdicts: list[Verdict] = []

    def give(self, some: Sequence[Event]) -> Outputs:
        """A delta of these events; no clock."""
        worker = Summarizer(
            (InputSettings("t"),),
            TIME,
            SummarizeSettings(),
            Limits(),
            SampleSettings(),
            lambda _: self.reference,
            1,
            "w",
        )
        worker.intake.assign(("t", 0), 1, NEVER, WALL_MS)
        lines = [json.dumps(event).encode() for event in some]
        messages = [Message("t", 0, i, value=line) for i, line in enumerate(lines)]
        worker.take(messages, WALL_MS)
        self.newest_ms = max(self.newest_ms, *(cast("int", event["ts"]) for event in some))
        outputs = Outputs()
        for record in worker.flush(self.wall_ms, {}):
            if record.topic == SUMMARIES and isinstance(delta := decode(record.value), Delta):
                self._begin()
                outputs = self.judge.delta(delta, self.offset)
        return outputs

    def clock(self, at_ms: int | None = None, **other: bool) -> Outputs:
        """The worker's clock: by default the newest event time; or ``at_ms``."""
        newest = self.newest_ms if at_ms is None else WALL_MS + at_ms
        times = {("t", 0): PartitionTime(newest, other.get("idle", False), 1)}
        if other.get("unheard"):
            times["t", 0] = PartitionTime(newest, False, 2)
        self._begin()
        outputs = self.judge.progress(Progress("w", self.wall_ms, ()), times, self.offset)
        self.windows += outputs.windows
        self.verdicts += outputs.verdicts
        return outputs

    def _begin(self) -> None:
        self.offset += 1
        self.judge.begin()

    def window(self, canary: float | None, at_ms: int, n: int = 50) -> None:
        """One window of production and canary, closed."""
        self.give(events(at_ms))
        if canary is not None:
            self.give(events(at_ms, n, "canary", canary))
        self.clock(at_ms + 5_000)

    def status(self, role: Role = Role.CANARY) -> Status:
        return next(v for v in reversed(self.verdicts) if v.release.role is role).status


def total(rows: Sequence[Row], length: int = 5_000) -> int:
    """Events in the store's windows: of each row the highest revision."""
    kept: dict[tuple[object, ...], Row] = {}
    for row in rows:
        if (row["column"], row["segment"], row["window_ms"]) == ("error", "all", length):
            key = (row["version"], row["role"], row["window_start"], row["reference"])
            kept[key] = row
    return sum(row["events"] for row in kept.values())


def reference(x: float = 0.0) -> Reference:
    values = np.random.default_rng(0).normal(x, 1, 2_000)
    return reference_from_table("m", pa.table({"features.x": values}), "a test")

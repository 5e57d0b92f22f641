"""Small made-up recordings of one model, and what a backtest makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from detectors.canary_rules import CanarySettings
from detectors.drift_settings import DriftSettings
from detectors.release import Release, Role
from detectors.thresholds import Against, Detector, Limit, ThresholdSettings
from streams.backtest import Policy, backtest
from streams.backtest_outcome import (
    Budget,
    PolicyOutcome,
    Truth,
)
from streams.config import Config
from streams.recorded import Columns, open_files
from streams.standing import JudgeSettings
from streams.timeline import DAY, MINUTE, TimeSettings

START_MS = 1_699_999_200_000
LATEST_MS = START_MS + 30 * DAY
BUDGET = Budget(1, 30 * DAY)
PANE_MS = 10_000
SECOND_MS = 1_000
GOOD, BAD = Release("m", "1", Role.PRODUCTION), Release("m", "2", Role.CANARY)
CONFIG = Config(
    time=TimeSettings(pane_ms=PANE_MS, windows_ms=(MINUTE,)),
    drift=DriftSettings(enabled=False),
    canary=CanarySettings(enabled=False),
    judge=JudgeSettings(confirm_fails=1, confirm_of=1, learn_events=100),
    detect=ThresholdSettings(
        min_events=20,
        limits=(
            Limit(Detector.MEAN_WORSE, 0.5, "scores.*", Against.PRODUCTION, critical=True),
            Limit(Detector.MEAN_WORSE, 0.5, "scores.*"),
        ),
    ),
)


def event(at_ms: int, release: Release, score: float) -> dict[str, object]:
    return {
        "ts": START_MS + at_ms,
        "model": release.model,
        "version": release.version,
        "role": release.role.value,
        "prediction": {"label": "yes"},
        "scores": {"s": score},
    }


def noise(at_ms: int) -> float:
    return 0.9 + 0.01 * (at_ms // SECOND_MS * 7 % 11)


def minutes(
    release: Release, first: int, last: int, bad_from: int | None = None
) -> Iterator[dict[str, object]]:
    """An event every second; from minute ``bad_from`` on with low scores."""
    for at_ms in range(first * MINUTE, last * MINUTE, SECOND_MS):
        low = bad_from is not None and at_ms >= bad_from * MINUTE
        yield event(at_ms, release, noise(at_ms) - (0.8 if low else 0.0))


def in_time(*streams: Iterable[Mapping[str, object]]) -> list[Mapping[str, object]]:
    merged = [each for stream in streams for each in stream]
    return sorted(merged, key=lambda each: (str(each["ts"]), str(each["version"])))


def write(path: Path, events: Iterable[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in events))
    return path


def replay(path: Path, truth: Truth, *configs: Config) -> Sequence[PolicyOutcome]:
    policies = [Policy(str(i), config) for i, config in enumerate(configs or (CONFIG,))]
    recording = open_files(path, Columns(), LATEST_MS)
    return backtest(recording, policies, [], truth, BUDGET).policies


def with_a_bad_canary(folder: Path) -> Path:
    """Production for ten minutes, and from the third on a canary with low scores."""
    return write(folder / "e.ndjson", in_time(minutes(GOOD, 0, 10), minutes(BAD, 3, 10, 0)))

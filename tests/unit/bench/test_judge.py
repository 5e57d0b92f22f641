"""The benchmark of the judge drives a real one."""

from __future__ import annotations

from bench.judge import Case, Drive, Pure, scene_of, settings_with
from bench.judge_worker import Worker
from detectors.canary_rules import CanarySettings
from detectors.drift_settings import DriftSettings
from streams.evidence import EvidenceSettings
from streams.internal_topics import FINDINGS, VERDICTS

CASE = Case("three", releases=3, columns=5, gate=None)


def test_a_minute_of_the_bench_closes_a_window_of_every_release() -> None:
    off = EvidenceSettings(DriftSettings(enabled=False), CanarySettings(enabled=False))
    scene = scene_of(CASE)
    judge = Pure(scene, off)
    drive = Drive(scene, judge)
    drive.minute()
    # Four numbers and a text, two tails and the failures; canaries are compared twice.
    each = 4 * 11 + 7 + 2 + 1
    assert judge.findings == each * (1 + 2 * (CASE.releases - 1))
    assert min(drive.deltas, drive.panes, drive.windows) > 0


def test_the_bench_of_a_worker_publishes_what_the_judge_finds() -> None:
    scene = scene_of(CASE)
    off = EvidenceSettings(DriftSettings(enabled=False), CanarySettings(enabled=False))
    worker = Worker(scene.reference, settings_with(off))
    Drive(scene, worker).minute()
    assert worker.published(VERDICTS) == CASE.releases
    assert worker.published(FINDINGS) > 0

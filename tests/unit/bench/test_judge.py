"""The benchmark of the judge drives a real one."""

from __future__ import annotations

from bench.judge import RELEASES, Drive, scene_of
from detectors.canary_rules import CanarySettings
from detectors.drift_settings import DriftSettings
from streams.evidence import EvidenceSettings


def test_a_minute_of_the_bench_closes_a_window_of_every_release() -> None:
    off = EvidenceSettings(DriftSettings(enabled=False), CanarySettings(enabled=False))
    drive = Drive(scene_of(5), off)
    drive.minute()
    # Four numbers and a text, two tails and the failures; canaries are compared twice.
    each = 4 * 11 + 7 + 2 + 1
    assert drive.findings == each * (1 + 2 * (RELEASES - 1))
    assert min(drive.deltas, drive.panes, drive.windows) > 0

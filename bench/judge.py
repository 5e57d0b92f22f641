"""What the judge costs for each key (a column of a release) and pane, split by its parts.

Deltas of one model, production and its canaries, go through :class:`streams.judge.ModelJudge` as
they do in the worker: one delta a second, panes of 10 s, windows of a minute, an hour and a day of
which the minute closes. What a pane costs whatever the releases is shared by all of them, so there
are models of two, four and twenty. Kafka, Faust and the changelog are left out of "classical" and
"evidence". "Worker" is the same with all that a worker does besides (:mod:`bench.judge_worker`):
records are decoded, results and what goes into the changelogs encoded. Per-part figures come from
the calls that the judge makes, timed one by one on the windows of the last minute. Evidence is
settled with compiled kernels where numba is installed, as the last line says.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from bench.events import START_MS, Shape, arrow_table, generate, reference_of
from bench.judge_worker import Worker
from bench.measure import Spread, report, show
from detectors.canary_rules import CanarySettings
from detectors.drift_settings import DriftSettings
from detectors.finding import Finding
from detectors.merging import merge_alike
from detectors.reference import Reference
from detectors.release import ALL, Release, Role
from detectors.summary import Summaries
from detectors.table import summarize_table
from detectors.thresholds import Against, Asked, Comparison, Place, ThresholdSettings, judge_all
from streams.evidence import EvidenceSettings
from streams.evidence_kernels import load, ready
from streams.figures import window_rows
from streams.judge import ModelJudge, ModelSettings
from streams.model_state import IntervalKey, ModelState
from streams.standing import JudgeSettings
from streams.timeline import PartitionTime, TimeSettings
from streams.wire import (
    Delta,
    Group,
    PartitionProgress,
    Progress,
    Row,
    encode_rows,
    finding_rows,
    pack,
)

MODEL = "fraud"
TOPIC = ("predictions", 0)
_REFERENCE_ROWS = 20_000
_PRODUCTION_ROWS = 950
"""A second."""
_CANARY_ROWS = 50
"""Of each canary a second: 5% of what it and production have."""
_SECONDS = 60
_WARM_UP_MINUTES = 10
"""A judge runs for weeks. Until then CPython still adapts code that runs once a window, and the
first minute makes what the later ones have."""
_WITHOUT_EVIDENCE = EvidenceSettings(DriftSettings(enabled=False), CanarySettings(enabled=False))
_TIME = TimeSettings()
_FLUSHES = _TIME.pane_ms // 1_000
_PANES = _TIME.windows_ms[0] // _TIME.pane_ms


@dataclass(frozen=True, slots=True)
class Case:
    """One production release and ``releases - 1`` canaries of ``canary_rows`` events a second;
    ``gate``: of microseconds per key and pane, everything that the judge does included."""

    name: str
    releases: int
    columns: int
    gate: float | None
    canary_rows: int = _CANARY_ROWS


CASES = (
    Case("two_releases", 2, 25, None),
    Case("even_split", 2, 25, None, _PRODUCTION_ROWS),
    Case("two_releases_of_100_columns", 2, 100, 20.0),
    Case("four_releases", 4, 25, 20.0),
    Case("twenty_releases", 20, 25, 20.0),
    Case("twenty_releases_of_50_columns", 20, 50, 20.0),
)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """``seconds``: what each release's events of one second add up to, in groups without a pane;
    of some seconds, so that the same numbers do not come again and again."""

    case: Case
    reference: Reference
    seconds: tuple[tuple[Group, ...], ...]
    windows: tuple[Summaries, ...]
    """A minute of each release, production first."""

    @property
    def keys(self) -> int:
        return self.case.releases * self.case.columns


def scene_of(case: Case) -> Scene:
    columns = case.columns
    shape = Shape(numeric=columns * 4 // 5, text=columns - columns * 4 // 5)
    reference = reference_of(generate(_REFERENCE_ROWS, 7, shape), MODEL)
    seconds: list[list[Group]] = [[] for _ in range(_SECONDS)]
    windows: list[Summaries] = []
    for number in range(case.releases):
        minute: Summaries | None = None
        for at in range(_SECONDS):
            rows = case.canary_rows if number else _PRODUCTION_ROWS
            table = arrow_table(generate(rows, 100 * at + number, shape))
            table = table.drop_columns(["ts", "model", "version", "role"])
            second = summarize_table(table, reference)
            seconds[at].append(Group(str(number), _role(number), ALL, 0, pack(second)))
            minute = minute.merge(second) if minute is not None else second
        if minute is not None:
            windows.append(minute)
    return Scene(case, reference, tuple(map(tuple, seconds)), tuple(windows))


def _role(number: int) -> Role:
    return Role.CANARY if number else Role.PRODUCTION


class Pure:
    """The judge of one model alone, given records as they are decoded."""

    def __init__(self, scene: Scene, evidence: EvidenceSettings) -> None:
        known = {scene.reference.id: scene.reference}
        state = ModelState(MODEL, reference=scene.reference.id)
        self._judge = ModelJudge(state, {}, settings_with(evidence), known.get, {}, ready)
        self._offset = 0
        self.findings = 0

    def prepared(self, record: Delta | Progress) -> Callable[[], None]:
        """What is timed. Checkpoints are not: they only let go of panes, as a worker's do, and what
        it costs to encode them is the worker's."""
        if self._judge.evidence.due():
            self._judge.evidence.checkpoint()
        self._offset += 1
        return lambda: self._take(record)

    def _take(self, record: Delta | Progress) -> None:
        self._judge.begin()
        if isinstance(record, Delta):
            self._judge.delta(record, self._offset)
        else:
            times = {
                (p.topic, p.partition): PartitionTime(p.newest_ms, p.idle, p.partitions)
                for p in record.partitions
            }
            self.findings += len(self._judge.progress(record, times, self._offset).findings)


class Drive:
    """Feeds a judge in the order in which a worker's records come. Seconds of CPU are kept apart
    for deltas, for panes that close and for windows that close."""

    def __init__(self, scene: Scene, judge: Pure | Worker) -> None:
        self._judge = judge
        self._columns = tuple(spec.key for spec in scene.windows[0].layout.columns)
        self._scene = scene
        self._flush = 0
        self._at_ms = START_MS - START_MS % _TIME.windows_ms[0]
        self.deltas = self.panes = self.windows = 0.0

    def minute(self) -> None:
        """All panes of one window of a minute."""
        for _ in range(_PANES):
            for second in range(_FLUSHES):
                self.deltas += _seconds(self._judge.prepared(self._delta(second)))
            self._at_ms += _TIME.pane_ms
            spent = _seconds(self._judge.prepared(self._clock()))
            if self._at_ms % _TIME.windows_ms[0]:
                self.panes += spent
            else:
                self.windows += spent

    def _delta(self, second: int) -> Delta:
        self._flush += 1
        some = self._scene.seconds[self._flush * 7 % _SECONDS]
        groups = tuple(msgspec.structs.replace(each, pane_ms=self._at_ms) for each in some)
        wall_ms = self._at_ms + second * 1_000
        reference = self._scene.reference.id
        return Delta("bench", MODEL, reference, self._columns, (TOPIC[0],), wall_ms, groups)

    def _clock(self) -> Progress:
        """The watermark passes the end of the pane."""
        newest_ms = self._at_ms + _TIME.out_of_orderness_ms
        partition = PartitionProgress(*TOPIC, 1, newest_ms, False, 0, 0, 0, 0, 0, 0, 0)
        return Progress("bench", self._at_ms, (partition,))


def settings_with(evidence: EvidenceSettings) -> ModelSettings:
    """All others are the defaults."""
    return ModelSettings(_TIME, ThresholdSettings(), JudgeSettings(), evidence)


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def run(quick: bool) -> str:
    """Microseconds of CPU per key and pane; the table, and the last line."""
    rounds = 9 if quick else 27
    compiled = load() is not None
    figures: dict[str, Any] = {}
    gates: dict[str, dict[str, Any]] = {}
    for case in CASES:
        scene = scene_of(case)
        line, parts = _line(scene, rounds), _parts(scene, rounds)
        for title, found in (("pane of 10 s", line), ("window of a minute", parts)):
            show(
                f"The judge, {case.releases} releases x {case.columns} columns ({case.name})",
                (f"per key and {title}", "us"),
                [[name, str(spread)] for name, spread in found.items()],
            )
        figures[case.name] = {
            part: {name.replace(" ", "_"): spread.fields() for name, spread in found.items()}
            for part, found in (("us_per_key_and_pane", line), ("us_per_key_and_window", parts))
        }
        if case.gate is not None:
            in_all = line["evidence: in all"].median
            gates[case.name] = {"gate_us": case.gate, "passed": in_all <= case.gate}
    passed = all(gate["passed"] for gate in gates.values())
    form = "quick" if quick else "full"
    said = {"compiled": compiled, "gates": gates, "passed": passed}
    return report("judge", form, {**figures, **said})


def _line(scene: Scene, rounds: int) -> dict[str, Spread]:
    """The judge as a whole, with and without evidence, and as a worker has it."""
    found: dict[str, Spread] = {}
    everything = settings_with(EvidenceSettings())
    bare = settings_with(_WITHOUT_EVIDENCE)
    judges: dict[str, Pure | Worker] = {
        "classical": Pure(scene, _WITHOUT_EVIDENCE),
        "evidence": Pure(scene, EvidenceSettings()),
        "worker, classical": Worker(scene.reference, bare),
        "worker, evidence": Worker(scene.reference, everything),
    }
    for name, judge in judges.items():
        drive = Drive(scene, judge)
        for _ in range(_WARM_UP_MINUTES):
            drive.minute()
        spent: list[tuple[float, float, float]] = []
        gc.collect()
        for _ in range(rounds):
            drive.deltas = drive.panes = drive.windows = 0.0
            drive.minute()
            spent.append((drive.deltas, drive.panes, drive.windows))
        a_key = 1e6 / (scene.keys * _PANES)
        deltas, panes, windows = (
            Spread.of(part).scaled(a_key) for part in zip(*spent, strict=True)
        )
        found |= {
            f"{name}: deltas merged ({_FLUSHES} a pane)": deltas,
            f"{name}: panes closed": panes,
            f"{name}: a window a minute closed": windows,
            f"{name}: in all": Spread.of([sum(part) for part in spent]).scaled(a_key),
        }
    return found


def _parts(scene: Scene, rounds: int) -> dict[str, Spread]:
    """What the judge calls when a window closes, one by one. A canary has one row and two
    comparisons a column; the hour and the day add a sixtieth and less."""
    rows: list[Row] = []
    findings: list[list[Finding]] = [[], []]
    key = IntervalKey(_TIME.windows_ms[0], START_MS, "1", Role.CANARY, ALL)
    place = Place(Release(MODEL, "1", Role.CANARY), ALL, key.length_ms, key.start_ms, 0)
    settings = ThresholdSettings()

    def compare(windows: list[Summaries], at: int) -> None:
        side = (scene.reference.summaries, windows[0])[at]
        kind = (Against.REFERENCE, Against.PRODUCTION)[at]
        asked = [Asked(Comparison(window, side, "x", kind), place) for window in windows[1:]]
        for found in judge_all(settings, asked):
            findings[at] += found

    spent: dict[str, list[float]] = {}
    for _ in range(rounds):
        rows.clear()
        for found in findings:
            found.clear()
        # As new ones, so that nothing is remembered of them.
        windows = [replace(window) for window in scene.windows]
        for name, work in (
            ("rows", lambda: _rows(rows, place.release, key, windows)),  # noqa: B023
            ("statistics against the reference", lambda: compare(windows, 0)),  # noqa: B023
            ("statistics against production", lambda: compare(windows, 1)),  # noqa: B023
            ("rows encoded", lambda: encode_rows(rows)),
            (
                "findings of one comparison encoded",
                lambda: encode_rows(finding_rows(findings[0], 1)),
            ),
        ):
            spent.setdefault(name, []).append(_seconds(work))
    # Each with itself: what a pane's deltas and a window's panes are.
    canaries = scene.case.releases - 1
    runs = [[window] * 3 for window in scene.windows[1:]]
    spent["one merge"] = [
        _seconds(lambda: merge_alike(runs)) / (2 * len(runs)) * canaries for _ in range(rounds)
    ]
    keys = scene.case.columns * canaries
    return {name: Spread.of(figures).scaled(1e6 / keys) for name, figures in spent.items()}


def _rows(rows: list[Row], release: Release, key: IntervalKey, windows: list[Summaries]) -> None:
    for window in windows[1:]:
        rows += window_rows(release, key, window, 0, 1)

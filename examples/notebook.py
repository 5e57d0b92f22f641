"""driftline's detectors without driftline: no Kafka, no configuration, plain data frames.

Run it (``python -m examples.notebook``), or open it in an editor that knows ``# %%`` cells. It
takes the samples beside it: loan decisions whose applicants change on 31 March 2019, and the
answers of two versions of GPT-4 to the same questions.
"""

from __future__ import annotations

# %% A reference, and one call to compare
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from detectors.drift_settings import DAY_MS, DriftSettings, FalseAlarms
from detectors.frames import DriftAlarm, follow_canary, follow_drift, follow_online, panes
from detectors.online_rules import Method, OnlineSettings, OnlineWatch
from detectors.reference import Reference
from detectors.table import compare, reference_of, summarize_table

HERE = Path(__file__).parent
TIME = "recorded_at"
QUESTION_MS = 9_000


def compared(normal: Reference, later: Any) -> None:
    """Every column by the statistic that most people know."""
    for column in compare(normal, summarize_table(later, normal)):
        name = column.column.removeprefix("features.")
        print(f"  {name:32} PSI {column.psi:5.2f}  {_way(column.direction)}")


# %% Drift, day by day: when would it have been found, with one false alarm in 100 days?
def drifted(normal: Reference, before: Any, later: Any) -> None:
    settings = DriftSettings(FalseAlarms(1, 100 * DAY_MS))
    history = panes(before, normal, time=TIME, pane_ms=DAY_MS)
    stream = panes(later, normal, time=TIME, pane_ms=DAY_MS)
    found = follow_drift(normal, stream, settings, history)
    first: dict[str, DriftAlarm] = {}
    for alarm in found.alarms:
        first.setdefault(alarm.column, alarm)
    for alarm in first.values():
        print(f"  {_day(alarm.at_ms)} {alarm.column}: {_way(alarm.direction)}; {alarm.size}")
        print(f"             evidence since {_day(alarm.onset_ms)}; {alarm.basis.value}")


# %% What ADWIN would have said, without a budget
def watched_by_adwin(normal: Reference, later: Any) -> None:
    settings = OnlineSettings((OnlineWatch(Method.ADWIN),))
    stream = panes(later, normal, time=TIME, pane_ms=DAY_MS)
    for at_ms, detector, column in follow_online(normal, stream, settings).alarms:
        print(f"  {_day(at_ms)} {column}: {detector}")


# %% A canary: the new version beside the old one, question by question
def released(answers: Any) -> None:
    asked = answers.filter(pc.equal(answers["segments.dataset"], "OPINIONQA"))
    asked = asked.drop_columns(["segments.dataset", "scores.usable_code"])
    arms = {version: _arm(asked, version) for version in ("gpt-4-0314", "gpt-4-0613")}
    normal = reference_of(arms["gpt-4-0314"])
    old, new = (panes(arm, normal, time=TIME, pane_ms=60_000) for arm in arms.values())
    verdict = follow_canary(new, old, reference=normal)
    print(f"  {verdict.status}, roll back: {verdict.roll_back}")
    for part in verdict.reason.split("; "):
        print(f"    {part}")


def _arm(asked: Any, version: str) -> Any:
    own = asked.filter(pc.equal(asked["version"], version))
    times = pc.multiply(own["question"].cast(pa.int64()), QUESTION_MS).cast(pa.timestamp("ms"))
    return own.drop_columns(["question", "version"]).append_column(TIME, times)


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")


def _way(direction: str) -> str:
    return direction or "nothing moved"


def main() -> None:
    before = pq.read_table(HERE / "car_loan_reference.parquet")
    later = pq.read_table(HERE / "car_loan_analysis.parquet")
    normal = reference_of(before, model="car-loan", origin="car_loan_reference.parquet")
    print("The later loans against the reference, as a whole:")
    compared(normal, later)
    print("Drift, day by day (about 41 loans a day):")
    drifted(normal, before, later)
    print("ADWIN on the daily means:")
    watched_by_adwin(normal, later)
    print("gpt-4-0613 as a canary beside gpt-4-0314:")
    released(pq.read_table(HERE / "llmdrift.parquet"))


if __name__ == "__main__":
    main()

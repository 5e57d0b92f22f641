"""One checker for all cells: what was sent against what came of it.

It reads the producer's log, the topics, and where a cell has them the store and the log of the
deployer, and names what is wrong as Jepsen does:

- ``lost``, ``duplicate``: events (or dead letters, rows of the store) that are missing, or counted
  more often than they were sent;
- ``gap``, ``overlap``: offsets that no entry of the ledger has, or that two have;
- ``content``: summaries that differ from those of the same events without any fault, bit for bit;
- ``miscounted``: the ledger's late or dead rows are not what the log says;
- ``double-rollback``, ``missed-rollback``, ``false-rollback``: executed at the deployer;
- ``unsaid``: messages are missing, and no verdict says so;
- ``stuck``: not everything was read and judged in time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from confluent_kafka import Message

from detectors.reference import layout_for
from detectors.release import ALL
from detectors.summary import Summaries
from streams.cardinality import Limits
from streams.inputs import InputSettings
from streams.internal_topics import SUMMARIES
from streams.sampling import SampleSettings
from streams.summarizer import Summarizer, SummarizeSettings
from streams.timeline import TimeSettings
from streams.wire import Delta, decode, unpack
from tests.faults.topic_reading import Read
from tests.faults.traffic import (
    LATENESS_MS,
    OUT_OF_ORDERNESS_MS,
    PANE_MS,
    Expected,
    ProducerLog,
)

INVARIANTS: Final = (
    "lost",
    "duplicate",
    "gap",
    "overlap",
    "content",
    "miscounted",
    "double-rollback",
    "missed-rollback",
    "false-rollback",
    "unsaid",
    "stuck",
)


@dataclass(slots=True)
class Report:
    """How often each invariant was broken in one run of a cell, and the first examples."""

    broken: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    events: int = 0
    kills: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, invariant: str, count: int, what: str) -> None:
        if invariant not in INVARIANTS:
            raise ValueError(f"{invariant} is no invariant")
        if count > 0:
            self.broken[invariant] += count
            if len(self.examples) < 12:
                self.examples.append(f"{invariant}: {what}")

    def and_then(self, later: Report) -> Report:
        """What this run and a later one have found together."""
        return Report(
            self.broken + later.broken,
            [*self.examples, *later.examples],
            self.events + later.events,
            self.kills + later.kills,
            [*self.notes, *later.notes],
        )

    def compare(self, what: str, wanted: Mapping[Any, int], found: Mapping[Any, int]) -> None:
        """Counts by any key: too few are lost, too many duplicate."""
        for key in sorted(wanted.keys() | found.keys(), key=repr):
            difference = found.get(key, 0) - wanted.get(key, 0)
            self.add("lost", -difference, f"{what} {key}: {-difference} of {wanted.get(key, 0)}")
            self.add("duplicate", difference, f"{what} {key}: {difference} too many")

    def __str__(self) -> str:
        said = ", ".join(f"{name}={self.broken[name]}" for name in INVARIANTS)
        return f"{self.events} events, {self.kills} kills: {said}"


# --- summaries -----------------------------------------------------------------------------------

Group = tuple[str, str, str, str, int]
"""Model, version, role, segment, pane."""


def merged(values: Iterable[bytes | None]) -> dict[Group, Summaries]:
    """What the records of ``summaries`` add up to. Pairs and clocks are passed over."""
    found: dict[Group, Summaries] = {}
    for value in values:
        try:
            delta = decode(value)
        except ValueError:
            continue
        if not isinstance(delta, Delta):
            continue
        layout = layout_for(None, delta.columns)
        for group in delta.groups:
            key = (delta.model, group.version, group.role.value, group.segment, group.pane_ms)
            some = unpack(group.summaries, layout)
            known = found.get(key)
            found[key] = known.merge(some) if known else some
    return found


def canonical(summaries: Summaries) -> dict[str, Any]:
    """Every figure, by name: columns may stand in another order."""
    figures: dict[str, Any] = {"events": summaries.events}
    layout = summaries.layout
    for index, spec in enumerate(layout.columns):
        start = layout.starts[spec.key]
        figures[f"{spec.name}/{spec.kind.value}"] = (
            summaries.vector[start : start + spec.width].tolist(),
            summaries.extremes[:, index].tolist(),
        )
    for name, sketch in summaries.sketches.items():
        figures[f"{name}/sketch"] = (sketch.keys.tolist(), sketch.counts.tolist())
    for name, counts in summaries.categories.items():
        figures[f"{name}/categories"] = (dict(counts.counts), counts.other)
    return figures


def undisturbed(log: ProducerLog, topic: str, now_ms: int) -> dict[Group, Summaries]:
    """What one summarizer makes of the same messages, each partition after the other."""
    time = TimeSettings(
        pane_ms=PANE_MS,
        windows_ms=(5 * PANE_MS,),
        out_of_orderness_ms=OUT_OF_ORDERNESS_MS,
        allowed_lateness_ms=LATENESS_MS,
    )
    summarizer = Summarizer(
        (InputSettings(topic),),
        time,
        SummarizeSettings(),
        Limits(),
        SampleSettings(),
        lambda _: None,
        1,
        "checker",
    )
    values: list[bytes | None] = []
    for partition, messages in log.messages.items():
        summarizer.intake.assign((topic, partition), len(log.messages), -(2**62), now_ms)
        some = [Message(topic, partition, i, value=sent.body) for i, sent in enumerate(messages)]
        summarizer.take(some, now_ms)
    records = summarizer.flush(now_ms, {})
    values += [record.value for record in records if record.topic == SUMMARIES]
    return merged(values)


def check_summaries(
    report: Report,
    log: ProducerLog,
    topic: str,
    records: Sequence[Read],
    now_ms: int,
    missing: Mapping[int, range] | None = None,
) -> None:
    """Counts against the log, and every figure against a run without faults."""
    expected = log.expected(missing)
    report.events += expected.events.total()
    found = merged(record.value for record in records)
    events = {
        (model, version, pane): summaries.events
        for (model, version, _, segment, pane), summaries in found.items()
        if segment == ALL
    }
    report.compare("pane", expected.events, events)
    if missing:
        return
    wanted = undisturbed(log, topic, now_ms)
    for key in sorted(wanted.keys() | found.keys()):
        theirs = canonical(found[key]) if key in found else {}
        ours = canonical(wanted[key]) if key in wanted else {}
        report.add("content", int(ours != theirs), f"the figures of {key} differ")


# --- the ledger and the dead letters -------------------------------------------------------------


def check_ledger(
    report: Report,
    expected: Expected,
    ends: Mapping[int, int],
    rows: Sequence[Mapping[str, Any]],
    topic: str,
    missing: Mapping[int, range] | None = None,
    gaps: bool = False,
) -> None:
    """Each offset stands in the ledger once, and the sums are those of the log. ``gaps``: offsets
    that no message has are in the topic, those of aborted records."""
    by_partition: dict[int, list[tuple[int, int]]] = defaultdict(list)
    sums: Counter[str] = Counter()
    for row in rows:
        if row["topic"] != topic:
            continue
        by_partition[row["partition"]].append((row["first_offset"], row["last_offset"]))
        for name in ("messages", "events", "dead", "late", "capped"):
            sums[name] += row[name]
    for partition, end in ends.items():
        next_offset = 0
        gone = (missing or {}).get(partition, range(0))
        for low, high in sorted(by_partition[partition]):
            if next_offset == gone.start and len(gone):
                next_offset = gone.stop
            if gaps:
                next_offset = max(next_offset, low)
            where = f"{topic}[{partition}] at {low}"
            report.add("gap", low - next_offset, f"{where}, expected {next_offset}")
            report.add("overlap", next_offset - low, f"{where}, expected {next_offset}")
            next_offset = max(next_offset, high + 1)
        if not gaps:
            where = f"{topic}[{partition}] ends at {next_offset} of {end}"
            report.add("gap", end - next_offset, where)
    wanted = {
        "messages": expected.messages,
        "events": expected.events.total(),
        "dead": expected.dead.total(),
        "late": expected.late_rows,
        "capped": 0,
    }
    for name, count in wanted.items():
        off = abs(sums[name] - count)
        report.add("miscounted", off, f"ledger has {sums[name]} {name}, the log {count}")


def check_dead_letters(
    report: Report, expected: Expected, records: Sequence[Read], topic: str
) -> None:
    """Each dead letter is there once."""
    addresses: Counter[tuple[int, int, int]] = Counter()
    for record in records:
        for row in msgspec.json.decode(record.value or b'{"rows": []}')["rows"]:
            if row["topic"] == topic:
                addresses[row["partition"], row["offset"], row["row"]] += 1
    messages: Counter[tuple[int, int]] = Counter()
    for (partition, offset, _), times in addresses.items():
        messages[partition, offset] += times
    report.compare("dead letter", expected.dead, messages)


# --- windows, and what follows from them ---------------------------------------------------------


def check_windows(
    report: Report, expected: Expected, rows: Iterable[Mapping[str, Any]], window_ms: int
) -> None:
    """The newest revision of each window counts what was sent in it."""
    newest: dict[tuple[str, str, int], tuple[int, int]] = {}
    for row in rows:
        if (row["segment"], row["column"], row["window_ms"]) != (ALL, "error", window_ms):
            continue
        key = (row["model"], row["version"], row["window_start"])
        stamp = (row["revision"], row["events"])
        newest[key] = max(newest.get(key, stamp), stamp)
    wanted: Counter[tuple[str, str, int]] = Counter()
    last = max(pane for _, _, pane in expected.events)
    for (model, version, pane), count in expected.events.items():
        start = pane - pane % window_ms
        if start + window_ms <= last:  # the last ones never close: nothing comes after them
            wanted[model, version, start] += count
    report.compare("window", wanted, {key: events for key, (_, events) in newest.items()})


def check_rollbacks(report: Report, executed: int, wanted: int) -> None:
    """What the deployer's log says it did."""
    if wanted:
        report.add("missed-rollback", wanted - executed, f"{executed} of {wanted} executed")
        report.add("double-rollback", executed - wanted, f"{executed} executed, {wanted} wanted")
    else:
        report.add("false-rollback", executed, f"{executed} executed, none wanted")

"""The order of messages in a partition is all that counts: not batches, workers, flushes, crashes.

The summarizer and the judge run here as they do in their roles, on a Kafka made of lists.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import confluent_kafka
import msgspec
import numpy as np
import pyarrow as pa
import pytest
import structlog
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from detectors.canary_rules import CanarySettings
from detectors.drift_settings import DriftSettings, FalseAlarms
from detectors.pairs import PairCounts
from detectors.reference import Reference, reference_from_table
from detectors.release import Role
from detectors.thresholds import Against, Detector, Limit, ThresholdSettings
from streams.cardinality import Limits
from streams.changelog import Changelog
from streams.evidence import EvidenceSettings
from streams.inputs import InputSettings
from streams.intake import Place
from streams.internal_topics import (
    CONFIGURATIONS,
    FINDINGS,
    REFERENCES,
    SUMMARIES,
    VERDICTS,
    WINDOWS,
)
from streams.judge import ModelSettings
from streams.judge_app import JudgeAgent
from streams.judge_state import JudgeState
from streams.judged_by import configuration_name
from streams.model_state import decode_state
from streams.pair_delta import encode_pairs, pair_deltas
from streams.reference_book import ReferenceBook, decode_reference
from streams.sampling import SampleSettings
from streams.standing import JudgeSettings
from streams.summarizer import Summarizer, SummarizeSettings
from streams.timeline import TimeSettings
from streams.wire import Row

TOPIC = "predictions"
BASE_MS = 1_700_000_000_000 - 1_700_000_000_000 % 60_000
TIME = TimeSettings(
    pane_ms=1_000,
    windows_ms=(5_000, 20_000),
    out_of_orderness_ms=500,
    allowed_lateness_ms=10_000,
    idle_timeout_ms=3_600_000,
)
THRESHOLDS = ThresholdSettings(
    min_events=3,
    limits=(
        Limit(Detector.MEAN_WORSE, 0.2, "scores.*", Against.PRODUCTION, critical=True, z=0.0),
        Limit(Detector.PSI, 0.25, "features.*", z=0.0),
        Limit(Detector.ERROR_RATE, 0.01, "error", Against.PRODUCTION, z=0.0),
    ),
)
EVIDENCE = EvidenceSettings(
    DriftSettings(FalseAlarms(1, 60_000), min_reference_rows=10, min_events=10, roles=tuple(Role)),
    CanarySettings(min_events=20, fix_events=10),
)
JUDGE = JudgeSettings(blind_after_ms=3_600_000, retire_after_ms=7_200_000, learn_events=0)
LEARNING = JudgeSettings(blind_after_ms=3_600_000, retire_after_ms=7_200_000, learn_events=40)

Log = Mapping[Place, Sequence[bytes]]
"""The messages of each partition."""


# --- a Kafka made of lists -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """A message, with the methods of confluent-kafka's that the summarizer calls."""

    place: Place
    at: int
    body: bytes

    def topic(self) -> str:
        return self.place[0]

    def partition(self) -> int:
        return self.place[1]

    def offset(self) -> int:
        return self.at

    def value(self) -> bytes:
        return self.body

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, BASE_MS


class Died(Exception):
    """The judge's process was killed at this write."""


@dataclass
class Disk:
    """What survives the judge. ``left``: how many writes until it dies (None: it lives on)."""

    left: int | None = None
    published: dict[str, list[tuple[bytes | None, bytes]]] = field(default_factory=dict)
    tables: dict[str, dict[bytes, bytes]] = field(
        default_factory=lambda: {
            name: {} for name in ("models", "intervals", "deltas", "evidence", "clocks")
        }
    )
    writes: int = 0

    def spend(self) -> None:
        if self.left is not None:
            if self.left == 0:
                raise Died
            self.left -= 1
        self.writes += 1


@dataclass
class Acknowledgement:
    """Done when awaited, and not before: what nobody waits for, Kafka may never have had. Writes
    that are under way together arrive in any order: ``turns`` loops of the scheduler later."""

    disk: Disk
    turns: int
    change: tuple[dict[bytes, bytes], bytes, bytes | None] | None
    publish: tuple[str, bytes | None, bytes] | None

    def __await__(self) -> Generator[Any, None, None]:
        for _ in range(self.turns):
            yield from asyncio.sleep(0).__await__()
        self.disk.spend()
        if self.change is not None:
            table, key, value = self.change
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
        if self.publish is not None:
            topic, sent_key, sent = self.publish
            self.disk.published.setdefault(topic, []).append((sent_key, sent))


class Table:
    """A Faust table: its content in memory, and a changelog on disk."""

    def __init__(self, disk: Disk, name: str) -> None:
        self.data: dict[bytes, bytes] = dict(disk.tables[name])
        self._disk = disk
        self._name = name
        self._sent = 0

    def send_changelog(
        self, partition: int, key: bytes, value: bytes | None, **serializers: str
    ) -> Awaitable[None]:
        self._sent += 1
        turns = self._sent * 7 % 5
        return Acknowledgement(self._disk, turns, (self._disk.tables[self._name], key, value), None)


class Topic:
    """A topic that the judge sends to."""

    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        self._name = name

    async def send(
        self, *, value: bytes, key: bytes | None = None, partition: int | None = None
    ) -> Awaitable[None]:
        return Acknowledgement(self._disk, 0, None, (self._name, key, value))


def no_consumer() -> confluent_kafka.Consumer:
    raise AssertionError("nothing is read here")


def start_judge(
    disk: Disk, judge: JudgeSettings, known: Iterable[Reference], text: str = ""
) -> JudgeAgent:
    """A judge as it comes up: with the tables as they are on disk, and the references of the
    topic. ``text``: its settings written out, which its verdicts name."""
    name = configuration_name(text) if text else ""
    book = ReferenceBook(no_consumer, REFERENCES)
    for reference in known:
        book.put(reference)
    for _, value in disk.published.get(REFERENCES, ()):
        book.put(decode_reference(value))
    state = JudgeState(
        Changelog(Table(disk, "models")),
        Changelog(Table(disk, "intervals")),
        Changelog(Table(disk, "deltas")),
        Changelog(Table(disk, "evidence")),
        Changelog(Table(disk, "clocks")),
        1,
        lambda _: ModelSettings(TIME, THRESHOLDS, judge, EVIDENCE, name),
        book.by_id,
    )
    results = (WINDOWS, FINDINGS, VERDICTS, REFERENCES, CONFIGURATIONS)
    topics = {each: Topic(disk, each) for each in results}
    return JudgeAgent(state, book, topics, lambda: BASE_MS, None, lambda _: text)


async def feed(agent: JudgeAgent, records: Sequence[bytes], first: int = 0) -> None:
    for offset in range(first, len(records)):
        await agent.take(0, offset, records[offset])


def judged(
    records: Sequence[bytes],
    judge: JudgeSettings = JUDGE,
    known: Iterable[Reference] = (),
) -> Disk:
    """What is on disk after a judge that nobody kills has had all records."""
    disk = Disk()
    asyncio.run(feed(start_judge(disk, judge, known), records))
    return disk


def rows_of(disk: Disk, topic: str, key: Sequence[str], without: Sequence[str] = ()) -> list[Row]:
    """Rows as the store keeps them: of each key, the last with the highest revision."""
    kept: dict[tuple[Any, ...], Row] = {}
    for _, value in disk.published.get(topic, ()):
        for row in json.loads(value)["rows"]:
            identity = tuple(row[name] for name in key)
            known = kept.get(identity)
            if known is None or row.get("revision", 0) >= known.get("revision", 0):
                kept[identity] = row
    return [
        {name: value for name, value in kept[identity].items() if name not in without}
        for identity in sorted(kept)
    ]


PLACE = ("model", "version", "role", "segment", "column", "window_ms", "window_start")
WINDOW_KEY = (*PLACE, "reference", "kind")
FINDING_KEY = (*PLACE, "detector", "against")
VERDICT_KEY = ("model", "version", "role", "as_of", "sequence")


# --- the summarize workers -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """How the messages are read: which worker has which partition, and a list of steps: a worker
    and how many messages of which partition it takes next; 0 messages: it flushes."""

    workers: int
    owner: tuple[int, ...]
    steps: tuple[tuple[int, int], ...]


def summarized(log: Log, plan: Plan, known: Reference | None = None) -> list[bytes]:
    """The records of driftline.summaries, in order: the plan's steps, then all that is left."""
    workers = [make_summarizer(f"w{number}", known) for number in range(plan.workers)]
    position = dict.fromkeys(log, 0)
    owner = {place: plan.owner[place[1] % len(plan.owner)] % plan.workers for place in log}
    for place in log:
        workers[owner[place]].intake.assign(place, len(log), -(2**62), BASE_MS)
    records: list[bytes] = []

    def flush(worker: int) -> None:
        flushed = workers[worker].flush(BASE_MS, {})
        records.extend(record.value for record in flushed if record.topic == SUMMARIES)
        workers[worker].intake.clear()

    def take(place: Place, count: int) -> None:
        at = position[place]
        some = [Written(place, at + i, body) for i, body in enumerate(log[place][at : at + count])]
        position[place] += len(some)
        if some:
            workers[owner[place]].take(cast("list[confluent_kafka.Message]", some), BASE_MS)

    places = sorted(log)
    for which, count in plan.steps:
        if count:
            take(places[which % len(places)], count)
        else:
            flush(which % plan.workers)
    for place in places:
        take(place, len(log[place]))
    for worker in range(plan.workers):
        flush(worker)
    return records


def make_summarizer(name: str, known: Reference | None) -> Summarizer:
    return Summarizer(
        (InputSettings(TOPIC),),
        TIME,
        SummarizeSettings(),
        Limits(),
        SampleSettings(),
        lambda model: known if known is not None and known.model == model else None,
        1,
        name,
    )


# --- events --------------------------------------------------------------------------------------


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """Events that are out of order, sometimes beyond the allowed lateness."""
    number = draw(st.integers(0, 10**6))
    canary = number % 3 == 0
    event: dict[str, Any] = {
        "ts": BASE_MS + draw(st.integers(0, 25_000)),
        "model": draw(st.sampled_from(["m", "m", "m", "n"])),
        "version": "2" if canary else "1",
        "role": "canary" if canary else "production",
        "segments": {"country": draw(st.sampled_from(["DE", "FR"]))},
        "features": {
            "x": draw(st.one_of(st.floats(-1e6, 1e6), st.none(), st.just([1]))),
            "topic": draw(st.sampled_from(["arrays", "strings"])),
        },
        "scores": {"quality": draw(st.sampled_from([0.0, 1.0]))},
        "latency_ms": draw(st.floats(0.1, 1e5)),
    }
    if number % 5 == 0:
        event["status"] = "error"
    return event


def as_message(some: Sequence[Mapping[str, Any]]) -> bytes:
    return b"\n".join(json.dumps(event).encode() for event in some)


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Messages of one to three partitions. The last of each is so much later that every window
    before it closes."""
    end = {"ts": BASE_MS + 40_000, "model": "m", "version": "1", "role": "production"}
    last = as_message([end, {**end, "model": "n"}])
    message = st.one_of(
        st.lists(events(), min_size=1, max_size=6).map(as_message), st.just(b'{"ts": 1, "mod')
    )
    return {
        (TOPIC, partition): [*draw(st.lists(message, max_size=8)), last]
        for partition in range(draw(st.integers(1, 3)))
    }


plans = st.builds(
    Plan,
    st.integers(1, 3),
    st.lists(st.integers(0, 2), min_size=3, max_size=3).map(tuple),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=20).map(tuple),
)

PHASES = (Phase.explicit, Phase.generate)
"""Shrinking takes minutes here, as one example is a whole run."""

ALL_AT_ONCE = Plan(1, (0,), ())


def reference(model: str = "m") -> Reference:
    rng = np.random.default_rng(0)
    return reference_from_table(
        model,
        pa.table(
            {
                "features.x": rng.normal(0, 1e5, 500),
                "features.topic": ["arrays", "strings"] * 250,
                "latency_ms": rng.lognormal(4, 1, 500),
                "scores.quality": [1.0] * 500,
            }
        ),
        "a test",
    )


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Thousands of verdicts are logged here, and nobody reads them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


# --- the laws ------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, derandomize=True, phases=PHASES)
@given(logs(), plans, st.booleans())
def test_any_batching_and_any_workers_give_the_same_windows_and_findings(
    log: Log, plan: Plan, referenced: bool
) -> None:
    known = reference() if referenced else None
    books = [known] if known is not None else []
    # Which record closed a window, and how often it was corrected, are the course, not the result.
    course = ("offset", "revision")
    results = [judged(summarized(log, each, known), known=books) for each in (ALL_AT_ONCE, plan)]
    windows = [rows_of(disk, WINDOWS, WINDOW_KEY, course) for disk in results]
    findings = [
        [row for row in rows_of(disk, FINDINGS, FINDING_KEY, course) if not accumulated(row)]
        for disk in results
    ]
    assert windows[0] == windows[1]
    assert findings[0] == findings[1]


def accumulated(row: Row) -> bool:
    """Evidence takes in a pane as it is when it closes. What comes after that corrects windows
    only, and which flush a late row shares is chance."""
    return str(row["detector"]).startswith(("drift", "canary_", "paired_"))


def in_order(log: Log) -> Log:
    """The same messages, with the events of each partition in the order of time."""
    ordered: dict[Place, list[bytes]] = {}
    for place, messages in log.items():
        lines = [line for message in messages[:-1] for line in message.splitlines()]
        some = [json.loads(line) for line in lines if line.endswith(b"}")]
        some.sort(key=lambda event: event["ts"])
        ordered[place] = [*(as_message(some[i : i + 3]) for i in range(0, len(some), 3))]
        ordered[place].append(messages[-1])
    return ordered


@settings(max_examples=30, deadline=None, derandomize=True, phases=PHASES)
@given(logs(), plans)
def test_without_late_rows_any_batching_and_any_workers_give_the_same_evidence(
    log: Log, plan: Plan
) -> None:
    known = reference()
    log = in_order(log)
    disks = [judged(summarized(log, each, known), known=[known]) for each in (ALL_AT_ONCE, plan)]
    one, other = (rows_of(disk, FINDINGS, FINDING_KEY, ("offset", "revision")) for disk in disks)
    assert one == other
    if any(row["model"] == "m" and row["column"] == "latency_ms" for row in one):
        assert any(accumulated(row) for row in one)


@settings(max_examples=20, deadline=None, derandomize=True, phases=PHASES)
@given(logs(), plans, st.booleans())
def test_every_row_that_was_not_late_is_in_its_window(
    log: Log, plan: Plan, referenced: bool
) -> None:
    known = reference() if referenced else None
    disk = judged(summarized(log, plan, known), known=[known] if known is not None else [])
    rows = rows_of(disk, WINDOWS, WINDOW_KEY)
    whole = [
        row
        for row in rows
        if (row["segment"], row["column"], row["window_ms"]) == ("all", "error", 5_000)
    ]
    counter = make_summarizer("counter", known)
    for place, messages in log.items():
        counter.intake.assign(place, len(log), -(2**62), BASE_MS)
        some = [Written(place, at, body) for at, body in enumerate(messages)]
        counter.take(cast("list[confluent_kafka.Message]", some), BASE_MS)
    counter.flush(BASE_MS, {})  # decodes what waits
    counted = sum(intake.events for intake in counter.intake.partitions.values())
    still_open = 2 * len(log)  # the two last events of each partition
    assert sum(row["events"] for row in whole) == counted - still_open


@settings(max_examples=20, deadline=None, derandomize=True, phases=PHASES)
@given(logs(), plans)
def test_a_replay_of_the_records_gives_the_same_bytes(log: Log, plan: Plan) -> None:
    records = summarized(log, plan)
    live = judged(records, LEARNING)
    learnt = [decode_reference(value) for _, value in live.published.get(REFERENCES, ())]
    again = judged(records, LEARNING, known=learnt)
    assert again.published == live.published
    assert again.tables == live.tables


# --- crashes -------------------------------------------------------------------------------------


KNOWN = (reference("n"),)
"""Of the scenario: the other model has to learn."""


def scenario() -> list[bytes]:
    """Records in which panes and windows close, rows come late, a reference is learnt, a model
    drifts from the one it has, and a canary is worse than production."""
    rng = np.random.default_rng(4)
    log: dict[Place, list[bytes]] = {}
    for partition in range(2):
        messages = []
        for at in range(24):
            late = 6_000 if at % 6 == 5 else 0
            some = [
                {
                    "ts": BASE_MS + at * 1_000 + int(rng.integers(0, 900)) - late,
                    "model": model,
                    "version": "2" if i % 2 else "1",
                    "role": "canary" if i % 2 else "production",
                    "scores": {"quality": float(rng.random() < (0.2 if i % 2 else 0.9))},
                    "features": {"x": float(rng.normal(9e5 if at > 12 else 0.0, 1e5))},
                }
                for model in ("m", "n")
                for i in range(8)
            ]
            messages.append(as_message(some))
        log[TOPIC, partition] = messages
    steps = [step for at in range(12) for step in ((0, 2), (0, 0), (1, 2), (1, 0))]
    records = summarized(log, Plan(2, (0, 1), tuple(steps)), *KNOWN)
    pairs = PairCounts(pairs=20, labelled=20, differ=3, shadow_failed=2)
    joined = [
        encode_pairs(delta)
        for at in range(0, 24_000, 1_000)
        for delta in pair_deltas("w", "n", BASE_MS, {("3", "1", BASE_MS + at): pairs}, {})
    ]
    # Pairs come between the other records, and after their pane has closed.
    at_each = len(records) // len(joined)
    return [
        each
        for i, record in enumerate(records)
        for each in (
            (record, joined[i // at_each])
            if i % at_each == 0 and i // at_each < len(joined)
            else (record,)
        )
    ]


def crowded() -> list[bytes]:
    """Records of which so many have something for the same open pane that they are merged before it
    closes; some of them with late rows as well, and a pane that is never closed."""
    log: dict[Place, list[bytes]] = {}
    for partition in range(2):
        messages: list[bytes] = []
        for at in [0] * 30 + [3_000] * 5 + [9_000] * 4 + [8_000] * 40 + [21_500] * 3:
            late = 4_000 if len(messages) >= 40 and at == 8_000 else 0
            some = [
                {
                    "ts": BASE_MS + at + partition,
                    "model": "m",
                    "version": version,
                    "role": "production",
                    "features": {"x": len(messages)},
                }
                for version, at in (("1", at), ("2", at), ("2", at - late))
            ]
            messages.append(as_message(some))
        log[TOPIC, partition] = messages
    steps = [step for _ in range(82) for step in ((0, 1), (0, 0), (1, 1), (1, 0))]
    return summarized(log, Plan(2, (0, 1), tuple(steps)))


def without_guard(disk: Disk) -> None:
    """Intervals that do not remember which record changed them last."""
    for key, value in disk.tables["intervals"].items():
        _, *rest = msgspec.msgpack.decode(value)
        disk.tables["intervals"][key] = msgspec.msgpack.encode([-1, *rest])


def killed(
    records: Sequence[bytes],
    writes: int,
    uncommitted: int,
    spoil: Callable[[Disk], None] = lambda _: None,
) -> tuple[Disk, int]:
    """Kill the judge after so many writes, do ``spoil`` to the disk; another goes on
    ``uncommitted`` records before that. Gives what is on disk at the end, and the record that was
    under way."""
    disk = Disk(left=writes)
    agent = start_judge(disk, LEARNING, KNOWN)
    at = 0

    async def until_death() -> None:
        nonlocal at
        for at in range(len(records)):
            await agent.take(0, at, records[at])

    with pytest.raises(Died):
        asyncio.run(until_death())
    disk.left = None
    spoil(disk)
    successor = start_judge(disk, LEARNING, KNOWN)
    asyncio.run(feed(successor, records, max(at - uncommitted, 0)))
    return disk, at


def everything(disk: Disk) -> tuple[Any, ...]:
    """All that anybody can see in the end."""
    return (
        rows_of(disk, WINDOWS, WINDOW_KEY),
        rows_of(disk, FINDINGS, FINDING_KEY),
        rows_of(disk, VERDICTS, VERDICT_KEY),
        {value for _, value in disk.published.get(VERDICTS, ())},
        disk.tables,
    )


def test_the_scenario_has_all_that_a_crash_could_spoil() -> None:
    whole = judged(scenario(), LEARNING, KNOWN)
    windows = rows_of(whole, WINDOWS, WINDOW_KEY)
    statuses = {row["status"] for row in rows_of(whole, VERDICTS, VERDICT_KEY)}
    assert max(row["revision"] for row in windows) > 0
    assert REFERENCES in whole.published
    assert "fail" in statuses
    findings = rows_of(whole, FINDINGS, FINDING_KEY)
    assert {"drift", "canary_level"} <= {row["detector"] for row in findings}
    failing = {row["detector"] for row in findings if row["outcome"] == "fail"}
    assert {"drift", "canary_level"} <= failing
    assert len(whole.tables["evidence"]) > 2


@pytest.mark.parametrize("course", [scenario, crowded])
def test_a_judge_killed_at_any_write_leaves_no_trace(course: Callable[[], list[bytes]]) -> None:
    records = course()
    whole = judged(records, LEARNING, KNOWN)
    expected = everything(whole)
    points = range(0, whole.writes, max(whole.writes // 60, 1))
    for writes in points:
        disk, at = killed(records, writes, uncommitted=writes % 7)
        assert everything(disk) == expected, f"killed at write {writes}, in record {at}"


def test_the_crowded_scenario_has_what_is_merged_before_its_pane_closes() -> None:
    whole = judged(crowded(), LEARNING)
    state = decode_state(whole.tables["models"][b"m"])
    assert state.settled > 0
    assert whole.tables["deltas"]
    windows = rows_of(whole, WINDOWS, WINDOW_KEY)
    assert max(row["revision"] for row in windows) > 0
    long = [row for row in windows if row["window_ms"] == 20_000 and row["column"] == "error"]
    assert sum(row["events"] for row in long) == 2 * 3 * 79


def test_without_its_end_evidence_counts_panes_twice() -> None:
    """The guard of the evidence: an entry says up to where it has had the panes."""
    records = scenario()
    expected = everything(judged(records, LEARNING, KNOWN))

    def forgetful(disk: Disk) -> None:
        for key, value in disk.tables["evidence"].items():
            _, *rest = msgspec.msgpack.decode(value)
            disk.tables["evidence"][key] = msgspec.msgpack.encode([0, *rest])

    whole = judged(records, LEARNING, KNOWN)
    points = range(0, whole.writes, max(whole.writes // 60, 1))
    differing = [
        writes
        for writes in points
        if everything(killed(records, writes, 0, spoil=forgetful)[0]) != expected
    ]
    assert differing


def test_without_the_applied_guard_a_killed_judge_counts_twice() -> None:
    records = scenario()
    whole = judged(records, LEARNING, KNOWN)
    expected = everything(whole)
    points = range(0, whole.writes, max(whole.writes // 60, 1))
    differing = [
        writes
        for writes in points
        if everything(killed(records, writes, 0, spoil=without_guard)[0]) != expected
    ]
    assert differing

"""The line, replayed: recorded events through the code that runs live, without Kafka or a clock.

Events are decoded and summarised by the real `Summarizer`, its records are encoded and decoded as
they would be on their topic, judged by the real judge, and the verdicts are given to the real
policy. Time is that of the events: wherever a clock would be read, it shows the newest event time
so far. There is a flush exactly when the watermark enters another pane, so a verdict comes with
the event that made it possible; live it comes up to one flush interval later.

The same recording, configuration and references give the same outcome, bit for bit.

A backtest departs from life in two ways. A release that was rolled back goes on in the recording;
its events are left out from then on and counted as withheld. And windows that the last event did
not close stay open, as they would if no further event came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

import msgspec
import numpy as np

from detectors import policy
from detectors.action import Action, ActionKind
from detectors.incident import ModelPolicy
from detectors.reference import Reference
from detectors.release import ALL, Role
from detectors.verdict import Verdict
from streams.backtest_outcome import BacktestOutcome, Budget, Counted, PolicyOutcome, Truth
from streams.backtest_score import Scorer
from streams.inputs import InputSettings
from streams.intake import Place
from streams.internal_topics import DEADLETTERS, PAIRS, SUMMARIES
from streams.judge import ModelJudge
from streams.judge_state import steps
from streams.judged_by import JudgedBy
from streams.model_state import ModelState
from streams.outgoing import OutgoingRecord
from streams.outputs import Outputs
from streams.pair_delta import PairDelta, decode_summaries
from streams.pair_settings import Enabled
from streams.pairing import Pairing
from streams.recorded import Block, Recording, Written, in_order
from streams.sampling import SampleSettings
from streams.shadow_book import Shadows
from streams.summarizer import Summarizer
from streams.timeline import NEVER, PartitionTime
from streams.wire import Delta, Progress, events_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Message

    from streams.config import Config

_WORKER: Final = "backtest"
MOST_WAITING: Final = 16_384
"""Events of one flush, at most: unreadable ones move no clock, so none might ever come."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A configuration under test, and its name in the report."""

    name: str
    config: Config


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """A recorded message with the methods of Kafka's that the summarizer calls."""

    place: Place
    at: int
    written: Written

    def topic(self) -> str:
        return self.place[0]

    def partition(self) -> int:
        return self.place[1]

    def offset(self) -> int:
        return self.at

    def value(self) -> bytes | None:
        return self.written.value

    def headers(self) -> Sequence[tuple[str, bytes]] | None:
        return self.written.headers

    def timestamp(self) -> tuple[int, int]:
        return 1, self.written.kafka_ms


def backtest(
    recording: Recording,
    policies: Sequence[Policy],
    references: Iterable[Reference],
    truth: Truth,
    budget: Budget,
    advanced: Callable[[int], None] = lambda _: None,
) -> BacktestOutcome:
    """Replay a recording under each policy, all in one pass over it.

    ``references`` are known to all policies from the beginning; a model without one learns its
    own, as configured. ``advanced`` is told how much of ``recording.size`` was read since it was
    last called. Raises UserError where the recording cannot be read.
    """
    known = tuple(references)
    lines = [Line(each, recording.input, known, truth, budget) for each in policies]
    grain_ms = min(each.config.time.pane_ms for each in policies)
    first_ms = last_ms = NEVER
    for block in in_order(recording, grain_ms):
        for line in lines:
            line.take(block)
        dated = block.clock_ms[block.clock_ms > NEVER]
        if len(dated):
            first_ms = int(dated[0]) if first_ms == NEVER else first_ms
            last_ms = max(last_ms, int(dated[-1]))
        advanced(block.size)
    changes = tuple(sorted((m, at) for m, at in truth.changes.items() if at is not None))
    outcomes = tuple(line.finish() for line in lines)
    seen = {score.model for outcome in outcomes for score in outcome.scores}
    unseen = tuple(sorted(truth.models() - seen))
    return BacktestOutcome(recording.name, first_ms, last_ms, changes, unseen, outcomes)


class Line:
    """The whole line under one policy."""

    def __init__(
        self,
        tested: Policy,
        source: InputSettings,
        references: Iterable[Reference],
        truth: Truth,
        budget: Budget,
    ) -> None:
        config = tested.config
        self._name = tested.name
        self._config = config
        self._judged_by = JudgedBy(config)
        self._current = {reference.model: reference for reference in references}
        self._by_id = {reference.id: reference for reference in self._current.values()}
        self._place: Place = (source.topic, 0)
        self._pairing = _pairing(config, self._current.get)
        self._summarizer = Summarizer(
            (source,),
            config.time,
            config.summarize,
            config.limits,
            SampleSettings(),
            self._current.get,
            1,
            _WORKER,
            self._pairing,
        )
        self._summarizer.intake.assign(self._place, 1, NEVER, 0)
        self._judges: dict[str, ModelJudge] = {}
        self._times: dict[Place, PartitionTime] = {}
        self._policies: dict[str, ModelPolicy] = {}
        self._withheld: set[tuple[str, str, Role]] = set()
        self._scorer = Scorer(truth, budget, config.time.pane_ms)
        self._counted = Counted()
        self._reasons: Counter[str] = Counter()
        self._message = 0
        self._record = 0
        self._halves = 0
        self._waiting = 0
        self._newest_ms = NEVER
        self._mark = NEVER

    def take(self, block: Block) -> None:
        """Enter events; whenever one lets the watermark pass a pane's end, flush and judge."""
        if not len(block.clock_ms):
            return
        clock = np.maximum(block.clock_ms, self._newest_ms)
        marks = (clock - self._config.time.out_of_orderness_ms) // self._config.time.pane_ms
        ends = np.flatnonzero(np.diff(marks, prepend=self._mark) > 0) + 1
        self._mark = int(marks[-1])
        at = 0
        for end in ends.tolist():
            self._enter(block, at, end, int(clock[end - 1]))
            self._flush()
            at = end
        if at < len(clock):
            self._enter(block, at, len(clock), int(clock[-1]))
            if self._summarizer.full or self._waiting >= MOST_WAITING:
                self._flush()

    def finish(self) -> PolicyOutcome:
        """Flush what is left, and sum up."""
        self._flush()
        counted = replace(self._counted, reasons=tuple(self._reasons.most_common()))
        return self._scorer.outcome(self._name, counted, self._newest_ms)

    def _enter(self, block: Block, low: int, high: int, newest_ms: int) -> None:
        self._newest_ms = newest_ms
        messages = [
            RecordedMessage(self._place, self._message + i, each)
            for i, each in enumerate(block.written(low, high))
        ]
        self._message += len(messages)
        self._waiting += high - low
        # The summarizer asks a message for no more than RecordedMessage answers.
        self._summarizer.take(cast("list[Message]", messages), self._newest_ms)

    def _flush(self) -> None:
        self._waiting = 0
        records = self._summarizer.flush(self._newest_ms, {})
        for record in (*self._joined(records), *records):
            if record.topic == SUMMARIES:
                self._judge(decode_summaries(record.value))
            elif record.topic == DEADLETTERS:
                self._reasons[_reason(record.value)] += 1
        for intake in self._summarizer.intake.partitions.values():
            counted = self._counted
            self._counted = replace(
                counted,
                events=counted.events + intake.events,
                dead=counted.dead + intake.dead,
                late=counted.late + intake.late,
                capped=counted.capped + intake.capped,
            )
        self._summarizer.intake.clear()
        for model, state in self._policies.items():
            self._act(model, *policy.tick(state, self._settings(model), self._newest_ms))

    def _joined(self, records: Iterable[OutgoingRecord]) -> Iterator[OutgoingRecord]:
        """What a worker would find of the halves in ``records`` once it had read them: the judge is
        told of a pane's pairs before that pane closes."""
        if self._pairing is None:
            return
        halves = [record.value for record in records if record.topic == PAIRS]
        read = [
            RecordedMessage((PAIRS, 0), self._halves + i, Written(value, self._newest_ms))
            for i, value in enumerate(halves)
        ]
        self._halves += len(read)
        self._pairing.take(cast("list[Message]", read))
        yield from self._pairing.flush(self._newest_ms)
        self._pairing.committed()

    def _judge(self, record: Delta | PairDelta | Progress) -> None:
        self._record += 1
        if isinstance(record, Delta):
            record = self._without_withheld(record)
            if not record.groups:
                return
            self._scorer.count(record)
        if isinstance(record, Progress):
            for entry in record.partitions:
                self._times[entry.topic, entry.partition] = PartitionTime(
                    entry.newest_ms, entry.idle, entry.partitions
                )
        elif record.model not in self._judges:
            self._judges[record.model] = self._new_judge(record.model)
        for _, outputs in steps(self._judges, record, self._times, self._record):
            self._publish(outputs)

    def _without_withheld(self, delta: Delta) -> Delta:
        kept, left_out = [], 0
        for group in delta.groups:
            if (delta.model, group.version, group.role) not in self._withheld:
                kept.append(group)
            elif group.segment == ALL:
                left_out += events_of(group.summaries)
        if len(kept) == len(delta.groups):
            return delta
        self._counted = replace(self._counted, withheld=self._counted.withheld + left_out)
        return msgspec.structs.replace(delta, groups=tuple(kept))

    def _new_judge(self, model: str) -> ModelJudge:
        settings = self._judged_by.settings(model)
        return ModelJudge(ModelState(model), {}, settings, self._by_id.get, {})

    def _publish(self, outputs: Outputs) -> None:
        for reference in outputs.learnt:
            self._current[reference.model] = reference
            self._by_id[reference.id] = reference
        self._counted = replace(
            self._counted, verdicts=self._counted.verdicts + len(outputs.verdicts)
        )
        for verdict in outputs.verdicts:
            self._scorer.judged(verdict, self._newest_ms)
            self._decide(verdict)

    def _decide(self, verdict: Verdict) -> None:
        model = verdict.release.model
        state = self._policies.get(model, ModelPolicy(model))
        settings = self._settings(model)
        self._act(model, *policy.step(state, verdict, settings, self._newest_ms))

    def _act(self, model: str, state: ModelPolicy, actions: Sequence[Action]) -> None:
        self._policies[model] = state
        self._scorer.acted(actions, self._newest_ms)
        for action in actions:
            if action.kind is ActionKind.ROLLBACK and not action.dry_run:
                release = action.release
                self._withheld.add((release.model, release.version, release.role))

    def _settings(self, model: str) -> policy.PolicySettings:
        return self._config.model(model).policy


def _pairing(config: Config, reference_of: Callable[[str], Reference | None]) -> Pairing | None:
    """The pairing of a worker that owns the one partition of ``pairs``."""
    if config.pairing.enabled is Enabled.OFF:
        return None
    shadows = Shadows(config.limits.models)
    pairing = Pairing(config.pairing, shadows, reference_of, 1, _WORKER, PAIRS)
    pairing.assign(0, -1, None)
    return pairing


class _DeadRow(msgspec.Struct):
    reason: str


class _DeadLetter(msgspec.Struct):
    rows: list[_DeadRow]


def _reason(value: bytes) -> str:
    """Why something is in the dead letter; never what it is."""
    return msgspec.json.decode(value, type=_DeadLetter).rows[0].reason

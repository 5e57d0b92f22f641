"""What the doctor looks at in Kafka: the broker, topics, access, and how far each group is.

Asking is apart from judging (:mod:`streams.doctor_kafka_ask`), so that what is said of a deployment
can be read from its facts alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from streams.doctor import Check, Level, size, span
from streams.kafka import MOST_RECORD_BYTES
from streams.kafka_topics import TopicSpec
from streams.timeline import DAY, HOUR, NEVER

AREA: Final = "kafka"
_WAIT_S: Final = 10.0
_SHORT_RETENTION_MS: Final = 6 * HOUR
"""An outage of a role that lasts longer than the retention of what it reads loses data."""
_GOOD_RETENTION_MS: Final = DAY
_LARGEST_AT_LEAST_BYTES: Final = 1_000_000
_AHEAD_MS: Final = 60_000
_BEHIND_MESSAGES: Final = 100_000


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as the broker describes it. ``settings``, ``allowed``: None if it would not say."""

    name: str
    partitions: int
    copies: int
    settings: Mapping[str, str] | None = None
    allowed: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class PlaceFacts:
    """One partition for one group. ``committed``: the next offset to read, -1 if there is none;
    ``low``, ``high``: what the broker has; ``newest_ms``: the clock in the offset's metadata."""

    topic: str
    partition: int
    committed: int
    low: int
    high: int
    newest_ms: int = NEVER


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """A consumer group. ``members``: None if the broker would not say."""

    name: str
    role: str
    members: int | None
    rebalancing: bool
    places: tuple[PlaceFacts, ...]


# --- judging -------------------------------------------------------------------------------------


def topic_checks(
    wanted: Mapping[str, TopicSpec],
    inputs: Sequence[str],
    found: Mapping[str, TopicFacts],
    *,
    embedded: bool = False,
) -> list[Check]:
    """What is to be said of the topics that driftline reads (``inputs``) and makes (``wanted``)."""
    checks: list[Check] = []
    for name in inputs:
        facts = found.get(name)
        if facts is None:
            checks.append(
                _topic(name, Level.WRONG, "does not exist", "create it, or correct `inputs`")
            )
            continue
        told = [*_access(facts, ("READ", "DESCRIBE")), *_kept(facts, is_input=True)]
        checks += told or [_topic(name, Level.OK, f"{facts.partitions} partitions")]
    fine = 0
    for name, spec in wanted.items():
        facts = found.get(name)
        told = _internal(name, spec, facts, embedded=embedded)
        checks += told
        fine += not told
    if fine:
        checks.append(
            Check(AREA, "internal topics", Level.OK, f"{fine} of {len(wanted)} as they must be")
        )
    single = sorted(name for name in wanted if name in found and found[name].copies == 1)
    if single and not embedded:
        checks.append(
            Check(
                AREA,
                "internal topics",
                Level.WARNING,
                f"{len(single)} have one copy only: what they hold is gone with one disk",
                "set kafka.replication to 3 before they are made, or reassign their replicas",
            )
        )
    return checks


def _internal(
    name: str, spec: TopicSpec, facts: TopicFacts | None, *, embedded: bool
) -> list[Check]:
    if facts is None:
        return [
            _topic(
                name,
                Level.WRONG,
                "does not exist",
                "start a role, which makes it, or create it with"
                f" {spec.partitions} partitions and cleanup.policy={_policy(spec)}",
            )
        ]
    told: list[Check] = []
    if facts.partitions != spec.partitions:
        told.append(
            _topic(
                name,
                Level.WRONG,
                f"has {facts.partitions} partitions and should have {spec.partitions}",
                f"set kafka.partitions to {facts.partitions}, or take another kafka.prefix",
            )
        )
    if embedded:
        return told
    told += _access(facts, ("READ", "WRITE", "DESCRIBE"))
    told += _kept(facts, is_input=False)
    settings = facts.settings or {}
    policy = settings.get("cleanup.policy", _policy(spec))
    if _policy(spec) not in policy.split(","):
        told.append(
            _topic(
                name,
                Level.WRONG,
                f"has cleanup.policy={policy} and should have {_policy(spec)}",
                "change it with kafka-configs",
            )
        )
    largest = _number(settings.get("max.message.bytes"))
    if largest is not None and largest < MOST_RECORD_BYTES:
        too_small = largest < _LARGEST_AT_LEAST_BYTES
        told.append(
            _topic(
                name,
                Level.WRONG if too_small else Level.WARNING,
                f"takes records of {size(largest)} at most; a larger one would stop its writer",
                f"set max.message.bytes={MOST_RECORD_BYTES}",
            )
        )
    return told


def _policy(spec: TopicSpec) -> str:
    return "compact" if spec.compacted else "delete"


def _access(facts: TopicFacts, needed: Iterable[str]) -> list[Check]:
    if facts.allowed is None or "ALL" in facts.allowed:
        return []
    lacking = [each for each in needed if each not in facts.allowed]
    if not lacking:
        return []
    return [
        _topic(
            facts.name,
            Level.WRONG,
            f"our user may not {', '.join(lacking)}",
            f"grant it {', '.join(lacking)} on the topic",
        )
    ]


def _kept(facts: TopicFacts, *, is_input: bool) -> list[Check]:
    """Is it kept long enough for whoever reads it to come back?"""
    settings = facts.settings
    if settings is None or "delete" not in settings.get("cleanup.policy", "delete"):
        return []
    kept = _number(settings.get("retention.ms"))
    if kept is None or kept < 0 or kept >= (_SHORT_RETENTION_MS if is_input else DAY):
        return []
    level = Level.WARNING if kept >= HOUR else Level.WRONG
    return [
        _topic(
            facts.name,
            level,
            f"keeps records for {span(kept)}: a role that is down for longer loses some",
            f"set retention.ms to {_GOOD_RETENTION_MS} or more",
        )
    ]


def _topic(name: str, level: Level, what: str, todo: str = "") -> Check:
    return Check(AREA, f"topic {name}", level, what, todo)


def group_checks(group: GroupFacts, now_ms: int, blind_after_ms: int) -> list[Check]:
    """How far a group is, and how old the newest event it has read is."""

    def said(level: Level, what: str, todo: str = "") -> Check:
        return Check(AREA, f"group {group.name}", level, what, todo)

    checks: list[Check] = []
    if group.members == 0:
        checks.append(
            said(Level.WRONG, "nobody reads", f"start `driftline {group.role}`; is it crashing?")
        )
    elif group.rebalancing:
        checks.append(
            said(Level.WARNING, "is sharing out its partitions", "look again in half a minute")
        )
    lost = [p for p in group.places if 0 <= p.committed < p.low]
    if lost:
        count = sum(p.low - p.committed for p in lost)
        checks.append(
            said(
                Level.WRONG,
                f"{count} messages of {len(lost)} partitions were deleted before they were read",
                "raise the topic's retention; what is gone is a gap in the ledger",
            )
        )
    lag = sum(max(0, p.high - max(p.committed, p.low, 0)) for p in group.places)
    some = [p for p in group.places if p.committed >= 0]
    if not some:
        level = Level.WARNING if lag else Level.OK
        checks.append(said(level, f"has not committed anything yet; {lag} messages wait"))
    else:
        behind = lag > _BEHIND_MESSAGES
        checks.append(
            said(
                Level.WARNING if behind else Level.OK,
                f"{lag} messages behind" if lag else "has read everything",
                f"add a process of `driftline {group.role}` or find what holds it"
                if behind
                else "",
            )
        )
    return [*checks, *_clock_checks(group, now_ms, blind_after_ms)]


def _clock_checks(group: GroupFacts, now_ms: int, blind_after_ms: int) -> list[Check]:
    """Event time as the group has committed it; only ``summarize`` keeps a clock there."""
    clocks = [p for p in group.places if p.newest_ms != NEVER]
    if not clocks:
        return []
    subject = "event time"
    newest = max(clocks, key=lambda p: p.newest_ms)
    oldest = min(clocks, key=lambda p: p.newest_ms)
    if newest.newest_ms > now_ms + _AHEAD_MS:
        return [
            Check(
                AREA,
                subject,
                Level.WRONG,
                f"{newest.topic}[{newest.partition}] is {span(newest.newest_ms - now_ms)} ahead of"
                " this machine's clock: events of honest producers count as late",
                "correct the clock of the producer or of this machine; lower time.max_ahead",
            )
        ]
    age = now_ms - newest.newest_ms
    if age > blind_after_ms:
        return [
            Check(
                AREA,
                subject,
                Level.WARNING,
                f"the newest event is {span(age)} old: releases are BLIND after"
                f" {span(blind_after_ms)}",
                "do the models log? does somebody write into the input topics?",
            )
        ]
    spread = newest.newest_ms - oldest.newest_ms
    checks = [Check(AREA, subject, Level.OK, f"the newest event is {span(age)} old")]
    if spread > blind_after_ms and oldest.committed < oldest.high:
        checks.append(
            Check(
                AREA,
                subject,
                Level.WARNING,
                f"{oldest.topic}[{oldest.partition}] is {span(spread)} behind the others and holds"
                " all windows open",
                "is its reader slow, or a producer sending old events?",
            )
        )
    return checks


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None

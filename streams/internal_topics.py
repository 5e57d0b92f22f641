"""driftline's own topics, by short name; ``kafka.topic(name)`` puts the configured prefix before.

The store writes each of them into the table of the same name, but for summaries, changelogs, what
workers tell each other (pairs, shadows, epochs), and what deliver is told (commands, control).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streams.kafka import KafkaSettings
from streams.kafka_topics import TopicSpec

SUMMARIES: Final = "summaries"
REFERENCES: Final = "references"
WINDOWS: Final = "windows"
FINDINGS: Final = "findings"
VERDICTS: Final = "verdicts"
ACTIONS: Final = "actions"
AUDIT: Final = "audit"
COMMANDS: Final = "commands"
CONTROL: Final = "control"
DEADLETTERS: Final = "deadletters"
INTAKE: Final = "intake"
CONFIGURATIONS: Final = "configurations"
EVENTS: Final = "events"
PAIRS: Final = "pairs"
SHADOWS: Final = "shadows"
EPOCHS: Final = "epochs"

JUDGE: Final = "judge"
DELIVER: Final = "deliver"
"""Faust apps: their consumer groups, and the first part of their changelogs' names."""
MODELS, INTERVALS, DELTAS = "models", "intervals", "deltas"
EVIDENCE, CLOCKS = "evidence", "clocks"
DELIVERIES: Final = "deliveries"
TABLES: Final = {
    MODELS: JUDGE,
    INTERVALS: JUDGE,
    DELTAS: JUDGE,
    EVIDENCE: JUDGE,
    CLOCKS: JUDGE,
    DELIVERIES: DELIVER,
}
"""The changelog-backed tables, and the app that each belongs to."""


@dataclass(frozen=True, slots=True)
class InternalTopic:
    """``partitioned``: has as many partitions as the judge; others have one. ``compacted``: only
    the newest record of a key is kept."""

    name: str
    partitioned: bool = False
    compacted: bool = False


def changelog(table: str) -> str:
    """The short name of a table's changelog, as Faust makes it from the app's id."""
    return f"{TABLES[table]}-{table}-changelog"


INTERNAL_TOPICS: Final = (
    InternalTopic(SUMMARIES, partitioned=True),
    InternalTopic(VERDICTS, partitioned=True, compacted=True),
    InternalTopic(ACTIONS),
    InternalTopic(AUDIT),
    InternalTopic(COMMANDS, partitioned=True),
    InternalTopic(CONTROL, compacted=True),
    InternalTopic(REFERENCES, compacted=True),
    InternalTopic(CONFIGURATIONS, compacted=True),
    InternalTopic(WINDOWS),
    InternalTopic(FINDINGS),
    InternalTopic(DEADLETTERS),
    InternalTopic(INTAKE),
    InternalTopic(EVENTS),
    InternalTopic(PAIRS, partitioned=True),
    InternalTopic(SHADOWS, compacted=True),
    InternalTopic(EPOCHS, compacted=True),
    *(InternalTopic(changelog(table), partitioned=True, compacted=True) for table in TABLES),
)


def topic_specs(kafka: KafkaSettings) -> dict[str, TopicSpec]:
    """All of them as they must be on a broker, by full name."""
    return {
        kafka.topic(topic.name): TopicSpec(
            kafka.partitions if topic.partitioned else 1, topic.compacted
        )
        for topic in INTERNAL_TOPICS
    }

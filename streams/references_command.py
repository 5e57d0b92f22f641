"""``driftline references publish``: the configured reference files into their topic.

``driftline up`` does it itself. Where each role is a container of its own this runs once before
them, and again whenever a file changes: roles take a new reference up while they run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.internal_topics import topic_specs
from streams.kafka_topics import ensure_topics
from streams.reference_files import load_references, publish_references

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.config import Config


def publish(config: Config, say: Callable[[str], None]) -> int:
    """Read every file first, so that none is published if one is wrong; make the internal topics
    that are missing; publish. Returns the exit code. Raises `UserError` for a file that cannot be
    used, `KafkaProblem` for a broker that cannot."""
    references = load_references(config.references)
    made = ensure_topics(config.kafka, topic_specs(config.kafka))
    publish_references(config.kafka, references)
    said = ", ".join(sorted(reference.model for reference in references)) or "none configured"
    say(f"{len(made)} topics made; references published: {said}")
    return 0

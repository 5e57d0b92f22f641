"""Configured reference files: read, checked, and put into the topic ``references``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import confluent_kafka
import structlog

from detectors.reference import Reference, from_json
from detectors.reference_file import MOST_BYTES, InvalidReference
from streams.clock import wall_ms
from streams.errors import UserError
from streams.internal_topics import REFERENCES
from streams.kafka import KafkaSettings, producer
from streams.reference_book import encode_reference

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ReferenceSettings:
    """``files``: references made by ``driftline profile``, one model each. A model without a file
    learns its reference from its first production events (``judge.learn_events``)."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    files: tuple[str, ...] = ()


def load_references(settings: ReferenceSettings) -> tuple[Reference, ...]:
    """The configured references. :class:`UserError` names the file that cannot be used."""
    found: dict[str, tuple[str, Reference]] = {}
    for name in settings.files:
        reference = _load(Path(name))
        if reference.model in found:
            raise UserError(
                f"{name} and {found[reference.model][0]} are both for model {reference.model!r}",
                "references.files",
                "name one file a model",
            )
        found[reference.model] = name, reference
    return tuple(reference for _, reference in found.values())


def _load(path: Path) -> Reference:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError("larger than 64 MB", str(path), "is this a reference?")
        return from_json(path.read_bytes())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(
            f"cannot be read: {reason}", str(path), "make it with: driftline profile"
        ) from None
    except InvalidReference as error:
        raise UserError(
            f"not a usable reference: {error}", str(path), "make it again with: driftline profile"
        ) from None


def publish_references(kafka: KafkaSettings, references: Iterable[Reference]) -> None:
    """Put references into the topic. Putting one again changes nothing."""
    waiting = list(references)
    if not waiting:
        return
    client = confluent_kafka.Producer(producer(kafka, "references"))
    for reference in waiting:
        value = encode_reference(reference, wall_ms())
        client.produce(kafka.topic(REFERENCES), value, reference.model.encode())
    if client.flush(30):
        raise UserError(
            "the references could not be published", kafka.topic(REFERENCES), "is Kafka up?"
        )
    log.info("references published", count=len(waiting))

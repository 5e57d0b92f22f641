"""Whether references are in order: their files, and what is published of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from detectors.action import printable
from streams.doctor import SHOWN_CHARS, Check, Level
from streams.reference_book import ReferenceBook
from streams.reference_files import ReferenceSettings, load_references


def reference_file_checks(settings: ReferenceSettings) -> list[Check]:
    """Whether each configured file is a reference. Raises UserError if two are for one model."""
    checks = []
    for file in settings.files:
        (reference,) = load_references(replace(settings, files=(file,)))
        model, columns = printable(reference.model, SHOWN_CHARS), len(reference.layout.columns)
        said = f"model {model}, {columns} columns"
        checks.append(Check("references", file, Level.OK, said))
    load_references(settings)
    return checks


def reference_topic_checks(
    settings: ReferenceSettings, models: Sequence[str], book: ReferenceBook
) -> list[Check]:
    """Whether configured references are published, and which configured models have none."""
    checks = [
        Check(
            "references",
            f"model {printable(reference.model, SHOWN_CHARS)}",
            Level.WARNING,
            "its reference file is not the one in Kafka",
            "start `driftline up` again, which publishes it",
        )
        for reference in load_references(settings)
        if book.by_id(reference.id) is None
    ]
    without = [model for model in models if book.of(model) is None]
    if without:
        checks.append(
            Check(
                "references",
                "models",
                Level.WARNING,
                f"{len(without)} of {len(models)} configured models have no reference yet"
                f" ({', '.join(printable(model, SHOWN_CHARS) for model in without[:5])})",
                "make one with `driftline profile`, or let it learn from production's events",
            )
        )
    elif models:
        checks.append(
            Check("references", "models", Level.OK, f"all {len(models)} configured have one")
        )
    return checks

"""All templates of a codec: as arrays for the kernels, bounded, the least used forgotten first."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors.release import ROLE_NAMES
from streams.codecs.columns import WRONG, form_in
from streams.codecs.speculative.arrays import (
    MODEL,
    ROLE,
    SLOT_FIELDS,
    TEMPLATE_FIELDS,
    VERSION,
    Plan,
)
from streams.codecs.speculative.releases import Releases
from streams.codecs.speculative.template import Slot, Template, TextColumn
from streams.codecs.speculative.vocabulary import Form, TextForms, Vocabulary
from streams.codecs.text import readable
from streams.event import Bounds

MAX_TEMPLATES = 16
MAX_COLUMNS = 2048
"""Columns of all templates together; a template that would pass it is not kept."""

_HEADS = {MODEL: "model", VERSION: "version", ROLE: "role"}


@dataclass(slots=True)
class Templates:
    """What was learnt, for one set of ``bounds`` (of which the range of times does not matter)."""

    bounds: Bounds
    known: list[Template] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    texts: dict[TextColumn, int] = field(default_factory=dict)
    _used: dict[tuple[bytes, ...], int] = field(default_factory=dict)
    _clock: int = 0
    _releases: tuple[tuple[TextForms, ...], Releases] | None = None

    def __post_init__(self) -> None:
        self._build()

    plan: Plan = field(init=False)
    number_order: list[tuple[str, int]] = field(init=False)
    text_order: list[tuple[TextColumn, int]] = field(init=False)
    """The columns by name, without those of the head."""

    vocabulary: Vocabulary = field(init=False)

    def add(self, template: Template) -> bool:
        """Keep a template; whether that changed anything."""
        for i, old in enumerate(self.known):
            if (old.kind, old.literals) == (template.kind, template.literals):
                wide = old.widened(template)
                if wide == old:
                    return False
                self.known[i] = wide
                self._build()
                return True
        before = list(self.known)
        self._used[template.literals] = self._clock
        self.known.append(template)
        if len(self.known) > MAX_TEMPLATES:
            oldest = min(self.known[:-1], key=lambda t: self._used[t.literals])
            self.known.remove(oldest)
        self._used = {t.literals: self._used[t.literals] for t in self.known}
        self._build()
        if len(self.numbers) + len(self.texts) > MAX_COLUMNS:
            self.known = before
            self._used = {t.literals: self._used.get(t.literals, 0) for t in before}
            self._build()
            return False
        return True

    @property
    def releases(self) -> Releases:
        """The releases of what the vocabulary holds now."""
        columns = self.vocabulary.columns
        if self._releases is None or self._releases[0] is not columns:
            self._releases = (columns, Releases(columns[VERSION], columns[ROLE]))
        return self._releases[1]

    def used(self, hits: NDArray[np.int64]) -> None:
        """Say which templates read rows, by their number of rows."""
        self._clock += 1
        for template, count in zip(self.known, hits.tolist(), strict=True):
            if count:
                self._used[template.literals] = self._clock

    def _build(self) -> None:
        self.numbers = {}
        self.texts = {TextColumn(place): column for column, place in _HEADS.items()}
        literals: list[bytes] = []
        words = 0
        slots: list[list[int]] = []
        templates: list[list[int]] = []
        for template in self.known:
            first = len(slots)
            for literal, slot in zip(template.literals, template.slots, strict=False):
                slots.append([words, len(literal), *self._fields(slot)])
                literals.append(_filled(literal))
                words += len(literals[-1]) // 8
            tail = template.literals[-1]
            templates.append([first, len(slots), words, len(tail)])
            literals.append(_filled(tail))
            words += len(literals[-1]) // 8
        self.number_order = sorted(self.numbers.items())
        self.text_order = sorted(item for item in self.texts.items() if item[1] not in _HEADS)
        limits = [_limit(column, self.bounds) for column in self.texts]
        self.plan = Plan(
            literals=np.frombuffer(b"".join([*literals, bytes(8)]), dtype="<u8").astype(np.uint64),
            slots=np.array(slots, dtype=np.int64).reshape(len(slots), SLOT_FIELDS),
            templates=np.array(templates, dtype=np.int64).reshape(len(templates), TEMPLATE_FIELDS),
            limits=np.array(limits, dtype=np.int64),
        )
        self.vocabulary = Vocabulary([_form(column, self.bounds) for column in self.texts])

    def _fields(self, slot: Slot) -> tuple[int, int, int, int]:
        number = text = -1
        if slot.number is not None:
            number = self.numbers.setdefault(slot.number, len(self.numbers))
        if slot.text is not None:
            text = self.texts.setdefault(slot.text, len(self.texts))
        return int(slot.use), number, text, int(slot.allow)


def _filled(literal: bytes) -> bytes:
    return literal + bytes(-len(literal) % 8)


def _limit(column: TextColumn, bounds: Bounds) -> int:
    return bounds.max_value_chars if column.place == "cells" else bounds.max_name_chars


def _form(column: TextColumn, bounds: Bounds) -> Form:
    if column.place == "role":
        return lambda text: text if text in ROLE_NAMES else WRONG
    if column.place in ("model", "version"):
        return lambda text: readable(text, bounds.max_name_chars) or WRONG
    return form_in(column.name, bounds, segment=column.place == "segments")

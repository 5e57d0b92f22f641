"""The scene of the memory benchmark, and the files that carry it from process to process."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench.events import START_MS, Shape, Source, generate, json_messages, reference_of
from detectors.reference import Reference, from_json, to_json
from detectors.release import Role
from streams.timeline import TimeSettings

BATCH = 500
_LENGTH = struct.Struct("<I")
_REFERENCE_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class Scene:
    """``models`` with one release of each role, ``columns`` wide, over ``panes`` of 10 s with about
    ``rows`` events of each release in each pane."""

    panes: int
    models: int = 250
    columns: int = 50
    rows: int = 40

    @property
    def shape(self) -> Shape:
        return Shape(numeric=self.columns * 4 // 5, text=self.columns - self.columns * 4 // 5)

    @property
    def releases(self) -> int:
        return self.models * len(Role)

    def model(self, number: int) -> str:
        return f"model-{number:03d}"

    def sources(self) -> list[Source]:
        return [
            Source(self.model(number), str(version), role)
            for number in range(self.models)
            for version, role in enumerate(Role, start=1)
        ]


def write_messages(scene: Scene, folder: Path) -> None:
    """One file a pane, of JSON messages in batches as a consumer would give them."""
    pane_ms = TimeSettings().pane_ms
    rows = scene.releases * scene.rows
    for pane in range(scene.panes):
        events = generate(
            rows,
            pane,
            scene.shape,
            scene.sources(),
            START_MS - START_MS % pane_ms + pane * pane_ms,
            rows * 1000 / pane_ms,
        )
        messages = json_messages(events)
        batches = (messages[at : at + BATCH] for at in range(0, rows, BATCH))
        write_blocks(folder / f"messages-{pane}", batches)


def write_references(scene: Scene, folder: Path) -> None:
    """A reference of each model, all on the same values."""
    events = generate(_REFERENCE_ROWS, 7, scene.shape)
    files = [to_json(reference_of(events, scene.model(number))) for number in range(scene.models)]
    write_blocks(folder / "references", [files])


def read_references(folder: Path) -> dict[str, Reference]:
    """By model."""
    found = [from_json(data) for block in read_blocks(folder / "references") for data in block]
    return {reference.model: reference for reference in found}


def write_blocks(path: Path, blocks: Iterator[Any] | Sequence[Any]) -> None:
    """Lists of bytes, or of (partition, bytes), each to be read without the others."""
    with path.open("ab") as file:
        for block in blocks:
            encoded = msgspec.msgpack.encode(block)
            file.write(_LENGTH.pack(len(encoded)))
            file.write(encoded)


def read_blocks(path: Path) -> Iterator[list[Any]]:
    """The inverse of :func:`write_blocks`, one block in memory at a time."""
    with path.open("rb") as file:
        while head := file.read(_LENGTH.size):
            yield msgspec.msgpack.decode(file.read(_LENGTH.unpack(head)[0]))

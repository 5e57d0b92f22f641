"""What travels on driftline's own topics, and how it is written down.

``driftline.summaries`` carries :class:`Delta` and :class:`Progress` as MessagePack; a model's
records all go to one partition (:func:`partition_for`). Results travel as JSON, so that anyone can
read them: every message has ``rows``, in the form of sinks/schema.py, which is what the store
writes; verdicts carry the whole verdict beside them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.categories import CategoryCounts
from detectors.finding import Evidence, Finding, Outcome
from detectors.layout import HEADERS, Header, Kind, Layout
from detectors.merging import Blocks
from detectors.release import Release, Role
from detectors.sketch import Sketch
from detectors.summary import Summaries
from detectors.verdict import Status, Verdict
from streams.sketch_bytes import PackedSketch, are_sketches, pack_sketch, unpack_sketches
from streams.timeline import NEVER

VERSION = 1
"""Of the records below; a reader refuses what it does not know."""
UNCOUNTED = -1
"""So many messages were lost that nobody can count them: their topic is gone."""


class Packed(msgspec.Struct, array_like=True, frozen=True):
    """Summaries without their layout: little-endian int64 and float64, sparse parts by column.

    What was read are views of the record, which is not copied.
    """

    vector: memoryview
    extremes: memoryview
    sketches: dict[str, PackedSketch]
    categories: dict[str, tuple[dict[str, int], int, int]]


class Group(msgspec.Struct, array_like=True, frozen=True):
    """What one (release, segment, pane) gained."""

    version: str
    role: Role
    segment: str
    pane_ms: int
    summaries: Packed


class Delta(msgspec.Struct, array_like=True, frozen=True, tag="delta"):
    """What one worker added to one model since its last flush. ``wall_ms``: when it flushed."""

    worker: str
    model: str
    reference: str
    columns: tuple[tuple[str, Kind], ...]
    topics: tuple[str, ...]
    wall_ms: int
    groups: tuple[Group, ...]


class PartitionProgress(msgspec.Struct, array_like=True, frozen=True):
    """How far one input partition has been read, and what became of what was read since the last
    report: offsets [first_offset, next_offset) hold ``messages`` messages; their rows were counted
    as ``events``, or were dead-lettered, late or beyond a cap. ``lost``: messages that were deleted
    before anybody read them, UNCOUNTED if nobody knows how many; they came before all that is in
    this report, and after an event of ``lost_after_ms``."""

    topic: str
    partition: int
    partitions: int
    newest_ms: int
    idle: bool
    first_offset: int
    next_offset: int
    messages: int
    events: int
    dead: int
    late: int
    capped: int
    lost: int = 0
    lost_after_ms: int = NEVER


class Progress(msgspec.Struct, array_like=True, frozen=True, tag="progress"):
    """The clock of one worker, sent to every partition of the topic at every flush."""

    worker: str
    wall_ms: int
    partitions: tuple[PartitionProgress, ...]


Record = Delta | Progress
_Kind = TypeVar("_Kind")

_EVENTS = struct.Struct(f"<{HEADERS.index(Header.FAILED)}q")
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


class Unreadable(ValueError):
    """A record on one of our own topics is not ours, or of a version we do not know."""


def encode(record: Record) -> bytes:
    return bytes((VERSION,)) + _encoder.encode(record)


def decode(value: bytes | None) -> Record:
    return read_record(value, _decoder)


def read_record(value: bytes | None, decoder: msgspec.msgpack.Decoder[_Kind]) -> _Kind:
    """A record of ``driftline.summaries``; :class:`Unreadable` if it is none of the decoder's."""
    if not value or value[0] != VERSION:
        raise Unreadable("not a record of this version of driftline")
    try:
        return decoder.decode(memoryview(value)[1:])
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unreadable(f"not a summaries record: {type(error).__name__}") from error


def partition_for(model: str, partitions: int) -> int:
    """The partition of every internal topic that a model's records go to."""
    digest = blake2b(model.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % partitions


def pack(summaries: Summaries) -> Packed:
    return Packed(
        _bytes(summaries.vector, "<i8"),
        _bytes(summaries.extremes, "<f8"),
        {name: pack_sketch(sketch) for name, sketch in sorted(summaries.sketches.items())},
        {
            name: (dict(sorted(counts.counts.items())), counts.other, counts.cap)
            for name, counts in sorted(summaries.categories.items())
        },
    )


def _bytes(numbers: NDArray[Any], form: str) -> memoryview:
    return memoryview(numbers.astype(form).tobytes())


def check(packed: Iterable[Packed], layout: Layout) -> None:
    """Raises :class:`Unreadable` if any of these was packed in another layout."""
    width, extremes = 8 * layout.width, 16 * len(layout.columns)
    sketches: list[PackedSketch] = []
    for each in packed:
        size = len(each.vector)
        if size != width or len(each.extremes) != extremes:
            found = f"summaries of {size // 8} integers"
            raise Unreadable(f"{found} do not fit a layout of {layout.width}")
        sketches += each.sketches.values()
    if not are_sketches(sketches):
        raise Unreadable("summaries with a sketch whose keys and counts differ in number")


def events_of(packed: Packed) -> int:
    """As :attr:`Summaries.events`."""
    return sum(_EVENTS.unpack_from(packed.vector))


def unpack(packed: Packed, layout: Layout) -> Summaries:
    """The inverse of :func:`pack`, given the layout it was packed in."""
    check((packed,), layout)
    vector = np.frombuffer(packed.vector, "<i8").astype(np.int64)
    extremes = np.frombuffer(packed.extremes, "<f8").astype(np.float64)
    sizes, keys, counts = unpack_sketches(list(packed.sketches.values()))
    ends = np.cumsum(sizes).tolist()
    return Summaries(
        layout,
        vector,
        extremes.reshape(2, len(layout.columns)),
        {
            name: Sketch(keys[end - size : end], counts[end - size : end])
            for name, size, end in zip(packed.sketches, sizes, ends, strict=True)
        },
        {
            name: CategoryCounts(counts, other, cap)
            for name, (counts, other, cap) in packed.categories.items()
        },
    )


def unpack_all(
    packed: Sequence[Packed], layout: Layout, kernel: Callable[..., None] | None = None
) -> Blocks:
    """Of one layout, at least one, each checked before: in one step. ``kernel``: see
    :func:`streams.sketch_bytes.unpack_sketches`."""
    columns = len(layout.columns)
    sketches = [sketch for block in packed for sketch in block.sketches.values()]
    sizes, keys, counts = unpack_sketches(sketches, kernel)
    return Blocks(
        layout,
        _joined([block.vector for block in packed], "<i8").reshape(len(packed), layout.width),
        _joined([block.extremes for block in packed], "<f8").reshape(len(packed), 2, columns),
        [(at, name) for at, block in enumerate(packed) for name in block.sketches],
        sizes,
        keys,
        counts,
        [
            (at, {name: CategoryCounts(*counts) for name, counts in block.categories.items()})
            for at, block in enumerate(packed)
            if block.categories
        ],
    )


def _joined(parts: Sequence[memoryview], form: str) -> NDArray[Any]:
    # As an array that can be written to: kernels take no other.
    return np.frombuffer(bytearray().join(parts), form)


# --- results -------------------------------------------------------------------------------------

Row = dict[str, Any]


def encode_rows(rows: Sequence[Row | FindingRow], **beside: Any) -> bytes:
    return msgspec.json.encode({**beside, "rows": rows})


def nullable(value: float) -> float | None:
    return value if math.isfinite(value) else None


def release_row(release: Release) -> Row:
    return {"model": release.model, "version": release.version, "role": release.role.value}


class FindingRow(msgspec.Struct, frozen=True, gc=False):
    """A row of the table ``findings``. As JSON, what is not a finite number is null."""

    model: str
    version: str
    role: str
    segment: str
    column: str
    window_ms: int
    window_start: int
    window_end: int
    detector: str
    against: str
    revision: int
    statistic: float
    threshold: float
    n: int
    n_against: int
    outcome: str
    reason: str
    decides: bool
    critical: bool
    evidence: str
    effect: float
    effect_low: float
    effect_high: float
    direction: str
    onset: int
    offset: int


def finding_rows(findings: Iterable[Finding], offset: int) -> list[FindingRow]:
    """For :func:`encode_rows`: a window has some ten findings a column, so this is on the way of
    every one of them."""
    rows: list[FindingRow] = []
    known: Release | None = None
    role = ""
    for f in findings:
        release = f.release
        if release is not known:
            known, role = release, release.role.value
        rows.append(
            FindingRow(
                release.model,
                release.version,
                role,
                f.segment,
                f.column,
                f.window_ms,
                f.window_start_ms,
                f.window_start_ms + f.window_ms,
                f.detector,
                f.against,
                f.revision,
                f.statistic,
                f.threshold,
                f.n,
                f.n_against,
                f.outcome,
                f.reason,
                f.decides,
                f.critical,
                f.evidence,
                f.effect,
                f.effect_low,
                f.effect_high,
                f.direction,
                f.onset_ms,
                offset,
            )
        )
    return rows


def finding_row(finding: Finding, offset: int) -> Row:
    """The row as the store reads it."""
    (row,) = finding_rows((finding,), offset)
    read: Row = msgspec.json.decode(msgspec.json.encode(row))
    return read


def verdict_row(verdict: Verdict) -> Row:
    return {
        **release_row(verdict.release),
        "sequence": verdict.sequence,
        "status": verdict.status.value,
        "reason": verdict.reason,
        "as_of": verdict.as_of_ms,
        "window_start": verdict.window_start_ms,
        "window_ms": verdict.window_ms,
        "baseline_version": verdict.baseline_version,
        "events": verdict.events,
        "p95_latency_ms": nullable(verdict.p95_latency_ms),
        "p99_latency_ms": nullable(verdict.p99_latency_ms),
        "columns": list(dict.fromkeys(finding.column for finding in verdict.findings)),
        "further_events": verdict.further_events,
        "further_ms": verdict.further_ms,
        "upstream": list(verdict.upstream),
        "configuration": verdict.configuration,
        "reference": verdict.reference,
        "offset": verdict.offset,
    }


def encode_verdict(verdict: Verdict) -> bytes:
    """A message of driftline.verdicts: the verdict, and its row for the store."""
    return msgspec.json.encode({"verdict": verdict, "rows": [verdict_row(verdict)]})


def verdict_key(release: Release) -> bytes:
    """The key of driftline.verdicts, under which compaction keeps the newest verdict."""
    return msgspec.json.encode([release.model, release.version, release.role.value])


def decode_verdict(value: bytes) -> Verdict:
    """The inverse of :func:`encode_verdict`; :class:`Unreadable` if it is not one."""
    try:
        body = msgspec.json.decode(value)["verdict"]
        findings = tuple(_finding(item) for item in body.pop("findings"))
        return Verdict(
            release=_release(body.pop("release")),
            status=Status(body.pop("status")),
            p95_latency_ms=_number(body.pop("p95_latency_ms")),
            p99_latency_ms=_number(body.pop("p99_latency_ms")),
            findings=findings,
            upstream=tuple(body.pop("upstream", ())),
            **body,
        )
    except (
        msgspec.DecodeError,
        RecursionError,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        raise Unreadable(f"not a verdict: {type(error).__name__}") from error


def _finding(body: dict[str, Any]) -> Finding:
    return Finding(
        release=_release(body.pop("release")),
        statistic=_number(body.pop("statistic")),
        threshold=_number(body.pop("threshold")),
        outcome=Outcome(body.pop("outcome")),
        evidence=Evidence(body.pop("evidence")),
        effect=_number(body.pop("effect", None)),
        effect_low=_number(body.pop("effect_low", None)),
        effect_high=_number(body.pop("effect_high", None)),
        **body,
    )


def _release(body: dict[str, str]) -> Release:
    return Release(body["model"], body["version"], Role(body["role"]))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)

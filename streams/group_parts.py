"""A group of a delta, cut into parts where it is larger than a record may be.

A model with a thousand columns of long names has sketches and categories of some megabytes in one
(release, segment, pane). Summaries are added up wherever they arrive, so what is one group may as
well be several: the first has the vector, with all counts, and each a share of the sketches and
categories. Nothing changes in the sum.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from detectors.layout import Layout
from detectors.summary import Summaries
from streams.sketch_bytes import sketch_bytes
from streams.wire import Group, Packed, pack

_ENTRY_BYTES = 12
"""Of a category or a column beside its name, at most: a count, and how long it is."""


def in_parts(group: Group, layout: Layout, most_bytes: int) -> Iterator[tuple[Group, int]]:
    """Groups that add up to this one, each with about how many bytes it has: at most
    ``most_bytes``, or the vector, or one column where that alone is larger."""
    packed = group.summaries
    vector = len(packed.vector) + len(packed.extremes)
    sizes = _sizes(packed)
    total = vector + sum(sizes.values())
    if total <= most_bytes:
        yield group, total
        return
    nothing = pack(Summaries.empty(layout))
    bare, names, size = packed, list[str](), vector
    for name, more in sizes.items():
        if names and size + more > most_bytes:
            yield _part(group, bare, names), size
            bare, names, size = nothing, [], vector
        names.append(name)
        size += more
    yield _part(group, bare, names), size


def _sizes(packed: Packed) -> dict[str, int]:
    """Of the part of each column beside the vector."""
    sizes = {
        name: len(name) + sketch_bytes(sketch) + 2 * _ENTRY_BYTES
        for name, sketch in packed.sketches.items()
    }
    for name, (counts, _, _) in packed.categories.items():
        here = len(name) + sum(map(_bytes, counts)) + _ENTRY_BYTES * (len(counts) + 2)
        sizes[name] = sizes.get(name, 0) + here
    return sizes


def _bytes(name: str) -> int:
    return len(name) if name.isascii() else len(name.encode("utf-8", "surrogatepass"))


def _part(group: Group, bare: Packed, names: list[str]) -> Group:
    summaries = Packed(
        bare.vector,
        bare.extremes,
        {n: group.summaries.sketches[n] for n in names if n in group.summaries.sketches},
        {n: group.summaries.categories[n] for n in names if n in group.summaries.categories},
    )
    return msgspec.structs.replace(group, summaries=summaries)

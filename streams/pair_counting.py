"""From joined row numbers to counts: what the two halves of each pair said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.layout import Kind
from detectors.pairs import LATENCY, Differences, MeasureKey, PairCounts, measure_key
from detectors.reference import Reference
from streams.joiner import Block, Indices, Joined
from streams.pair_delta import PairKey
from streams.pair_settings import PairSettings


def count_pairs(
    joined: Joined,
    settings: PairSettings,
    reference_of: Callable[[str], Reference | None],
) -> dict[tuple[str, PairKey], PairCounts]:
    """Counts by model and (shadow's version, production's version, shadow's pane)."""
    if not len(joined.shadow):
        return {}
    firsts = np.array([block.first for block in joined.blocks])
    shadow_block = np.searchsorted(firsts, joined.shadow, side="right") - 1
    other_block = np.searchsorted(firsts, joined.production, side="right") - 1
    kinds: dict[tuple[str, str], int] = {}
    kind_of = np.array(
        [kinds.setdefault((block.model, block.rows.score), len(kinds)) for block in joined.blocks]
    )
    # A half's hash depends on its model and its score, so both halves have the same; two hashes
    # that collide across these are no pair.
    code = kind_of[shadow_block]
    code = np.where(code == kind_of[other_block], code, -1)
    found: dict[tuple[str, PairKey], PairCounts] = {}
    for (model, score), number in kinds.items():
        rows = np.flatnonzero(code == number)
        if not len(rows):
            continue
        shadow = _gather(joined.blocks, shadow_block[rows], joined.shadow[rows])
        production = _gather(joined.blocks, other_block[rows], joined.production[rows])
        keys = _keys_of(reference_of(model), shadow, production)
        for key, counts in _counted(shadow, production, keys, settings):
            more = PairCounts(scored=counts.measures) if score else counts
            found[model, key] = found.get((model, key), PairCounts()).merge(more)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One half of each pair, as arrays of one length."""

    versions: tuple[str, ...]
    version: Indices
    pane_ms: Indices
    label: NDArray[np.uint32]
    failed: NDArray[np.uint8]
    measures: dict[str, NDArray[np.float64]]


def _gather(blocks: Sequence[Block], block_of: Indices, rows: Indices) -> _Side:
    n = len(rows)
    versions: dict[str, int] = {}
    side = _Side(
        (),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.zeros(n, np.uint32),
        np.zeros(n, np.uint8),
        {},
    )
    order = np.argsort(block_of, kind="stable")
    numbers, starts = np.unique(block_of[order], return_index=True)
    for number, to in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
        block = blocks[number]
        of, at = block.rows, rows[to] - block.first
        codes = [versions.setdefault(version, len(versions)) for version, _ in of.releases]
        side.version[to] = np.array(codes)[of.release[at]]
        side.pane_ms[to] = of.pane_ms[at]
        side.label[to] = of.label[at]
        side.failed[to] = of.failed[at]
        for name, values in of.measures.items():
            if name not in side.measures:
                side.measures[name] = np.full(n, np.nan)
            side.measures[name][to] = values[at]
    return _Side(
        tuple(versions), side.version, side.pane_ms, side.label, side.failed, side.measures
    )


def _keys_of(
    reference: Reference | None, shadow: _Side, production: _Side
) -> dict[str, MeasureKey]:
    keys = {}
    for name in sorted(shadow.measures.keys() & production.measures.keys()):
        scale = None
        if reference is not None:
            at = reference.layout.index.get((name, Kind.NUMERIC))
            scale = None if at is None else reference.layout.columns[at].grid.scale
        keys[name] = measure_key(name, scale)
    return keys


def _counted(
    shadow: _Side, production: _Side, keys: dict[str, MeasureKey], settings: PairSettings
) -> list[tuple[PairKey, PairCounts]]:
    sort_keys = (shadow.pane_ms, production.version, shadow.version)
    order = np.lexsort(sort_keys)
    table = np.stack([key[order] for key in sort_keys])
    new = np.any(table[:, 1:] != table[:, :-1], axis=0)
    starts = np.concatenate(([0], np.flatnonzero(new) + 1))
    labelled = (shadow.label != 0) & (production.label != 0)
    differ = labelled & (shadow.label != production.label)
    shadow_failed = shadow.failed > production.failed
    production_failed = shadow.failed < production.failed
    found = []
    for start, rows in zip(starts.tolist(), np.split(order, starts[1:]), strict=True):
        pane, other, own = table[:, start].tolist()
        measures = {}
        for name, key in keys.items():
            relative = name == LATENCY
            differences = Differences.of(
                shadow.measures[name][rows],
                production.measures[name][rows],
                key[1],
                settings.latency_tolerance if relative else settings.tolerance,
                relative=relative,
            )
            if differences.n:
                measures[key] = differences
        counts = PairCounts(
            len(rows),
            int(labelled[rows].sum()),
            int(differ[rows].sum()),
            int(shadow_failed[rows].sum()),
            int(production_failed[rows].sum()),
            measures,
        )
        found.append(((shadow.versions[own], production.versions[other], pane), counts))
    return found

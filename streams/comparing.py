"""What a release is compared with in one window: the reference, and production's own traffic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from detectors.reference import Reference
from detectors.release import ALL, OTHER, Role
from detectors.summary import Summaries
from detectors.thresholds import Against, Comparison
from streams.model_state import Interval, IntervalKey

Held = Mapping[IntervalKey, Interval]


def main_production(keys: Iterable[IntervalKey], intervals: Held) -> str | None:
    """The production version with most of the traffic in a window."""
    events = {
        key.version: intervals[key].events()
        for key in keys
        if key.role is Role.PRODUCTION and key.segment == ALL and key.version != OTHER
    }
    return max(events, key=lambda version: (events[version], version)) if events else None


def comparisons(
    key: IntervalKey, intervals: Held, reference: Reference | None, production: str | None
) -> Iterator[Comparison]:
    """Of one (release, segment) in one window: with the reference, and for anything but production
    itself with the production traffic of the same window."""
    shown = shown_block(intervals[key], reference)
    if reference is not None and shown.layout.reference == reference.id:
        normal = reference.segments.get(key.segment)
        if key.segment == ALL:
            normal = reference.summaries
        if normal is not None:
            yield Comparison(shown, normal, f"reference:{reference.id}", Against.REFERENCE)
    if key.role is Role.PRODUCTION or production is None:
        return
    twin = intervals.get(
        IntervalKey(key.length_ms, key.start_ms, production, Role.PRODUCTION, key.segment)
    )
    pair = common_blocks(intervals[key], twin) if twin else None
    if pair is not None:
        yield Comparison(*pair, f"production:{production}", Against.PRODUCTION)


def shown_block(interval: Interval, reference: Reference | None) -> Summaries:
    """The summaries to show: those on the current reference, or else the ones with most events."""
    if reference is not None and reference.id in interval.blocks:
        return interval.blocks[reference.id]
    return max(interval.blocks.values(), key=lambda block: (block.events, block.layout.reference))


def common_blocks(mine: Interval, other: Interval) -> tuple[Summaries, Summaries] | None:
    """Summaries of both on the same reference: the one on which most events can be compared."""
    ours, theirs = mine.blocks, other.blocks
    common = ours.keys() & theirs.keys()
    if len(common) < 2:
        return next(((ours[one], theirs[one]) for one in common), None)
    best = max(common, key=lambda r: (min(ours[r].events, theirs[r].events), r))
    return ours[best], theirs[best]

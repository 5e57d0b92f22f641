"""Messages that were deleted before anybody read them: what the judge makes of such a gap.

So it is where ``summaries`` was deleted and made again: whatever workers had told in it of the
partitions of their inputs may not have been read, up to where they stand when they tell more.

Which model's events stood in them nobody knows, so every model that was seen in the topic has the
gap. Until the first window has closed in which nothing is missing, its releases are BLIND: what is
left of a stretch of traffic is not a sample of it, and must not pass or fail a release. The gap
begins at the partition's clock before it, and ends at the clock in the first report with messages
after it; where none come, at the watermark.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from streams.timeline import NEVER, PartitionTime, aligned
from streams.wire import UNCOUNTED, Progress


class Gap(msgspec.Struct, array_like=True):
    """``messages`` lost (or UNCOUNTED) from a partition, after an event of ``after_ms`` and before
    one of ``until_ms`` (NEVER while nothing came after it). ``through``: the topic of ours that was
    made again, "" if it is the input itself that has the gap."""

    topic: str
    partition: int
    messages: int
    after_ms: int
    until_ms: int = NEVER
    through: str = ""


def enter(gaps: list[Gap], topics: Iterable[str], progress: Progress, mark_ms: int) -> bool:
    """Note in ``gaps`` what a worker reports of these topics; whether anything changed. A partition
    has one gap at most: a further one makes it longer. ``mark_ms``: the watermark."""
    known = {(gap.topic, gap.partition): gap for gap in gaps}
    wanted = set(topics)
    changed = False
    for entry in progress.partitions:
        gap = known.get((entry.topic, entry.partition))
        if entry.lost and entry.topic in wanted:
            changed = True
            if gap is None:
                gap = Gap(entry.topic, entry.partition, entry.lost, entry.lost_after_ms)
                gaps.append(gap)
            else:
                both = UNCOUNTED in (gap.messages, entry.lost)
                gap.messages = UNCOUNTED if both else gap.messages + entry.lost
                gap.until_ms = NEVER
        if gap is not None and gap.until_ms == NEVER and (entry.messages or entry.idle):
            gap.until_ms = entry.newest_ms if entry.messages else mark_ms
            changed |= gap.until_ms != NEVER
    return changed


def interrupt(
    gaps: list[Gap],
    topics: Iterable[str],
    times: Mapping[tuple[str, int], PartitionTime],
    through: str,
) -> None:
    """Note in ``gaps`` that ``through``, in which workers tell of these topics, was made again.
    ``times``: how far they had got by what was read of it."""
    known = {(gap.topic, gap.partition): gap for gap in gaps}
    wanted = set(topics)
    for (topic, partition), clock in sorted(times.items()):
        if topic not in wanted:
            continue
        gap = known.get((topic, partition))
        if gap is None:
            gap = Gap(topic, partition, UNCOUNTED, clock.newest_ms)
            gaps.append(gap)
        gap.messages, gap.until_ms, gap.through = UNCOUNTED, NEVER, through


def passed(gap: Gap, closed_ms: int, window_ms: int) -> bool:
    """Whether a window of this length that begins after the gap has closed."""
    return gap.until_ms != NEVER and closed_ms >= aligned(gap.until_ms, window_ms) + 2 * window_ms


def in_words(gaps: list[Gap]) -> str:
    """Why a model is BLIND; "" if nothing is missing."""
    if not gaps:
        return ""
    first = max(gaps, key=lambda gap: gap.messages)
    where = f"{first.topic}[{first.partition}]"
    said = f"{first.messages} messages of {where} were deleted before they were read"
    if first.messages == UNCOUNTED:
        again = first.through or first.topic
        said = f"{again} was made again; what was not read of the old topic is gone"
    more = f" (and some of {len(gaps) - 1} more partitions)" if len(gaps) > 1 else ""
    return f"{said}{more}; no window without them has closed yet"

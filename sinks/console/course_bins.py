"""The stretch of event time that a page shows, and how finely.

It ends where the newest data of the model ends, not now: what is replayed or stopped is still
there to be looked at, and the page says how old it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sinks.console.store_view import StoreView, Told
from sinks.console.wanted import Wanted

_MOST_BINS: Final = 96
_MOST_WINDOWS: Final = 3_000
"""Windows of a column in the time shown: beyond it a longer window is taken."""

WINDOWS: Final = """
SELECT window_ms, toUnixTimestamp64Milli(min(window_start)),
    toUnixTimestamp64Milli(max(window_end))
FROM {db}.windows
WHERE model = {model:String} AND segment = 'all' AND column = 'error'
GROUP BY window_ms ORDER BY window_ms LIMIT 50
"""
SEGMENTS: Final = """
SELECT DISTINCT segment FROM {db}.windows
WHERE model = {model:String} AND column = 'error' AND window_ms = {window:UInt32}
    AND window_start >= fromUnixTimestamp64Milli({from:Int64})
    AND window_start < fromUnixTimestamp64Milli({to:Int64})
ORDER BY segment != 'all', segment LIMIT 200
"""


@dataclass(frozen=True, slots=True)
class Span:
    """``from_ms`` to ``to_ms`` in steps of ``step_ms``, a whole number of windows of
    ``window_ms``; ``newest_ms``: where the data ends; ``windows``: the lengths that there are."""

    from_ms: int
    to_ms: int
    newest_ms: int
    window_ms: int
    step_ms: int
    windows: tuple[int, ...]


def read_span(store: StoreView, wanted: Wanted) -> tuple[Span | None, Told]:
    """None where the store has nothing of the model."""
    told = store.told(WINDOWS, {"model": wanted.model})
    rows = [(int(window_ms), int(first), int(last)) for window_ms, first, last in told]
    if not rows:
        return None, told
    windows = tuple(window_ms for window_ms, _, _ in rows)
    newest_ms = max(last for _, _, last in rows)
    # Younger data is shown whole: no need to look at the time before it.
    span_ms = min(wanted.span_ms, newest_ms - min(first for _, first, _ in rows))
    return span_of(windows, newest_ms, span_ms, wanted.window_ms), told


def span_of(windows: tuple[int, ...], newest_ms: int, span_ms: int, window_ms: int) -> Span:
    """The stretch that ends at ``newest_ms``; ``window_ms`` 0 takes the shortest window of which
    there are not too many.

    >>> span = span_of((60_000, 300_000), 7_200_000, 3_600_000, 0)
    >>> span.from_ms, span.to_ms, span.window_ms, span.step_ms
    (3600000, 7200000, 60000, 60000)
    """
    few = [each for each in windows if span_ms / each <= _MOST_WINDOWS]
    chosen = window_ms if window_ms in windows else min(few, default=max(windows))
    step_ms = -(-span_ms // (_MOST_BINS * chosen)) * chosen
    to_ms = -(-newest_ms // step_ms) * step_ms
    from_ms = (newest_ms - span_ms) // step_ms * step_ms
    return Span(min(from_ms, to_ms - step_ms), to_ms, newest_ms, chosen, step_ms, windows)


def read_segments(store: StoreView, wanted: Wanted, span: Span) -> Told:
    """The segments that the model has in this stretch, one a row, `all` first."""
    return store.told(
        SEGMENTS,
        {
            "model": wanted.model,
            "window": span.window_ms,
            "from": span.from_ms,
            "to": span.to_ms,
        },
    )

"""JSON, one event a message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from streams.codecs.messages import refuse_message
from streams.codecs.speculative.loading import Kernels, ready
from streams.codecs.two_paths import TwoPaths
from streams.event import Bounds, Decoded, Reject


class JsonEvent:
    """One JSON object a message."""

    name = "json"

    def __init__(
        self,
        *,
        keep_request_ids: bool = False,
        kernels: Callable[[], Kernels | None] = ready,
    ) -> None:
        """``kernels``: asked at every call; without them the columns are the same."""
        self._rows = TwoPaths(kernels, keep_request_ids=keep_request_ids)

    def decode(
        self, values: Sequence[bytes | None], kafka_ts_ms: Sequence[int] | None, bounds: Bounds
    ) -> Decoded:
        """See ``streams.event.Codec``. Every message is one row."""
        rejects: list[Reject] = []
        raw: list[bytes] = []
        if _all_fit(values, bounds.max_message_bytes):
            raw = cast("list[bytes]", values)
            source = np.arange(len(values), dtype=np.int64)
        else:
            kept: list[int] = []
            for at, value in enumerate(values):
                reject = refuse_message(at, value, bounds)
                if reject is not None:
                    rejects.append(reject)
                elif value is not None:
                    raw.append(value)
                    kept.append(at)
            source = np.array(kept, dtype=np.int64)
        batches, unread = self._rows.read_messages(raw, source, kafka_ts_ms, bounds)
        rejects = sorted(rejects + unread, key=lambda reject: reject.source)
        return Decoded(tuple(batches), tuple(rejects), np.ones(len(values), dtype=np.int64))


def _all_fit(values: Sequence[bytes | None], largest: int) -> bool:
    """Whether every message is there, not empty, and not too large."""
    try:
        sizes = list(map(len, cast("Sequence[bytes]", values)))
    except TypeError:  # None has no length
        return False
    return bool(sizes) and min(sizes) > 0 and max(sizes) <= largest

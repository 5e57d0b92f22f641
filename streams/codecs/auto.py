"""The codec of every message by itself: for topics on which producers disagree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from streams.codecs.arrow_batch import ArrowBatch
from streams.codecs.json_event import JsonEvent
from streams.codecs.ndjson import Ndjson
from streams.codecs.sniff import sniff
from streams.codecs.speculative.loading import Kernels, ready
from streams.event import Bounds, Codec, Decoded, EventBatch, Reject


class Auto:
    """Looks at the first bytes of each message and hands it to JSON, NDJSON or Arrow.

    Batches of different codecs stay apart, so rows are in order within each batch.
    """

    name = "auto"

    def __init__(
        self,
        *,
        keep_request_ids: bool = False,
        kernels: Callable[[], Kernels | None] = ready,
    ) -> None:
        """``kernels``: see ``JsonEvent``."""
        self._codecs: dict[str, Codec] = {
            codec.name: codec
            for codec in (
                JsonEvent(keep_request_ids=keep_request_ids, kernels=kernels),
                Ndjson(keep_request_ids=keep_request_ids, kernels=kernels),
                ArrowBatch(keep_request_ids=keep_request_ids),
            )
        }

    def decode(
        self, values: Sequence[bytes | None], kafka_ts_ms: Sequence[int] | None, bounds: Bounds
    ) -> Decoded:
        """See ``streams.event.Codec``."""
        sources: dict[str, list[int]] = {}
        for source, value in enumerate(values):
            sources.setdefault(sniff(value), []).append(source)
        if len(sources) == 1:
            return self._codecs[next(iter(sources))].decode(values, kafka_ts_ms, bounds)
        batches: list[EventBatch] = []
        rejects: list[Reject] = []
        rows = np.zeros(len(values), dtype=np.int64)
        for name, mine in sorted(sources.items()):
            times = None if kafka_ts_ms is None else [kafka_ts_ms[source] for source in mine]
            decoded = self._codecs[name].decode([values[i] for i in mine], times, bounds)
            source_of = np.array(mine, dtype=np.int64)
            rows[source_of] = decoded.rows
            batches += [replace(batch, source=source_of[batch.source]) for batch in decoded.batches]
            rejects += [replace(reject, source=mine[reject.source]) for reject in decoded.rejects]
        rejects.sort(key=lambda reject: (reject.source, reject.row))
        return Decoded(tuple(batches), tuple(rejects), rows)

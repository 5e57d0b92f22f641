"""JSON, one event a message."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streams.codecs.json_rows import JsonRows, JsonTexts
from streams.codecs.messages import refuse_message
from streams.event import Bounds, Decoded, Reject


class JsonEvent:
    """One JSON object a message."""

    name = "json"

    def __init__(self, *, keep_request_ids: bool = False) -> None:
        self._rows = JsonRows(keep_request_ids=keep_request_ids)

    def decode(
        self, values: Sequence[bytes | None], kafka_ts_ms: Sequence[int] | None, bounds: Bounds
    ) -> Decoded:
        """See ``streams.event.Codec``. Every message is one row."""
        rejects: list[Reject] = []
        texts = JsonTexts()
        largest = bounds.max_message_bytes
        if all(value and len(value) <= largest for value in values):
            texts.raw = [value for value in values if value]
            texts.source = list(range(len(values)))
        else:
            for source, value in enumerate(values):
                reject = refuse_message(source, value, bounds)
                if reject is not None:
                    rejects.append(reject)
                elif value is not None:
                    texts.raw.append(value)
                    texts.source.append(source)
        texts.row = [-1] * len(texts.raw)
        batches, unread = self._rows.read(texts, kafka_ts_ms, bounds)
        rejects = sorted(rejects + unread, key=lambda reject: reject.source)
        return Decoded(tuple(batches), tuple(rejects), np.ones(len(values), dtype=np.int64))

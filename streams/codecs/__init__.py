"""Codecs: bytes from Kafka to columns. A codec is one class and one line in ``CODECS``."""

from __future__ import annotations

from collections.abc import Callable

from streams.codecs.arrow_batch import ArrowBatch
from streams.codecs.auto import Auto
from streams.codecs.json_event import JsonEvent
from streams.codecs.ndjson import Ndjson
from streams.codecs.sniff import sniff
from streams.codecs.speculative.loading import Kernels, ready, warm_up
from streams.event import Codec

__all__ = [
    "CODECS",
    "CONTENT_TYPES",
    "UnknownCodecError",
    "choose",
    "make_codec",
    "warm_up",
]

CODECS: dict[str, type[JsonEvent | Ndjson | ArrowBatch | Auto]] = {
    JsonEvent.name: JsonEvent,
    Ndjson.name: Ndjson,
    ArrowBatch.name: ArrowBatch,
    Auto.name: Auto,
}
"""By the name that configuration uses."""

CONTENT_TYPES = {
    "application/json": JsonEvent.name,
    "application/x-ndjson": Ndjson.name,
    "application/ndjson": Ndjson.name,
    "application/jsonl": Ndjson.name,
    "application/x-jsonlines": Ndjson.name,
    "application/vnd.apache.arrow.stream": ArrowBatch.name,
}
"""By the media type in a message's ``content-type`` header."""


class UnknownCodecError(ValueError):
    """Configuration names a codec that does not exist."""


def make_codec(
    name: str,
    *,
    keep_request_ids: bool = False,
    kernels: Callable[[], Kernels | None] = ready,
) -> Codec:
    """A codec by its name. It keeps what it learns, so use one per topic and worker.

    ``kernels``: the compiled part, asked for at every call; ``warm_up`` at the start of a worker
    makes ready have it. The columns do not depend on it.
    """
    codec = CODECS.get(name)
    if codec is None:
        raise UnknownCodecError(f"no codec is named {name!r}: use one of {', '.join(CODECS)}")
    if issubclass(codec, ArrowBatch):
        return codec(keep_request_ids=keep_request_ids)
    return codec(keep_request_ids=keep_request_ids, kernels=kernels)


def choose(name: str, content_type: str | None, value: bytes | None) -> str:
    """The codec for one message: the configured one, else by its header, else by first bytes.

    ``content_type`` is the header's text, with or without parameters; an unknown one is ignored.
    """
    if name != Auto.name:
        return name
    if content_type is not None:
        named = CONTENT_TYPES.get(content_type.partition(";")[0].strip().lower())
        if named is not None:
            return named
    return sniff(value)

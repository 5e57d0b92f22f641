"""The engine of the benchmark ``store``: the embedded store, migrated, with its HTTP port on
loopback, until it is told to end. It prints one JSON line with the port: ``python -m
bench.store_engine FOLDER``."""

from __future__ import annotations

import json
import sys
import threading

import structlog

from sinks.embedded_store import EmbeddedStore
from sinks.http_face import HttpFace, HttpFaceSettings
from sinks.migrations import migrate
from streams.stopping import stop_signals

_BODY_BYTES = 1 << 30
"""A batch of the fullest second is larger than what the port takes from strangers."""


def main() -> int:
    # stdout is for the one line that is read.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    stop = stop_signals()
    with EmbeddedStore(sys.argv[1]) as store:
        migrate(store.client)
        face = HttpFace(store, 0, HttpFaceSettings(max_body_bytes=_BODY_BYTES))
        face.start()
        print(json.dumps({"port": face.port}), flush=True)
        waiting = threading.Event()
        while not stop():
            waiting.wait(0.1)
        face.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())

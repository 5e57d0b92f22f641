"""An ASGI application behind a real socket, served by a thread of the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import uvicorn

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp

QUIET: Final = {"log_config": None, "lifespan": "off", "ws": "none", "timeout_keep_alive": 1}
"""Options for pages that a browser looks at."""
_START_S: Final = 10.0


@contextmanager
def running(app: ASGIApp, listener: socket.socket, **options: Any) -> Iterator[int]:
    """``app`` at ``listener``, with uvicorn's ``options``; gives the port."""
    server = uvicorn.Server(uvicorn.Config(app, **options))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        end = time.monotonic() + _START_S
        while not server.started:
            assert time.monotonic() < end, "the server did not start"
            time.sleep(0.01)
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(10)

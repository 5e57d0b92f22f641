"""Run a small HTTP service on a free port and say where it is."""

from __future__ import annotations

import socket
import sys

import uvicorn
from fastapi import FastAPI, Request

MAX_BODY_BYTES = 512 * 1024


class TooLarge(Exception):
    """A request whose body is beyond the limit."""


async def read_body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """The raw body. Raises TooLarge as soon as it passes ``limit``, whatever it declared."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge
    return bytes(body)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.listen(128)
    return listener


def server(app: FastAPI) -> uvicorn.Server:
    """A quiet server for ``app``; call ``serve(sockets=[...])`` or ``run(sockets=[...])``."""
    return uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    )


def run(app: FastAPI, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM. The first line on stdout is the address."""
    try:
        listener = bind(host, port)
    except OSError as error:
        sys.exit(f"cannot listen on {host}:{port} ({error.strerror}); choose another --port")
    with listener:
        print(f"http://{host}:{listener.getsockname()[1]}", flush=True)
        server(app).run(sockets=[listener])

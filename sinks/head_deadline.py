"""HTTP/1.1 connections that must get on with it.

uvicorn bounds the time between requests and the number of connections, but not how long the head
of a request may take, nor for how long a body may go on after it was answered. Without this, as
many clients as there are places (`serve.max_connections`) that send a byte now and then would keep
everybody else out.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class HeadDeadline(H11Protocol):
    """Hangs up on who has not sent the head of a request ``head_s`` after it could have begun, or
    still sends the body of one that was answered so long ago."""

    head_s: ClassVar[float] = 10.0

    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        """Start the clock if we wait for the client, stop it if the client waits for us."""
        if self.conn.their_state is not h11.IDLE and self.conn.our_state is not h11.DONE:
            self._rest()
        elif self._due is None:
            self._due = self.loop.call_later(self.head_s, self.transport.close)

    def _rest(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

"""A TCP proxy on loopback that does to connections what networks do.

It knows nothing of what it carries. Faults are set from any thread while it runs, for all
connections from then on: latency, bandwidth, silence, connections that are dead without a word
(half-open), resets, and a cut after so many bytes.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

_LOOK_S = 0.02
_CHUNK = 64 * 1024


@dataclass(slots=True)
class Link:
    """What the network is like now. ``latency_s``: for each chunk, each way. ``bytes_per_s``: of
    each connection, each way; 0 for no limit. ``silent``: nothing gets through, and nobody is told.
    ``refusing``: who connects is reset at once. ``cut_after``: so many bytes from clients get
    through, of all connections together; then the one that sent them is reset; -1 for no cut.
    ``unanswered``: so many answers are thrown away, and their connections reset."""

    latency_s: float = 0.0
    bytes_per_s: float = 0.0
    silent: bool = False
    refusing: bool = False
    cut_after: int = -1
    unanswered: int = 0


@dataclass(slots=True, eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    dead: bool = False


class TcpProxy:
    """Listens at ``port`` (0: any that is free) and connects to ``upstream``, a port of this
    machine. ``connections`` and ``resets`` count since the start."""

    def __init__(self, upstream: int, port: int = 0) -> None:
        self.link = Link()
        self.connections = 0
        self.resets = 0
        self._upstream = upstream
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port = int(self._socket.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._open: set[_Connection] = set()
        self._stopped = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listening.wait(10):
            raise RuntimeError("the proxy does not come up")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    def reset(self) -> None:
        """Every connection there is ends at once, with a reset at both ends."""
        self._loop.call_soon_threadsafe(self._reset_all)

    def forget(self) -> None:
        """Every connection there is is dead, and neither end is told: what they send is swallowed,
        as by a firewall that has lost its table. New connections work."""
        self._loop.call_soon_threadsafe(self._forget_all)

    def heal(self) -> None:
        """A good network from now on. What was forgotten stays dead."""
        self.link = Link()

    # --- in the loop -----------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, sock=self._socket)
        self._listening.set()
        await self._stopped.wait()
        server.close()
        self._reset_all()
        tasks = [each for each in asyncio.all_tasks() if each is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.link.refusing:
            self._abort(writer)
            return
        try:
            there, to_server = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            self._abort(writer)
            return
        connection = _Connection(writer, to_server)
        self._open.add(connection)
        try:
            with suppress(asyncio.CancelledError):  # the proxy stops
                await asyncio.gather(
                    self._pump(connection, reader, to_server, upwards=True),
                    self._pump(connection, there, writer, upwards=False),
                )
        finally:
            self._open.discard(connection)
            for end in (writer, to_server):
                end.close()

    async def _pump(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        upwards: bool,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                while self.link.silent:
                    await asyncio.sleep(_LOOK_S)
                link = self.link
                if connection.dead:
                    continue
                if link.latency_s:
                    await asyncio.sleep(link.latency_s)
                if link.bytes_per_s:
                    await asyncio.sleep(len(data) / link.bytes_per_s)
                if upwards and 0 <= link.cut_after < len(data):
                    writer.write(data[: link.cut_after])
                    link.cut_after = -1
                    self._reset(connection)
                    return
                if upwards and link.cut_after >= 0:
                    link.cut_after -= len(data)
                if not upwards and link.unanswered > 0:
                    link.unanswered -= 1
                    self._reset(connection)
                    return
                writer.write(data)
                await writer.drain()
        if not connection.dead:
            with suppress(OSError):
                writer.write_eof()

    def _reset_all(self) -> None:
        for connection in list(self._open):
            self._reset(connection)

    def _forget_all(self) -> None:
        for connection in self._open:
            connection.dead = True

    def _reset(self, connection: _Connection) -> None:
        self.resets += 1
        self._abort(connection.client)
        self._abort(connection.server)

    @staticmethod
    def _abort(writer: asyncio.StreamWriter) -> None:
        """Ends a connection with a reset."""
        connected = writer.get_extra_info("socket")
        if connected is not None:
            with suppress(OSError):
                linger = struct.pack("ii", 1, 0)
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

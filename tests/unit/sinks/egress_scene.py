"""A server on loopback that counts who connects, and a resolver that answers as it is told."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

PEM = Path(__file__).with_name("deployer_test.pem")  # a self-signed pair made for this test
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Listener:
    """A server on loopback that counts connections and keeps the head of each request."""

    port: int = 0
    connects: int = 0
    heads: list[str] = field(default_factory=list)


@asynccontextmanager
async def listening(
    reply: bytes = OK, tls: ssl.SSLContext | None = None, drip: bytes = b"", drips: int = 0
) -> AsyncIterator[Listener]:
    seen = Listener()
    serving: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connects += 1
        serving[asyncio.current_task()] = writer
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            seen.heads.append(head.decode())
            writer.write(reply)
            for _ in range(drips):
                writer.write(drip)
                await writer.drain()
                await asyncio.sleep(0.05)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        for writer in serving.values():
            writer.transport.abort()
        await asyncio.gather(*filter(None, serving))


def resolver(*answers: list[str]) -> tuple[Callable[[str, int], Awaitable[list[str]]], list[str]]:
    """Answers in turn, the last for ever; and the list of the names that were asked for."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return resolve, asked

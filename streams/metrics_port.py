"""The metrics port of a role: Prometheus' text format at ``/metrics``.

Every process answers for itself, as Prometheus expects: it scrapes processes, and ``up == 0`` is
how it learns that one is gone. ``serve`` has its metrics on its own port; the other roles open one
here if ``metrics.port`` is set. ``driftline up`` gives each role a port of its own and writes the
list for Prometheus' file-based discovery.

Names that producers choose are in no label here: what is labelled is topics, partitions, tables,
receivers and closed sets, so the number of series is bounded by the configuration.
"""

from __future__ import annotations

import errno
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, ClassVar, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, make_wsgi_app

from streams.errors import UnavailableError, UserError

log = structlog.get_logger()

MAX_SCRAPES: Final = 8
"""Connections served at a time; more are closed at once."""
_SILENCE_S: Final = 5.0
"""For how long a connection may say nothing."""


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Where a role answers Prometheus. ``port`` 0: nowhere. ``driftline up`` counts on from
    ``port``, one for each role. The metrics hold no payload, but have no password either."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    port: int = 0
    host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ValueError("metrics.port must be between 0 (off) and 65535")
        if not self.host or self.host != self.host.strip():
            raise ValueError("metrics.host must be an address, such as 127.0.0.1 or 0.0.0.0")


def new_registry() -> CollectorRegistry:
    """An empty registry with what every process has: memory, CPU, open files, its Python."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


@contextmanager
def metrics_port(settings: MetricsSettings, registry: CollectorRegistry) -> Iterator[int]:
    """Answer scrapes while the block runs, in threads of their own; gives the port.

    Port 0 opens nothing and gives 0. Raises `UserError` if the address cannot be used.
    """
    if not settings.port:
        yield 0
        return
    with open_port(settings.host, settings.port, registry) as port:
        yield port


@contextmanager
def open_port(host: str, port: int, registry: CollectorRegistry) -> Iterator[int]:
    """As `metrics_port`, but port 0 takes a free one."""
    where = f"{host}:{port}"
    try:
        server = _Server((host, port), _Handler)
    except OSError as error:
        raise _not_bound(error, where) from None
    server.set_app(make_wsgi_app(registry))
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    taken = int(server.server_address[1])
    log.info("metrics_port_open", host=host, port=taken)
    try:
        yield taken
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=2)


def _not_bound(error: OSError, where: str) -> UserError:
    if error.errno == errno.EADDRINUSE:
        return UnavailableError(
            "the port is in use", where, "stop the other process or change metrics.port"
        )
    why = error.strerror or type(error).__name__
    return UserError(f"cannot listen: {why}", where, "check metrics.host and metrics.port")


class _Handler(WSGIRequestHandler):
    timeout = _SILENCE_S

    def log_message(self, *_: Any) -> None:
        """A scrape is no news."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each scrape, and a bound on how many there are."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._room = threading.BoundedSemaphore(MAX_SCRAPES)
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks the resolver for the machine's name, which may take seconds.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "driftline", int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scraper that went away is no news either."""


def write_targets(path: Path, targets: Mapping[str, str]) -> None:
    """A file for ``file_sd_configs`` of Prometheus: each role and its ``host:port``."""
    groups = [{"targets": [address], "labels": {"role": role}} for role, address in targets.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(json.dumps(groups, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)

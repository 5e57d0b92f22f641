"""A receiver of rollbacks that keeps a log of what it was asked and what it did.

It does what Standard Webhooks asks of a receiver and nothing more: it knows the ids that it has
seen. It does not look at which version runs, so that a rollback sent under two ids happens twice
and shows.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(slots=True)
class WebhookLog:
    """``deliveries``: the id of each request, in order. ``executed``: (model, version) of each id
    that was new. ``down``: requests are cut off unanswered, and nothing is executed."""

    deliveries: list[str] = field(default_factory=list)
    executed: list[tuple[str, str]] = field(default_factory=list)
    refused: int = 0
    down: bool = False


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that is cut off is what some cells are about."""


class WebhookReceiver:
    """Listens on loopback at ``place`` (host:port)."""

    def __init__(self) -> None:
        self.log = WebhookLog()
        log, lock = self.log, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if log.down:
                    log.refused += 1
                    self.close_connection = True
                    return
                with lock:
                    message_id = str(self.headers["webhook-id"])
                    if message_id not in log.deliveries:
                        log.executed.append(_target(body))
                    log.deliveries.append(message_id)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                """Says nothing."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.place = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _target(body: dict[str, Any]) -> tuple[str, str]:
    data = body["data"]
    return str(data["model"]), str(data.get("version", ""))

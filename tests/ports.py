"""Ports of loopback for processes that are told theirs."""

from __future__ import annotations

import socket


def free_port() -> int:
    """One that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])

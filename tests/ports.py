"""A port of loopback for a process that is told its own."""

from __future__ import annotations

from streams.free_ports import free_ports


def free_port() -> int:
    """One that nobody has at the moment."""
    return free_ports(1)[0]

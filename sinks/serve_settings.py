"""How the HTTP API is served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

DEFAULT_PORT = 8780


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Where the API listens and how old a verdict may be to count.

    ``port`` 0 takes a free one. ``token_file``: a file of bearer tokens, one a line, each valid,
    so that a token can be replaced without a gap; "" means that no token is asked for.
    ``max_verdict_age_ms``: a verdict written longer ago answers ``inconclusive``; it must be
    longer than the judge's interval of repeating an unchanged verdict. ``max_releases``: releases
    held in memory; beyond it the one not heard of for longest is dropped.
    ``max_connections``: beyond it the server answers 503.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token_file: str = ""
    max_verdict_age_ms: int = 300_000
    max_releases: int = 10_000
    max_connections: int = 512

    def __post_init__(self) -> None:
        if not self.host or self.host != self.host.strip():
            raise ValueError("host must be a name or an address, such as 127.0.0.1 or 0.0.0.0")
        if not 0 <= self.port <= 65_535:
            raise ValueError("port must be between 0 and 65535")
        if self.max_verdict_age_ms <= 0:
            raise ValueError("max_verdict_age must be above zero")
        if not 1 <= self.max_releases <= 1_000_000:
            raise ValueError("max_releases must be between 1 and 1000000")
        if not 1 <= self.max_connections <= 100_000:
            raise ValueError("max_connections must be between 1 and 100000")

"""How the HTTP API is served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

DEFAULT_PORT = 8780


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Where the API listens and how old a verdict may be to count.

    ``port`` 0 takes a free one. ``token_file``: a file of bearer tokens, one a line as ``TOKEN
    SCOPES NAME`` (`sinks.grants`), each valid, so that a token can be replaced without a gap; ""
    means that no token is asked for, and that nothing can be ordered.
    ``max_verdict_age_ms``: a verdict written longer ago answers ``inconclusive``; it must be
    longer than the judge's interval of repeating an unchanged verdict. ``max_data_age_ms``: a PASS
    whose newest data are older (by their own time, and by three panes at least) answers
    ``inconclusive`` as well: events or the line itself are late. ``max_releases``: releases held
    in memory; beyond it the one not heard of for longest is dropped.
    ``max_connections``: beyond it the server answers 503. ``requests_per_second`` of one client
    (a token, or an address), with bursts of ``burst``; beyond it 429.

    ``tls_cert_file`` and ``tls_key_file`` (PEM) turn on TLS; ``tls_client_ca_file`` also asks every
    client for a certificate of that authority.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token_file: str = ""
    max_verdict_age_ms: int = 300_000
    max_data_age_ms: int = 3_600_000
    max_releases: int = 10_000
    max_connections: int = 512
    requests_per_second: int = 100
    burst: int = 500
    tls_cert_file: str = ""
    tls_key_file: str = ""
    tls_client_ca_file: str = ""

    def __post_init__(self) -> None:
        if not self.host or self.host != self.host.strip():
            raise ValueError("host must be a name or an address, such as 127.0.0.1 or 0.0.0.0")
        if not 0 <= self.port <= 65_535:
            raise ValueError("port must be between 0 and 65535")
        if self.max_verdict_age_ms <= 0:
            raise ValueError("max_verdict_age must be above zero")
        if self.max_data_age_ms <= 0:
            raise ValueError("max_data_age must be above zero")
        if not 1 <= self.max_releases <= 1_000_000:
            raise ValueError("max_releases must be between 1 and 1000000")
        if not 1 <= self.max_connections <= 100_000:
            raise ValueError("max_connections must be between 1 and 100000")
        if not 1 <= self.requests_per_second <= 1_000_000 or not 1 <= self.burst <= 1_000_000:
            raise ValueError("requests_per_second and burst must be between 1 and 1000000")
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ValueError("tls_cert_file and tls_key_file go together")
        if self.tls_client_ca_file and not self.tls_cert_file:
            raise ValueError("tls_client_ca_file needs tls_cert_file")

    @property
    def tls(self) -> bool:
        return bool(self.tls_cert_file)

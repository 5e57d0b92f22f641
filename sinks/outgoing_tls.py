"""TLS of outgoing calls: whom we trust, and who we say we are."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

import httpx2

from sinks.errors import Permanent


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate of ours. It is shown to ``hosts`` alone (names, or ``host:port``; ``*`` stands
    for any part), and only if they ask for one. ``key_file`` may be the file of the certificate;
    both are PEM, the key without a passphrase. Read at start."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    hosts: tuple[str, ...] = ()
    cert_file: str = ""
    key_file: str = ""

    def __post_init__(self) -> None:
        if not self.hosts or not self.cert_file:
            raise ValueError("client_certificates: hosts and cert_file are needed")

    def shown_to(self, host: str, port: int) -> bool:
        """Whether this is the certificate for calls to ``host:port``."""
        return any(
            fnmatchcase(name, each) for each in self.hosts for name in (host, f"{host}:{port}")
        )


class OutgoingTls:
    """The TLS settings of each call. The first certificate that fits a host counts."""

    def __init__(self, ca_file: str, certificates: tuple[ClientCertificate, ...] = ()) -> None:
        """Raises Permanent if a file cannot be used; the text names the setting, and no content."""
        self._usual = trust(ca_file)
        self._ours = tuple((each, _with_certificate(ca_file, each)) for each in certificates)

    def to(self, host: str, port: int) -> ssl.SSLContext:
        """The context for a call to ``host:port``."""
        for certificate, context in self._ours:
            if certificate.shown_to(host, port):
                return context
        return self._usual


def trust(ca_file: str) -> ssl.SSLContext:
    """The usual authorities and those of ``ca_file`` (PEM). Raises Permanent if it is unusable."""
    context = httpx2.create_ssl_context(trust_env=False)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise Permanent(
                f"ca_file {ca_file} cannot be read ({type(error).__name__}); "
                "give a PEM file of certificates"
            ) from None
    return context


def tls_failure(error: BaseException) -> str:
    """What TLS found wrong while connecting, "" if that was not it; in OpenSSL's words, as the far
    side's own text is not to be quoted."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is refused ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return "the TLS handshake failed"
        cause = cause.__cause__ or cause.__context__
    return ""


def _with_certificate(ca_file: str, certificate: ClientCertificate) -> ssl.SSLContext:
    context = trust(ca_file)
    try:
        # With a passphrase given, a key that needs one is an error; without, OpenSSL would ask on
        # the terminal and wait.
        context.load_cert_chain(certificate.cert_file, certificate.key_file or None, password="")
    except (OSError, ssl.SSLError, ValueError) as error:
        raise Permanent(
            f"client_certificates: {certificate.cert_file} cannot be used"
            f" ({type(error).__name__}); give a certificate and its key in PEM, without passphrase"
        ) from None
    return context

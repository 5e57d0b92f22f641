"""TLS of the HTTP API: checked before the port is opened, so that a mistake is one line."""

from __future__ import annotations

import ssl
from typing import Any

from sinks.errors import Permanent
from sinks.serve_settings import ServeSettings


def tls_options(settings: ServeSettings) -> dict[str, Any]:
    """What uvicorn needs for TLS, {} without. Raises Permanent if a file cannot be used."""
    if not settings.tls:
        return {}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # With a passphrase given, a key that needs one is an error, and not a question on the
        # terminal that nobody answers.
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password="")
        if settings.tls_client_ca_file:
            context.load_verify_locations(settings.tls_client_ca_file)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise Permanent(
            f"serve.tls_*: a certificate or key cannot be used ({type(error).__name__});"
            " check the paths, and that the key fits the certificate and has no passphrase"
        ) from None
    options: dict[str, Any] = {
        "ssl_certfile": settings.tls_cert_file,
        "ssl_keyfile": settings.tls_key_file,
    }
    if settings.tls_client_ca_file:
        options["ssl_ca_certs"] = settings.tls_client_ca_file
        options["ssl_cert_reqs"] = int(ssl.CERT_REQUIRED)
    return options

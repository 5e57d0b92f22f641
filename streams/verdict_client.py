"""`driftline verdict`: asks a running ``serve`` and turns the answer into an exit code."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx2

from sinks.errors import Permanent
from sinks.outgoing_tls import ClientCertificate, OutgoingTls, tls_failure
from sinks.verdict_board import Decision
from streams.errors import UserError

TIMEOUT_S: Final = 10.0
_MAX_ANSWER_BYTES: Final = 1024 * 1024


class VerdictExit(IntEnum):
    """Exit codes under ``--exit-code``; 2 stands for: there was no answer."""

    PASS = 0
    FAIL = 1
    INCONCLUSIVE = 3


EXIT_CODES: Final = {
    Decision.PASS: VerdictExit.PASS,
    Decision.FAIL: VerdictExit.FAIL,
    Decision.INCONCLUSIVE: VerdictExit.INCONCLUSIVE,
}


@dataclass(frozen=True, slots=True)
class VerdictAnswer:
    """What serve said: the decision, its status and reasons, and the answer as it came (JSON)."""

    decision: Decision
    status: str
    role: str
    reasons: tuple[str, ...]
    text: str


def read_token(path: Path | None) -> str:
    """The first token of a file, "" for no file. Raises `UserError`."""
    if path is None:
        return ""
    try:
        lines = path.read_text("ascii").split()
    except (OSError, ValueError):
        raise UserError("the token file cannot be read", str(path), "check --token-file") from None
    if not lines:
        raise UserError("the token file is empty", str(path), "write a token into it")
    return lines[0]


def client_tls(ca_file: Path | None, cert_file: Path | None) -> ssl.SSLContext | None:
    """TLS with a certificate authority of one's own and a client certificate (with its key in one
    PEM file); None where neither is given. Raises `UserError` if a file cannot be used."""
    if ca_file is None and cert_file is None:
        return None
    ours = () if cert_file is None else (ClientCertificate(("*",), str(cert_file)),)
    try:
        return OutgoingTls("" if ca_file is None else str(ca_file), ours).to("", 0)
    except Permanent as error:
        raise UserError(str(error), "--ca-file, --cert-file", "check the files") from None


def ask_verdict(
    url: str,
    model: str,
    version: str,
    role: str,
    token: str,
    transport: httpx2.BaseTransport | None = None,
    tls: ssl.SSLContext | None = None,
) -> VerdictAnswer:
    """The verdict of serve at ``url``. ``tls``: whom to trust, and who we are (`client_tls`).

    Raises `UserError` if there is no answer, or one that is not a verdict. ``transport`` replaces
    the network in tests.
    """
    try:
        parts = urlsplit(url)
        shown = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        raise UserError("not a URL", "--url", "write http://host:port") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise UserError("not a URL that can be asked", "--url", "write http://host:port")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    parameters = {"model": model, "version": version} | ({"role": role} if role else {})
    try:
        # No proxies, no .netrc, no redirects: the question goes where it was sent, or nowhere.
        with (
            httpx2.Client(
                timeout=TIMEOUT_S,
                trust_env=False,
                transport=transport,
                verify=True if tls is None else tls,
            ) as client,
            client.stream(
                "GET", url.rstrip("/") + "/v1/verdict", params=parameters, headers=headers
            ) as response,
        ):
            body = b""
            for part in response.iter_bytes():
                body += part
                if len(body) > _MAX_ANSWER_BYTES:
                    raise UserError("the answer is too long", shown, "is this driftline serve?")
    except httpx2.HTTPError as error:
        if why := tls_failure(error):
            raise UserError(f"no answer: {why}", shown, "see --ca-file and --cert-file") from None
        raise UserError(
            f"no answer ({type(error).__name__})", shown, "is `driftline serve` running there?"
        ) from None
    if response.status_code == 401:
        raise UserError("a token is needed", shown, "give --token-file")
    if response.status_code != 200:
        raise UserError(
            f"answered {response.status_code}", shown, "check --url, the model and the version"
        )
    return _read(body, shown)


def _read(body: bytes, where: str) -> VerdictAnswer:
    try:
        answer = httpx2.Response(200, content=body).json()
        return VerdictAnswer(
            decision=Decision(answer["verdict"]),
            status=str(answer["status"]),
            role=str(answer["role"]),
            reasons=tuple(str(reason) for reason in answer["reasons"]),
            text=body.decode(),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        # An answer that is not understood is no answer; least of all is it a pass.
        raise UserError("the answer is not a verdict", where, "is this driftline serve?") from None

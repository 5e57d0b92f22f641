"""Who may look: a session of a browser, where the API asks for a token.

A browser sends no bearer token by itself, so the sign-in page takes one and gives a cookie for it.
The cookie holds the time of its end and a signature made with the token, never the token: it is
valid at every process with the same token file, and ends with the token. Scripts cannot read it,
and other sites cannot send it (HttpOnly, SameSite=Strict).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Final

COOKIE: Final = "driftline_console"
LASTS_S: Final = 12 * 3600
_PURPOSE: Final = b"driftline console session until "


def issue(token: str, now_s: int) -> str:
    """A cookie's value for someone who has shown a valid ``token``."""
    until_s = now_s + LASTS_S
    return f"{until_s}.{_signature(token, until_s)}"


def valid(cookie: str, tokens: Iterable[str], now_s: int) -> bool:
    """Whether ``cookie`` was issued for one of ``tokens`` and has not ended.

    >>> cookie = issue("a-token-long-enough", 1_000)
    >>> [valid(cookie, ["a-token-long-enough"], at) for at in (1_000, 44_199, 44_200)]
    [True, True, False]
    >>> valid(cookie, ["another-long-token"], 1_000)
    False
    """
    until, _, signature = cookie.partition(".")
    if not (until.isascii() and until.isdigit() and len(until) < 16 and signature.isascii()):
        return False
    found = False
    for token in tokens:
        found |= hmac.compare_digest(signature, _signature(token, int(until)))
    # A signature from the future is one of another clock: it never lasts longer than issued.
    return found and now_s < int(until) <= now_s + LASTS_S


def _signature(token: str, until_s: int) -> str:
    return hmac.new(token.encode(), _PURPOSE + str(until_s).encode(), "sha256").hexdigest()

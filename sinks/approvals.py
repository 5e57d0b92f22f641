"""Signed links by which a person approves or rejects a proposed rollback.

A link names the rollback, the revision of its proposal and when it ends, and carries an HMAC-SHA256
over the three. Opening it shows a page and changes nothing, as chat programs open links to preview
them; the button on the page acts. A link works once by what it says: after any decision the
revision is another one (`detectors.rollback_case`).
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final
from urllib.parse import urlencode, urlsplit

from sinks.credentials import NoSecret, SecretSource

PATH: Final = "/v1/approvals"
MIN_SECRET_CHARS: Final = 24
OWNER: Final = "approvals"


@dataclass(frozen=True, slots=True)
class ApprovalSettings:
    """``url``: where people reach `driftline serve`, such as https://driftline.example.com; "" for
    no links. The secret (24 characters or more) must be the same for deliver and serve; several,
    separated by white space, are all accepted and the first one signs."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    url: str = ""
    secret: SecretSource = field(default_factory=lambda: SecretSource(env="DRIFTLINE_APPROVAL_KEY"))

    def __post_init__(self) -> None:
        if not self.url:
            return
        parts = urlsplit(self.url)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.username:
            raise ValueError("url must be one such as https://driftline.example.com")
        if parts.query or parts.fragment:
            raise ValueError("url must have no query and no fragment")


class ApprovalLinks:
    """Makes and checks links. Raises NoSecret if links are wanted and there is no secret."""

    def __init__(self, settings: ApprovalSettings, environ: Mapping[str, str] = os.environ) -> None:
        self._settings = settings
        self._environ = environ
        if settings.url:
            self._secrets()

    @property
    def enabled(self) -> bool:
        return bool(self._settings.url)

    def link(self, key: str, revision: int, expires_ms: int) -> str:
        """The address of the page; "" if there are no links."""
        if not self.enabled:
            return ""
        signature = _signature(self._secrets()[0], key, revision, expires_ms)
        query = urlencode({"k": key, "r": revision, "e": expires_ms, "s": signature})
        return f"{self._settings.url.rstrip('/')}{PATH}?{query}"

    def genuine(self, key: str, revision: int, expires_ms: int, signature: str) -> bool:
        """Whether we made this link. Takes equally long for every wrong signature."""
        if not self.enabled:
            return False
        given = signature.encode("utf-8", "surrogatepass")
        found = False
        for secret in self._secrets():
            wanted = _signature(secret, key, revision, expires_ms).encode()
            found |= hmac.compare_digest(given, wanted)
        return found

    def _secrets(self) -> tuple[str, ...]:
        secrets = tuple(self._settings.secret.read(OWNER, self._environ).split())
        if any(len(secret) < MIN_SECRET_CHARS for secret in secrets):
            raise NoSecret(f"{OWNER}: a secret is shorter than {MIN_SECRET_CHARS} characters")
        return secrets


def _signature(secret: str, key: str, revision: int, expires_ms: int) -> str:
    said = f"approval\n{key}\n{revision}\n{expires_ms}".encode("utf-8", "surrogatepass")
    return hmac.new(secret.encode(), said, hashlib.sha256).hexdigest()

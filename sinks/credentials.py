"""Secrets: where they are kept, and how they are read without ever being shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sinks.errors import Permanent

MAX_SECRET_BYTES = 16 * 1024


class NoSecret(Permanent):
    """A secret is not where the configuration says. The text names the place, never the value."""


@dataclass(frozen=True, slots=True)
class SecretSource:
    """The place of a secret: a file (wins) or an environment variable. Values never stand in the
    configuration, so that printing the configuration is safe."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    file: str = ""
    env: str = ""

    def read(self, owner: str, environ: Mapping[str, str]) -> str:
        """The secret, without surrounding white space. It is read at each use, so that a rotated
        file counts at once. Raises NoSecret, naming ``owner``, what is missing and where."""
        if self.file:
            try:
                with Path(self.file).open("rb") as handle:
                    raw = handle.read(MAX_SECRET_BYTES + 1)
                if len(raw) > MAX_SECRET_BYTES:
                    raise NoSecret(f"{owner}: secret file {self.file} is too long to be a secret")
                text = raw.decode("ascii").strip()
            except OSError as error:
                raise NoSecret(
                    f"{owner}: secret file {self.file} cannot be read "
                    f"({type(error).__name__}); check its path and mode"
                ) from None
            except UnicodeDecodeError:
                raise NoSecret(f"{owner}: secret file {self.file} is not plain text") from None
            if not text:
                raise NoSecret(f"{owner}: secret file {self.file} is empty")
            return text
        if not self.env:
            raise NoSecret(f"{owner}: no secret is configured; give a file or an env name")
        text = environ.get(self.env, "").strip()
        if not text:
            raise NoSecret(f"{owner}: environment variable {self.env} is not set or empty")
        return text

    def bearer(self, owner: str, environ: Mapping[str, str]) -> dict[str, str]:
        """The header that carries the secret as a bearer token; none if no place is configured.

        Raises NoSecret if a place is configured and the secret is not there.
        """
        if not self.file and not self.env:
            return {}
        return {"authorization": f"Bearer {self.read(owner, environ)}"}

"""Who may do what through the API: tokens with scopes.

A line of the token file is ``TOKEN [SCOPE,SCOPE [NAME]]``; without scopes a token may read. The
name is what the audit trail says; the token itself is never shown.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from sinks.errors import Permanent

MIN_TOKEN_CHARS: Final = 16
MAX_NAME_CHARS: Final = 60
_MAX_FILE_BYTES: Final = 64 * 1024


class Scope(StrEnum):
    """What a token is good for. ``operate`` may read as well; ``hook`` may only report."""

    READ = "read"
    HOOK = "hook"
    OPERATE = "operate"


@dataclass(frozen=True, slots=True)
class Grant:
    """A token, what it may, and whose it is."""

    token: str = field(repr=False)
    scopes: frozenset[Scope] = frozenset({Scope.READ})
    name: str = "token"

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or (scope is Scope.READ and Scope.OPERATE in self.scopes)


class TokenFileError(Permanent):
    """The file of tokens cannot be used. Says what, where and what to do; never a token."""

    def __init__(self, what: str, where: str, hint: str) -> None:
        super().__init__(f"{where}: {what}; {hint}")
        self.what = what
        self.where = where
        self.hint = hint


def read_grants(path: str) -> tuple[Grant, ...]:
    """The grants of a token file; () for no path. Raises `TokenFileError`."""
    if not path:
        return ()
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        text = data.decode("ascii")
    except (OSError, UnicodeDecodeError, ValueError):
        raise TokenFileError(
            "the token file cannot be read as ASCII text", path, "check serve.token_file"
        ) from None
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1)]
    grants = tuple(_grant(words, f"{path}:{number}", number) for number, words in lines if words)
    # An empty file must not mean "no token asked for".
    if not grants or len(data) > _MAX_FILE_BYTES:
        raise TokenFileError("the token file holds no token", path, "write one token a line")
    if not any(grant.may(Scope.READ) for grant in grants):
        raise TokenFileError("no token may read", path, "add one, or give one the scope read")
    return grants


def _grant(words: list[str], where: str, number: int) -> Grant:
    token, scopes, name = (*words[:3], "", "")[:3]
    if len(token) < MIN_TOKEN_CHARS:
        raise TokenFileError(
            f"a token is shorter than {MIN_TOKEN_CHARS} characters", where, "make it longer"
        )
    if len(words) > 3:
        raise TokenFileError("more than TOKEN SCOPES NAME", where, "write a name without spaces")
    try:
        known = frozenset(Scope(each) for each in scopes.split(",")) if scopes else None
    except ValueError:
        # Not what stands there: it may be a token.
        raise TokenFileError("an unknown scope", where, "use read, hook, operate") from None
    return Grant(
        token, known or frozenset({Scope.READ}), name[:MAX_NAME_CHARS] or f"token-{number}"
    )


def readers(grants: Iterable[Grant]) -> tuple[str, ...]:
    """The tokens that may read."""
    return tuple(grant.token for grant in grants if grant.may(Scope.READ))


def grant_of(given: str, grants: Iterable[Grant]) -> Grant | None:
    """Whose token ``given`` is; takes equally long for each that is compared."""
    said = given.encode("utf-8", "surrogatepass")
    found: Grant | None = None
    for grant in grants:
        if hmac.compare_digest(said, grant.token.encode()):
            found = grant
    return found

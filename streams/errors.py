"""Errors that a person can put right: what was wrong, where, and what to do.

The command line prints them as one line and exits with ``exit_code``; it never prints a
traceback for them. Layers below this one cannot import it, so any exception type that has the
attributes of `Explained` is treated alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

BAD_INPUT = 2
"""Exit code: the command, its configuration or a file it was given is wrong."""

FAILED = 1
"""Exit code: the command was right, and the work could not be done."""

_MOST_NAMED = 20


@runtime_checkable
class Explained(Protocol):
    """What an exception offers to be shown as one line: ``where: what; what to do``."""

    what: str
    where: str
    hint: str


class UserError(Exception):
    """Something the user can put right.

    ``what`` says what is wrong, ``where`` names the file and line, address, topic or option, and
    ``hint`` says what to do. None of them holds a secret or the text of an event.
    """

    exit_code: ClassVar[int] = BAD_INPUT

    def __init__(self, what: str, where: str = "", hint: str = "") -> None:
        super().__init__(what, where, hint)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        return one_line(self.what, self.where, self.hint)


class UnavailableError(UserError):
    """Something outside is not there now: an address does not answer, a port is taken."""

    exit_code: ClassVar[int] = FAILED


def one_line(what: str, where: str = "", hint: str = "") -> str:
    """``where: what; hint``, without line breaks and without parts that are empty.

    >>> one_line("unknown key `windws`", "driftline.yaml:3", "did you mean `windows`?")
    'driftline.yaml:3: unknown key `windws`; did you mean `windows`?'
    """
    said = f"{where}: {what}" if where else what
    return " ".join((f"{said}; {hint}" if hint else said).split())


def some_of(names: Sequence[str]) -> str:
    """The first names in an error, and whether there are more.

    >>> some_of(["a", "b"]), some_of(["a"] * 21).endswith("a, a and more")
    ('a, b', True)
    """
    shown = ", ".join(names[:_MOST_NAMED])
    return shown if len(names) <= _MOST_NAMED else f"{shown} and more"

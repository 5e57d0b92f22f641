"""`driftline doctor`: looks at a deployment and says what is wrong and what to do about it.

It only reads. Each part looks by itself, so that one thing that does not answer hides nothing else;
what could not be looked at is UNKNOWN and counts as wrong, never as healthy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sinks.errors import Permanent, Retryable
from streams.errors import UserError
from streams.kafka_topics import KafkaProblem


class Level(StrEnum):
    """How a check came out. WARNING: it works, and may not for long. UNKNOWN: no answer."""

    OK = "ok"
    WARNING = "warning"
    UNKNOWN = "unknown"
    WRONG = "wrong"


SHOWN_CHARS: Final = 60
"""Of a name that a producer made up."""
BY_SEVERITY: Final = (Level.OK, Level.WARNING, Level.UNKNOWN, Level.WRONG)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. ``what``: what was found, in words and without secrets;
    ``todo``: what to do, "" where nothing is."""

    area: str
    subject: str
    level: Level
    what: str
    todo: str = ""


Look = Callable[[], Sequence[Check]]
"""Looks at one part. May raise what the parts raise for people: it becomes a check."""


def examine(looks: Sequence[tuple[str, str, Look]]) -> Iterator[Check]:
    """The checks of all parts (area, subject, how to look), in order, as they are made."""
    for area, subject, look in looks:
        try:
            yield from look()
        except UserError as error:
            what = f"{error.where}: {error.what}" if error.where else error.what
            yield Check(area, subject, Level.WRONG, what, error.hint)
        except (KafkaProblem, Permanent) as error:
            yield Check(area, subject, Level.WRONG, *_split(str(error)))
        except Retryable as error:
            yield Check(area, subject, Level.UNKNOWN, *_split(str(error)))
        except Exception as error:
            # The text of an error nobody foresaw may hold anything, a secret included.
            yield Check(
                area,
                subject,
                Level.UNKNOWN,
                f"could not be looked at ({type(error).__name__})",
                "set DRIFTLINE_DEBUG=1 to see why, and report it",
            )


def worst(checks: Sequence[Check]) -> Level:
    """The most severe level among them; UNKNOWN if nothing was looked at."""
    if not checks:
        return Level.UNKNOWN
    return max((check.level for check in checks), key=BY_SEVERITY.index)


def exit_code(checks: Sequence[Check], *, strict: bool = False) -> int:
    """0 if all is well; 1 if something is wrong or gave no answer, or with ``strict`` is a
    warning."""
    level = worst(checks)
    return 0 if level is Level.OK or (level is Level.WARNING and not strict) else 1


def span(milliseconds: float) -> str:
    """A time for people, in its two largest units at most.

    >>> span(93_784_000), span(90_000), span(2_500)
    ('1 d 2 h', '1 min 30 s', '2.5 s')
    """
    seconds = abs(milliseconds) / 1000
    if seconds < 60:
        return f"{seconds:.3g} s"
    parts: list[str] = []
    left = round(seconds)
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count} {unit}")
    kept = parts[:2]
    return " ".join(kept[:1] if len(kept) > 1 and kept[1].startswith("0 ") else kept)


def size(count: float) -> str:
    """Bytes for people.

    >>> size(8 * 1024 * 1024), size(900)
    ('8 MB', '900 B')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1024 or unit == "TB":
            return f"{count:.3g} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def _split(text: str) -> tuple[str, str]:
    """What is wrong, and what to do: errors of the parts say both in one line."""
    line = " ".join(text.split())
    for mark in (". ", ": check ", ": start ", ": create ", ": set "):
        what, found, todo = line.partition(mark)
        if found:
            verb = mark.removeprefix(": ") if mark != ". " else ""
            return what, f"{verb}{todo}"
    return line, ""

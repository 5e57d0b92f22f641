"""What is said of an error on the command line: one line for people, and the exit code."""

from __future__ import annotations

import errno
from pathlib import Path

from streams.errors import BAD_INPUT, FAILED, Explained, UserError, one_line

_WHAT_TO_DO = {
    errno.ENOENT: "check the path",
    errno.EEXIST: "give the path of something else",
    errno.ENOTDIR: "give a path whose folders are folders",
    errno.EISDIR: "give the path of a file",
    errno.EACCES: "give driftline the right to it, or another path",
    errno.EPERM: "give driftline the right to it, or another path",
    errno.EROFS: "give a path that can be written to",
    errno.ENOSPC: "make room on the disk",
}


def said_of(error: Exception) -> tuple[str, int]:
    """One line (one for each problem of a configuration) and the exit code for an error."""
    if isinstance(error, UserError):
        return str(error), error.exit_code
    if isinstance(error, Explained):
        return one_line(error.what, error.where, error.hint), BAD_INPUT
    if isinstance(error, _known_types()):
        return " ".join(str(error).split()), FAILED
    if isinstance(error, OSError):
        where = str(error.filename) if error.filename is not None else ""
        hint = _WHAT_TO_DO.get(error.errno or 0, "")
        return one_line(error.strerror or type(error).__name__, where, hint), FAILED
    # The text of an error nobody foresaw may hold anything, a secret included.
    return (
        f"internal error ({type(error).__name__} {_place(error)});"
        " set DRIFTLINE_DEBUG=1 to see where, and report it",
        FAILED,
    )


def _known_types() -> tuple[type[Exception], ...]:
    """Errors whose text is one line for people, written by the part that raises them."""
    from detectors.reference import EmptyReference
    from detectors.reference_file import InvalidReference
    from sinks.errors import Permanent, Retryable
    from streams.embedded_broker import EmbeddedBrokerFailed
    from streams.kafka_topics import KafkaProblem
    from streams.summarizer import TooManyDeadLettersError
    from streams.supervise import RoleFailed

    return (
        EmbeddedBrokerFailed,
        EmptyReference,
        InvalidReference,
        KafkaProblem,
        Permanent,
        Retryable,
        RoleFailed,
        TooManyDeadLettersError,
    )


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "somewhere"
    return f"at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"

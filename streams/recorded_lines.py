"""Lines of a file, plain or gzipped, in blocks of bounded size."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, cast

LINES_AT_ONCE: Final = 8_192
BYTES_AT_ONCE: Final = 4 * 1024 * 1024


def read_lines(path: Path, longest: int) -> Iterator[tuple[list[bytes], int]]:
    """Blocks of lines that are not blank, and how many bytes of the file were read so far.

    Of a line longer than ``longest`` so many bytes and one more are kept, so that whoever decodes
    it sees that it is too long. Raises OSError, EOFError or zlib.error for a broken file.
    """
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        # GzipFile has the methods of a binary file; its stubs do not say so.
        file = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if zipped else raw
        lines: list[bytes] = []
        held = 0
        while line := file.readline(longest + 1):
            if len(line) > longest and not line.endswith(b"\n"):
                _skip_line(file, longest)
            if not line.strip():
                continue
            lines.append(line.rstrip(b"\r\n"))
            held += len(line)
            if len(lines) >= LINES_AT_ONCE or held >= BYTES_AT_ONCE:
                yield lines, raw.tell()
                lines, held = [], 0
        if lines:
            yield lines, raw.tell()


def _skip_line(file: IO[bytes], at_once: int) -> None:
    while (rest := file.readline(at_once)) and not rest.endswith(b"\n"):
        pass

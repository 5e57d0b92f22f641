"""Files that follow from code: written, or checked to be what they should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def brought_up_to_date(files: Mapping[Path, str], *, check: bool) -> list[Path]:
    """Those of ``files`` that are not there or have another text than they should; unless
    ``check``, they are as they should be afterwards. The rest are not touched."""
    differing = [
        path
        for path, text in files.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    if not check:
        for path in differing:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
    return differing


def generate(files: Mapping[Path, str], root: Path, arguments: Sequence[str]) -> int:
    """A command that writes ``files``, or with ``--check`` among its arguments compares; it names
    them as below ``root``. Returns 1 if the check found a difference."""
    check = "--check" in arguments
    differing = brought_up_to_date(files, check=check)
    for path in differing:
        name = path.relative_to(root)
        print(f"{name} is not what it should be" if check else f"wrote {name}")
    return int(check and bool(differing))

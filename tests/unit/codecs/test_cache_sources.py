"""Compiled code that is kept is let go of when anything that it was made of changes."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from streams.codecs.speculative.cache import OTHER_SOURCES

REPOSITORY = Path(__file__).resolve().parents[3]
COMPILED = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for folder in ("detectors", "streams")
    for path in (REPOSITORY / folder).glob("compiled*.py")
)


@pytest.mark.parametrize("source", COMPILED)
def test_what_kernels_take_from_other_files_is_among_what_they_depend_on(source: str) -> None:
    """Constants become part of the machine code, and so does what is called or counted out. Types
    that only say what is returned do not."""
    pytest.importorskip("numba")
    taken = set()
    for node in ast.walk(ast.parse((REPOSITORY / source).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.module.partition(".")[0] not in ("detectors", "streams"):
            continue
        module = importlib.import_module(node.module)
        if any(not isinstance(getattr(module, each.name), type) for each in node.names):
            taken.add(node.module.replace(".", "/") + ".py")
    assert taken <= set(OTHER_SOURCES)

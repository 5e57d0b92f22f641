"""Where compiled code is kept between runs.

The folder's name holds a digest of the kernels' source and of the versions they were compiled
with, so code of another release is never loaded. Compiled code is read with pickle: it is kept
only in a folder of the user's own, never in a shared one like /tmp; without one it is compiled
at every start.
"""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache
from pathlib import Path

OTHER_SOURCES = (
    "streams/codecs/columns.py",
    "streams/codecs/placing.py",
    "detectors/bets.py",
    "detectors/canary_answers.py",
    "detectors/canary_bets.py",
    "detectors/canary_cells.py",
    "detectors/canary_counts.py",
    "detectors/canary_evidence.py",
    "detectors/cell_statistics.py",
    "detectors/cells.py",
    "detectors/compiled.py",
    "detectors/compiled_answers.py",
    "detectors/compiled_canary.py",
    "detectors/compiled_canary_bets.py",
    "detectors/compiled_canary_bounds.py",
    "detectors/compiled_canary_pane.py",
    "detectors/compiled_drift.py",
    "detectors/compiled_parts.py",
    "detectors/compiled_reading.py",
    "detectors/compiled_types.py",
    "detectors/conditional.py",
    "detectors/dispersion.py",
    "detectors/drift.py",
    "detectors/e_process.py",
    "detectors/fixed_point.py",
    "detectors/kernels.py",
    "detectors/layout.py",
    "detectors/payoffs.py",
    "detectors/scratch.py",
    "detectors/sketch.py",
    "detectors/upstream.py",
)
"""What the compiled code depends on besides this folder. numba looks only at the file of each
compiled entry."""


def _bases() -> list[Path]:
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return [Path(given)]
    home = os.environ.get("XDG_CACHE_HOME")
    bases = [Path(home) / "driftline"] if home else []
    try:
        bases.append(Path.home() / ".cache" / "driftline")
    except RuntimeError:  # a user without a home
        return bases
    return bases


def _digest(versions: tuple[str, ...]) -> str:
    digest = hashlib.sha256("\0".join((*versions, sys.version)).encode())
    here = Path(__file__).parent
    root = here.parents[2]
    for path in (*sorted(here.glob("*.py")), *(root / name for name in OTHER_SOURCES)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def folder(bases: list[Path], versions: tuple[str, ...]) -> Path | None:
    """The first folder that can be made and written by this user alone, or None."""
    try:
        name = f"kernels-{_digest(versions)}"
    except OSError:  # the source is not there as files
        return None
    for base in bases:
        path = base / name
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            mine = path.stat().st_uid == os.getuid()
        except OSError:
            continue
        if mine and os.access(path, os.W_OK | os.X_OK):
            return path
    return None


@cache
def in_use() -> Path | None:
    """The folder of this process; numba is told to use it. Called before any kernel is made."""
    import numba

    path = folder(_bases(), (numba.__version__,))
    if path is not None:
        setattr(numba.config, "CACHE_DIR", str(path))  # noqa: B010 - made at run time by numba
    return path

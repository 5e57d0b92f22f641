"""What a reader of the demo's last lines can type: not every shell finds driftline by its name."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Shell:
    """``program``: how driftline is called; ``settings``: where the example of a configuration is.
    Both as seen from the folder in which the demo was started."""

    program: str
    settings: str


def shell_of(started: Path, here: Path, settings: Path) -> Shell:
    """What can be typed in the folder ``here`` by whom has ``started`` this program, whose example
    of ``settings`` is there."""

    def shown(path: Path) -> str:
        path = here / path
        return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)

    if started.name != "driftline":
        return Shell(f"{shown(Path(sys.executable))} -m streams", shown(settings))
    found = shutil.which("driftline")
    on_path = found is not None and Path(found).resolve() == (here / started).resolve()
    return Shell("driftline" if on_path else shown(started), shown(settings))

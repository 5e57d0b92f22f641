"""The peers' environments: one virtualenv a peer, made once under a cache folder.

The peers cannot share an environment, neither with driftline nor with each other: evidently needs
pandas before 3, alibi-detect numpy before 2, and pip finds no set of versions that suits all of
them. Each environment has pinned versions and is made anew when its pins change. What cannot be
installed (no network, no wheel for this Python) is said, and that peer is not run.

``DRIFTLINE_PEERS_CACHE`` names another folder than ``~/.cache/driftline/peers``; all environments
together take about 6 GB. ``python -m bench.peers_environment`` makes them without measuring.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.progress import Progress

STAMP: Final = "driftline-peer"
_INSTALL_S = 1_200
_REASON_CHARS = 200


@dataclass(frozen=True, slots=True)
class Environment:
    """``requirements``: exact versions, one a package; ``pythons``: the interpreter's minor
    versions that the peer has wheels for, the lowest and the highest."""

    name: str
    requirements: tuple[str, ...]
    pythons: tuple[tuple[int, int], tuple[int, int]] = ((3, 11), (3, 14))

    @property
    def stamp(self) -> str:
        """Changes when anything that was installed would change."""
        text = "\n".join((*self.requirements, f"python{sys.version_info[0]}.{sys.version_info[1]}"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Ready:
    """An environment that can be used."""

    python: str


@dataclass(frozen=True, slots=True)
class NotInstalled:
    """Why a peer is not run: one line."""

    reason: str


ENVIRONMENTS: Final[tuple[Environment, ...]] = (
    Environment(
        "evidently",
        ("evidently==0.7.23", "pandas==2.3.3", "numpy==2.4.6", "scipy==1.17.1", "pyarrow==26.0.1"),
    ),
    Environment(
        "whylogs",
        ("whylogs[viz]==1.6.4", "pandas==2.3.3", "numpy==2.4.6", "pyarrow==26.0.1"),
        ((3, 11), (3, 12)),
    ),
    Environment(
        "nannyml",
        (
            "nannyml==0.13.1",
            "pandas==2.3.3",
            "numpy==2.4.6",
            "statsmodels==0.15.0",
            "pyarrow==26.0.1",
        ),
        ((3, 11), (3, 12)),
    ),
    Environment(
        "frouros",
        ("frouros==0.9.0", "numpy==2.1.3", "scipy==1.14.1", "pyarrow==26.0.1"),
        ((3, 11), (3, 12)),
    ),
    Environment(
        "alibi-detect",
        ("alibi-detect==0.13.0", "numpy==1.26.4", "pandas==2.3.3", "pyarrow==17.0.0"),
        ((3, 11), (3, 12)),
    ),
    Environment("river", ("river==0.26.1", "numpy==2.4.6", "pyarrow==26.0.1")),
)

Install = Callable[[Path, Sequence[str]], str]
"""Makes a virtualenv and installs into it; returns why it failed, or ""."""


def cache_dir() -> Path:
    """Where the environments are kept."""
    home = os.environ.get("DRIFTLINE_PEERS_CACHE")
    return Path(home) if home else Path.home() / ".cache" / "driftline" / "peers"


def prepare(
    environment: Environment, folder: Path, install: Install | None = None
) -> Ready | NotInstalled:
    """The environment in ``folder``, made if it is not there or has other pins."""
    low, high = environment.pythons
    if not low <= sys.version_info[:2] <= high:
        return NotInstalled(
            f"{environment.name} has wheels for Python {_dotted(low)} to {_dotted(high)}, "
            f"and this is {_dotted(sys.version_info[:2])}"
        )
    place = folder / environment.name
    stamp, python = place / STAMP, place / "bin" / "python"
    if python.exists() and stamp.is_file() and stamp.read_text("utf-8") == environment.stamp:
        return Ready(str(python))
    # Half an installation is worse than none: it goes before, and after a failure.
    shutil.rmtree(place, ignore_errors=True)
    reason = (install or pip_install)(place, environment.requirements)
    if reason:
        shutil.rmtree(place, ignore_errors=True)
        return NotInstalled(reason)
    stamp.write_text(environment.stamp, "utf-8")
    return Ready(str(python))


def pip_install(place: Path, requirements: Sequence[str]) -> str:
    """With the venv and pip of this Python."""
    commands = (
        (sys.executable, "-m", "venv", str(place)),
        (str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *requirements),
    )
    for command in commands:
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_INSTALL_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"the installation took more than {_INSTALL_S} s"
        except OSError as error:
            return f"{command[0]} cannot be run: {error.strerror}"
        if done.returncode:
            return last_error(done.stderr) or f"{command[2]} ended with {done.returncode}"
    return ""


def last_error(said: str) -> str:
    """The line of pip's complaints that tells most: its last ERROR, else its last line.

    >>> last_error("WARNING: slow\\nERROR: no distribution for x==1\\n[notice] new\\n")
    'no distribution for x==1'
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or [""])[-1][:_REASON_CHARS]


def prepare_all(
    environments: Iterable[Environment] = ENVIRONMENTS,
) -> dict[str, Ready | NotInstalled]:
    """Every environment by name; the first time takes minutes."""
    wanted, folder = tuple(environments), cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Ready | NotInstalled] = {}
    with Progress(transient=True) as progress:
        task = progress.add_task("the peers' environments", total=len(wanted))
        for each in wanted:
            progress.update(task, description=f"the environment of {each.name}")
            made[each.name] = prepare(each, folder)
            progress.advance(task)
    return made


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def main() -> int:
    made = prepare_all()
    for name, found in made.items():
        print(f"{name}: {found.python if isinstance(found, Ready) else 'not run: ' + found.reason}")
    return 0 if all(isinstance(found, Ready) for found in made.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Fetches Apache Kafka's server jars from Maven Central into a cache and checks every byte.

What is fetched is pinned in jars.txt, path and sha256, so neither Maven nor trust in the
repository is needed. Run it as ``python deploy/kafka/fetch.py``; it prints the folder. A jar that
is in the cache and has the right content is not fetched again.

``DRIFTLINE_MAVEN_URL`` names another repository (a mirror, a proxy);
``DRIFTLINE_KAFKA_CACHE`` another cache than ``~/.cache/driftline/kafka``.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

VERSION = "4.3.1"
"""The newest Kafka whose whole dependency tree is published; its broker runs on Java 17."""

MAVEN_CENTRAL = "https://repo.maven.apache.org/maven2"
_LIST = Path(__file__).with_name("jars.txt")
_PARALLEL = 6
_ATTEMPTS = 3
_TIMEOUT_S = 30.0


class FetchFailed(Exception):
    """A jar could not be fetched, or what came is not what jars.txt promises."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned file: its path below the repository's root and the sha256 of its content."""

    path: str
    sha256: str

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


Download = Callable[[str], bytes]
"""Gets the content at a URL. Raises OSError when it cannot."""


def pinned(listing: str) -> tuple[Jar, ...]:
    """The jars of a listing: ``sha256  path`` lines, ``#`` starts a comment."""
    lines = (line.split("#", 1)[0].split() for line in listing.splitlines())
    return tuple(Jar(path=fields[1], sha256=fields[0]) for fields in lines if fields)


def cache_dir() -> Path:
    """Where this version's jars are kept."""
    home = os.environ.get("DRIFTLINE_KAFKA_CACHE")
    base = Path(home) if home else Path.home() / ".cache" / "driftline" / "kafka"
    return base / VERSION


def download(url: str) -> bytes:
    """Plain GET. Raises OSError for every way in which it can fail."""
    if not url.startswith(("https://", "http://")):
        raise OSError("DRIFTLINE_MAVEN_URL must start with https:// or http://")
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as reply:  # noqa: S310 - checked above
        content: bytes = reply.read()
    return content


def fetch(
    jars: tuple[Jar, ...], folder: Path, base_url: str, get: Download = download
) -> tuple[Path, ...]:
    """Makes sure that ``folder`` holds every jar, checked, and returns their paths in order.

    Each file is written beside its place and renamed, so that two runs at once and a killed run
    leave no torn file. Raises `FetchFailed` at the first jar that cannot be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return tuple(pool.map(lambda jar: _one(jar, folder, base_url, get), jars))


def fetched(jars: tuple[Jar, ...], folder: Path) -> tuple[Path, ...] | None:
    """The jars' paths if all are in ``folder`` with the right content, else None. No network."""
    paths = tuple(folder / jar.name for jar in jars)
    good = all(_holds(path, jar) for path, jar in zip(paths, jars, strict=True))
    return paths if good else None


def server_jars() -> tuple[Path, ...]:
    """The class path of a Kafka broker: from the cache, or fetched into it now."""
    jars = pinned(_LIST.read_text(encoding="utf-8"))
    folder = cache_dir()
    present = fetched(jars, folder)
    if present is not None:
        return present
    return fetch(jars, folder, os.environ.get("DRIFTLINE_MAVEN_URL", MAVEN_CENTRAL))


def _holds(path: Path, jar: Jar) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256


def _one(jar: Jar, folder: Path, base_url: str, get: Download) -> Path:
    path = folder / jar.name
    if _holds(path, jar):
        return path
    content = _get_patiently(jar, f"{base_url.rstrip('/')}/{jar.path}", get)
    if hashlib.sha256(content).hexdigest() != jar.sha256:
        raise FetchFailed(
            f"{jar.name}: what the repository sent does not have the sha256 in"
            f" {_LIST.name}; is DRIFTLINE_MAVEN_URL a true copy of Maven Central?"
        )
    handle, partial = tempfile.mkstemp(dir=folder, prefix=jar.name, suffix=".part")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(partial).replace(path)
    return path


def _get_patiently(jar: Jar, url: str, get: Download) -> bytes:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return get(url)
        except OSError as error:
            absent = isinstance(error, urllib.error.HTTPError) and error.code in (403, 404)
            if absent or attempt == _ATTEMPTS:
                # The URL may carry credentials of a private mirror: name the jar, not the URL.
                raise FetchFailed(
                    f"{jar.name} could not be fetched ({type(error).__name__}"
                    f"{f' {error.code}' if isinstance(error, urllib.error.HTTPError) else ''});"
                    " is Maven Central reachable, or DRIFTLINE_MAVEN_URL right?"
                ) from error
            time.sleep(0.5 * attempt)
    raise AssertionError("the loop returns or raises")


def main() -> int:
    try:
        jars = server_jars()
    except FetchFailed as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    megabytes = sum(jar.stat().st_size for jar in jars) / 1e6
    print(
        f"{jars[0].parent}: Apache Kafka {VERSION}, {len(jars)} jars, {megabytes:.0f} MB, checked"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The fetcher takes what jars.txt promises and nothing else."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from deploy.kafka import fetch
from deploy.kafka.fetch import FetchFailed, Jar

CONTENT = b"a jar"
GOOD = Jar("org/example/a/1/a-1.jar", hashlib.sha256(CONTENT).hexdigest())


def test_the_committed_list_is_complete_and_well_formed() -> None:
    listing = Path(fetch.__file__).with_name("jars.txt").read_text(encoding="utf-8")
    jars = fetch.pinned(listing)
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in jars)
    assert len({jar.name for jar in jars}) == len(jars), "two jars would overwrite each other"
    names = " ".join(jar.name for jar in jars)
    assert f"kafka_2.13-{fetch.VERSION}.jar" in names
    assert f"kafka-clients-{fetch.VERSION}.jar" in names


def test_a_jar_is_fetched_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def get(url: str) -> bytes:
        asked.append(url)
        return CONTENT

    for _ in range(2):
        paths = fetch.fetch((GOOD,), tmp_path, "https://mirror.example/maven/", get)
        assert [path.read_bytes() for path in paths] == [CONTENT]
    assert asked == ["https://mirror.example/maven/org/example/a/1/a-1.jar"]
    assert [path.name for path in tmp_path.iterdir()] == ["a-1.jar"]


def test_content_that_differs_from_the_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match=r"a-1\.jar: .* does not have the sha256"):
        fetch.fetch((GOOD,), tmp_path, "https://mirror.example", lambda url: b"another jar")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_jar_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    (tmp_path / GOOD.name).write_bytes(b"torn")
    assert fetch.fetched((GOOD,), tmp_path) is None
    fetch.fetch((GOOD,), tmp_path, "https://mirror.example", lambda url: CONTENT)
    assert fetch.fetched((GOOD,), tmp_path) == (tmp_path / GOOD.name,)


def test_a_failed_fetch_names_the_jar_and_not_the_credentials(tmp_path: Path) -> None:
    attempts: list[str] = []

    def get(url: str) -> bytes:
        attempts.append(url)
        raise TimeoutError("timed out")

    with pytest.raises(FetchFailed, match=r"a-1\.jar could not be fetched") as raised:
        fetch.fetch((GOOD,), tmp_path, "https://user:pass@mirror.example", get)
    assert "pass" not in str(raised.value)
    assert len(attempts) == 3


def test_only_http_is_fetched() -> None:
    with pytest.raises(OSError, match="https://"):
        fetch.download("file:///etc/hostname")

"""What the image is made of, short of building it, and what brings the composition up."""

from __future__ import annotations

import http.server
import importlib.machinery
import importlib.util
import os
import re
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from deploy.compose import prepare, producer
from detectors.release import Role
from streams.config import load_config
from streams.demo_traffic import CANARY, PRODUCTION, SHADOW, Message


@pytest.fixture
def healthy(repository: Path) -> ModuleType:
    path = str(repository / "deploy" / "container" / "healthy")
    loader = importlib.machinery.SourceFileLoader("healthy", path)
    spec = importlib.util.spec_from_loader("healthy", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def answering() -> Iterator[int]:
    """A port that answers every GET with 200, but /broken with 503."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if self.path == "/broken" else 200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_role_is_healthy_once_it_is_ready_and_while_it_answers(
    healthy: ModuleType, answering: int, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    environ = {"DRIFTLINE_READY_FILE": str(ready), "DRIFTLINE__METRICS__PORT": str(answering)}
    assert "not ready" in healthy.why_not(environ)
    ready.touch()
    assert healthy.why_not(environ) == ""
    broken = {**environ, "DRIFTLINE_HEALTH_URL": f"http://127.0.0.1:{answering}/broken"}
    assert "no answer" in healthy.why_not(broken)
    nobody = {**environ, "DRIFTLINE__METRICS__PORT": "1"}
    assert "no answer" in healthy.why_not(nobody)
    assert healthy.why_not({"DRIFTLINE_READY_FILE": str(ready)}) == ""
    assert "not ready" in healthy.why_not({})


def test_what_an_earlier_process_said_of_being_ready_is_gone_before_a_role_starts(
    repository: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    ready.touch()
    program = tmp_path / "driftline"
    program.write_text(f'#!/bin/sh\necho "$@"; test -e {ready} && echo stale\n', encoding="utf-8")
    program.chmod(0o755)
    done = subprocess.run(
        [str(repository / "deploy" / "container" / "start"), "judge", "--log-level=debug"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "DRIFTLINE_READY_FILE": str(ready)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "judge --log-level=debug\n"


def test_everything_that_is_installed_reaches_the_image(repository: Path) -> None:
    dockerfile = (repository / "Dockerfile").read_text(encoding="utf-8")
    copied = set(re.findall(r"^COPY (?!--)(\S+) \1$", dockerfile, flags=re.MULTILINE))
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"])
    assert {name.split(".")[0] for name in listed} == copied
    found = {
        ".".join(path.parent.relative_to(repository).parts)
        for name in copied
        for path in (repository / name).rglob("__init__.py")
    }
    assert listed == found, "a package that pyproject.toml does not list stays out of the image"
    let_through = {
        line.removeprefix("!")
        for line in (repository / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    files = re.search(r"^COPY (pyproject.toml .+) \./$", dockerfile, flags=re.MULTILINE)
    assert files is not None
    assert let_through == copied | set(files[1].split())
    for name in let_through:
        assert (repository / name).exists()


def test_the_image_runs_as_a_number_that_is_not_root(repository: Path) -> None:
    dockerfile = (repository / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^USER (.+)$", dockerfile, flags=re.MULTILINE) == ["10001:10001"]
    chart = repository / "deploy" / "helm" / "driftline" / "templates" / "_pod.tpl"
    assert "runAsUser: 10001" in chart.read_text(encoding="utf-8")


def test_the_composition_runs_with_a_configuration_that_driftline_takes(repository: Path) -> None:
    config = load_config(repository / "deploy" / "compose" / "driftline.yaml", {})
    assert [each.topic for each in config.inputs] == list(producer.TOPICS)
    compose = yaml.safe_load((repository / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    assert config.kafka.servers.split(":")[0] in services
    assert config.egress.allow_private == ("deployer:8790", "pager:8791")
    text = yaml.safe_dump(services["topics"])
    for topic in producer.TOPICS:
        assert topic in text


def test_passwords_are_made_once_and_nobodys_are_the_same(tmp_path: Path) -> None:
    prepare.make_secrets(tmp_path)
    first = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    prepare.make_secrets(tmp_path)
    assert first == {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert len(set(first.values())) == len(first) == 6


def test_every_secret_that_the_composition_reads_is_made(repository: Path, tmp_path: Path) -> None:
    prepare.make_secrets(tmp_path)
    made = {path.name for path in tmp_path.iterdir()} | {f"{prepare.MODEL}.json"}
    folder = repository / "deploy"
    text = (folder / "compose.yaml").read_text(encoding="utf-8")
    text += (folder / "compose" / "driftline.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"/run/secrets/([\w.-]+)", text)) == made


def test_the_producer_follows_what_the_deployer_runs() -> None:
    """A shadow runs whatever the deployer says; while it says nothing everybody does."""
    said: list[dict[str, str]] | None = None
    deployed = producer.Deployed(lambda: said, clock_s=lambda: 0.0, every_s=-1.0)

    def serves(release: Any) -> bool:
        return deployed.serves(Message(0, "answers", b"", b"", 1, release))

    assert all(serves(release) for release in (PRODUCTION, CANARY, SHADOW))
    said = [{"model": "gpt-4", "production": "0314", "canary": ""}]
    assert serves(PRODUCTION)
    assert not serves(CANARY)
    assert SHADOW.role is Role.SHADOW
    assert serves(SHADOW)
    said = None
    assert not serves(CANARY), "what was said last holds"

"""The console's pages without a browser: who may look, what is escaped, what is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from sinks.api import ApiParts, Readiness, create_app
from sinks.console.routes import ConsoleParts, console
from sinks.console.session import COOKIE, LASTS_S
from sinks.console.store_view import StoreView
from sinks.errors import Retryable
from sinks.verdict_board import VerdictBoard

NOW = 1_760_000_000_000
TOKEN = "a-long-enough-token"
HOSTILE = "<script>alert(1)</script>\r\nX-Evil: 1 {{7*7}}{% raw %} \u202e\x00' onload='x"


def away(sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    raise Retryable("No answer from ClickHouse. Is the server up?")


def verdict(model: str, version: str = "2", status: Status = Status.PASS) -> Verdict:
    return Verdict(
        release=Release(model, version, Role.CANARY),
        status=status,
        reason=f"because of {model}",
        sequence=1,
        as_of_ms=NOW - 5_000,
        window_start_ms=NOW - 60_000,
        window_ms=60_000,
        baseline_version=model,
        events=500,
        p95_latency_ms=float("nan"),
        p99_latency_ms=2.0,
        findings=(),
        offset=7,
    )


class Clock:
    def __init__(self) -> None:
        self.ms = NOW


def client(
    *verdicts: Verdict,
    tokens: tuple[str, ...] = (),
    waiting_for: str = "",
    clock: Clock | None = None,
) -> httpx2.Client:
    clock = clock or Clock()
    board = VerdictBoard()
    for each in verdicts:
        board.update(each, NOW)
    pages = console(
        ConsoleParts(
            standings=lambda: board.standings(clock.ms, 300_000),
            waiting_for=lambda: waiting_for,
            store=StoreView(away, lambda: 0.0, "driftline"),
            now_ms=lambda: clock.ms,
            tokens=tokens,
        )
    )
    parts = ApiParts(
        board=board,
        now_ms=lambda: clock.ms,
        max_age_ms=300_000,
        ready=lambda: Readiness(True, ""),
        findings=lambda query: [],
        tokens=tokens,
        pages=pages,
    )
    return TestClient(create_app(parts), follow_redirects=False)


@pytest.mark.parametrize("page", ["", "incidents", "release?model=m", "drift?model=m"])
def test_a_store_that_is_away_leaves_the_verdicts_and_is_said(page: str) -> None:
    answer = client(verdict("m")).get(f"/console/{page}")
    assert answer.status_code == 200
    assert "The store is away" in answer.text
    assert "No answer from ClickHouse" in answer.text
    if page != "incidents":
        assert "pass" in answer.text
    assert "No incident is open" not in answer.text
    assert "Nothing was done" not in answer.text


def test_verdicts_that_are_not_all_read_are_said() -> None:
    text = client(verdict("m"), waiting_for="still reading 3 partitions").get("/console/").text
    assert "Not all verdicts have been read." in text
    assert "still reading 3 partitions" in text


@pytest.mark.parametrize("hostile", [HOSTILE, "&lt;b&gt;", "a" * 65_536, "\ud800 lone"])
def test_names_are_text_in_every_place_of_every_page(hostile: str) -> None:
    ask = client(verdict(hostile, HOSTILE), verdict("m", hostile[:300]))
    for page in ("/console/", "/console/incidents"):
        text = ask.get(page).text
        assert "<script>alert" not in text
        assert "\u202e" not in text
        assert "49" not in re.findall(r"X-Evil: 1 (\S+)", text)
        assert len(text) < 100_000
    links = re.findall(r'href="(/console/(?:release|drift)\?[^"]*)"', ask.get("/console/").text)
    assert links
    for link in links:
        answer = ask.get(link.replace("&amp;", "&"))
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        # Values of a form are sent back as they are; what is read is what stands outside of tags.
        assert "\u202e" not in re.sub(r'value="[^"]*"', "", answer.text)


def test_nobody_looks_without_a_token_where_one_is_asked_for() -> None:
    ask = client(verdict("secret-model"), tokens=(TOKEN,))
    for path in ("", "release?model=secret-model", "drift?model=secret-model", "incidents"):
        answer = ask.get(f"/console/{path}")
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in")
        assert "secret-model" not in answer.text
    assert "secret-model" in ask.get("/console/", headers={"authorization": f"Bearer {TOKEN}"}).text
    assert ask.get("/console/static/console.css").status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"token=wrong", b"token=" + b"x" * 5_000, b"&=" * 900, b"\xff\xfe", b"token=%ff"]
)
def test_a_wrong_token_opens_no_session(body: bytes) -> None:
    answer = client(tokens=(TOKEN,)).post("/console/sign-in", content=body)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_a_session_lasts_as_long_as_it_says_and_no_longer() -> None:
    clock = Clock()
    ask = client(verdict("m"), tokens=(TOKEN,), clock=clock)
    answer = ask.post("/console/sign-in", data={"token": TOKEN})
    assert answer.status_code == 303
    said = answer.headers["set-cookie"]
    assert "HttpOnly" in said
    assert "SameSite=strict" in said
    assert TOKEN not in said
    cookie = {"cookie": said.split(";")[0]}
    ask.cookies.clear()
    assert ask.get("/console/", headers=cookie).status_code == 200
    assert ask.get("/v1/releases", headers=cookie).status_code == 401, "a cookie is no bearer token"
    clock.ms += LASTS_S * 1000
    assert ask.get("/console/", headers=cookie).status_code == 303


@pytest.mark.parametrize(
    "cookie",
    [
        *("", ".", "9", "9.9", "9" * 40 + ".x", "x.y", "1e3.a", "١٢.x"),
        f"{NOW // 1000 + 100}.{'0' * 64}",
        f"{NOW // 1000 + 100}.",
    ],
)
def test_a_forged_session_is_none(cookie: str) -> None:
    ask = client(verdict("m"), tokens=(TOKEN,))
    sent = f"{COOKIE}={cookie}".encode("utf-8", "surrogatepass")
    assert ask.get("/console/", headers={b"cookie": sent}).status_code == 303


def test_every_answer_carries_the_policy_and_is_not_kept() -> None:
    ask = client(verdict("m"), tokens=(TOKEN,))
    for path in ("/", "/console", "/console/", "/console/sign-in", "/console/?span=x"):
        answer = ask.get(path, headers={"authorization": f"Bearer {TOKEN}"})
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "name", ["../routes.py", "..%2froutes.py", "nothing.css", "console.js.map"]
)
def test_only_the_assets_are_served(name: str) -> None:
    assert client().get(f"/console/static/{name}").status_code == 404


def test_an_old_verdict_is_blind_here_too() -> None:
    clock = Clock()
    ask = client(verdict("m"), clock=clock)
    assert 'data-count="pass">1<' in ask.get("/console/").text
    clock.ms += 301_000
    text = ask.get("/console/").text
    assert 'data-count="blind">1<' in text
    assert "the last verdict is 301 s old" in text


def test_a_fleet_of_many_is_shown_a_page_at_a_time() -> None:
    many = [verdict(f"model-{i:03}") for i in range(120)]
    ask = client(*many)
    first, last = ask.get("/console/").text, ask.get("/console/?page=3").text
    assert "Page 1 of 3" in first
    assert first.count("<tr>") == 1 + 50
    assert last.count("<tr>") == 1 + 20
    assert "model-119" in last
    only = ask.get("/console/?q=model-007").text
    assert only.count("<tr>") == 1 + 1

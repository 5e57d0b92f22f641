"""The HTTP API: the contract that deployers rely on, and what strangers can do to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from sinks.api import ApiParts, Readiness, create_app
from sinks.errors import Permanent, Retryable
from sinks.finding_history import FindingQuery, FindingRow, read_findings
from sinks.http_guard import TokenFileError, read_tokens
from sinks.verdict_board import VerdictBoard

NOW = 1_700_000_000_000
TOKEN = "a-long-enough-token"
HOSTILE = "<script>alert(1)</script>\r\nX-Evil: 1 {{7*7}} \u202e\x00"

FIELDS: dict[str, type | tuple[type, ...]] = {
    "verdict": str,
    "status": str,
    "ok": bool,
    "score": float,
    "samples": int,
    "checks": int,
    "data_age_seconds": float,
    "verdict_age_seconds": float,
    "window_end": str,
    "model": str,
    "version": str,
    "role": str,
    "baseline_version": str,
    "reasons": list,
    "rollback": str,
}


def verdict(
    status: Status, version: str = "2", model: str = "m", role: Role = Role.CANARY
) -> Verdict:
    return Verdict(
        release=Release(model, version, role),
        status=status,
        reason=f"it is {status}",
        sequence=1,
        as_of_ms=NOW - 5_000,
        window_start_ms=NOW - 60_000,
        window_ms=60_000,
        baseline_version="1",
        events=500,
        p95_latency_ms=1.0,
        p99_latency_ms=2.0,
        findings=(),
        offset=7,
    )


def no_findings(query: FindingQuery) -> list[FindingRow]:
    return []


def client(
    *verdicts: Verdict,
    ready: bool = True,
    findings: Callable[[FindingQuery], Sequence[FindingRow]] = no_findings,
    tokens: tuple[str, ...] = (),
    now_ms: Callable[[], int] = lambda: NOW,
) -> httpx2.Client:
    board = VerdictBoard()
    for each in verdicts:
        board.update(each, NOW)
    parts = ApiParts(
        board=board,
        now_ms=now_ms,
        max_age_ms=300_000,
        ready=lambda: Readiness(ready, "test"),
        findings=findings,
        tokens=tokens,
    )
    return TestClient(create_app(parts))


def ask(api: httpx2.Client, **parameters: str) -> dict[str, Any]:
    response = api.get("/v1/verdict", params=parameters)
    assert response.status_code == 200
    body: dict[str, Any] = response.json()
    return body


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (Status.PASS, "pass"),
        (Status.FAIL, "fail"),
        (Status.HOLD, "inconclusive"),
        (Status.BLIND, "inconclusive"),
        (Status.INSUFFICIENT, "inconclusive"),
    ],
)
def test_a_verdict_has_every_field_with_one_type_whatever_is_known(
    status: Status, said: str
) -> None:
    for body in (
        ask(client(verdict(status)), model="m", version="2"),
        ask(client(), model="m", version="2"),
        ask(client(verdict(status), ready=False), model="m", version="2"),
        ask(client(verdict(status)), model="m", version="2", role="nonsense"),
    ):
        assert set(body) == set(FIELDS)
        for name, kind in FIELDS.items():
            assert type(body[name]) is kind, name
        assert body["ok"] is (body["verdict"] == "pass")
    body = ask(client(verdict(status)), model="m", version="2", role="canary")
    assert (body["verdict"], body["status"]) == (said, status.value)
    assert body["window_end"] == "2023-11-14T22:13:20.000Z"


def test_nothing_is_concluded_before_all_verdicts_are_read() -> None:
    for status in (Status.PASS, Status.FAIL):
        api = client(verdict(status), ready=False)
        assert ask(api, model="m", version="2")["verdict"] == "inconclusive"
        assert flagger(api, "rollback", version="2").status_code == 409
        assert flagger(api, "gate", version="2").status_code == 409
        assert api.get("/readyz").status_code == 503
    assert client().get("/readyz").status_code == 200


def test_an_internal_error_is_inconclusive_too() -> None:
    def broken() -> int:
        raise RuntimeError("hunter2")

    api = client(verdict(Status.PASS), now_ms=broken)
    body = ask(api, model="m", version="2")
    assert body["verdict"] == "inconclusive"
    assert "hunter2" not in json.dumps(body)
    response = api.get("/v1/releases")
    assert (response.status_code, response.json()) == (500, {"error": "internal error"})


@pytest.mark.parametrize(
    "query", ["", "model=m", "version=2", "model=&version=2", "model=m&version=" + "x" * 201]
)
def test_missing_and_oversized_parameters_are_refused_without_quoting_them(query: str) -> None:
    response = client().get(f"/v1/verdict?{query}")
    assert response.status_code == 422
    assert "xxx" not in response.text


def test_text_from_producers_is_only_ever_data() -> None:
    api = client(verdict(Status.PASS, version=HOSTILE, model=HOSTILE))
    body = ask(api, model=HOSTILE, version=HOSTILE)
    assert (body["verdict"], body["model"]) == ("pass", HOSTILE)
    for path in ("/v1/releases", "/metrics", "/openapi.json"):
        response = api.get(path)
        assert response.status_code == 200
        assert "x-evil" not in response.headers
        assert response.headers["content-type"].split(";")[0] in ("application/json", "text/plain")


def test_every_answer_carries_the_security_headers() -> None:
    api = client(tokens=(TOKEN,))
    headers = {"authorization": f"Bearer {TOKEN}"}
    for response in (
        api.get("/healthz"),
        api.get("/v1/releases"),
        api.get("/nowhere", headers=headers),
        api.get("/v1/verdict", headers=headers),
        api.post("/v1/flagger/gate", content=b"x" * 100_000, headers=headers),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-frame-options"] == "DENY"
    assert api.get("/docs", headers=headers).status_code == 404


@pytest.mark.parametrize(
    "header", ["", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer "]
)
def test_without_the_token_nothing_is_told_but_health(header: str) -> None:
    api = client(verdict(Status.PASS), tokens=("another-long-token", TOKEN))
    paths = ("/v1/verdict?model=m&version=2", "/v1/releases", "/metrics", "/openapi.json", "/x")
    for path in paths:
        assert api.get(path, headers={"authorization": header}).status_code == 401
    assert api.get("/healthz").status_code == 200
    good = {"authorization": f"bearer {TOKEN}"}
    assert api.get(paths[0], headers=good).json()["verdict"] == "pass"


def flagger(api: httpx2.Client, hook: str, **metadata: str) -> httpx2.Response:
    body = {"name": "c", "namespace": "n", "phase": "Progressing", "metadata": {"model": "m"}}
    return api.post(f"/v1/flagger/{hook}", json=body | {"metadata": {"model": "m"} | metadata})


@pytest.mark.parametrize("status", list(Status))
def test_flagger_advances_on_pass_and_rolls_back_on_fail_only(status: Status) -> None:
    api = client(verdict(status))
    assert (flagger(api, "gate", version="2").status_code == 200) is (status is Status.PASS)
    rollback = flagger(api, "rollback", version="2")
    assert (rollback.status_code == 200) is (status is Status.FAIL)
    assert rollback.json()["reason"] == f"it is {status}"


def test_flagger_rolls_back_no_other_version_and_no_other_role() -> None:
    api = client(verdict(Status.FAIL), verdict(Status.FAIL, version="3", role=Role.SHADOW))
    assert flagger(api, "rollback").status_code == 400
    assert flagger(api, "rollback", version="4").status_code == 409
    assert flagger(api, "rollback", version="3").status_code == 409
    assert flagger(api, "rollback", version="3", role="shadow").status_code == 200
    assert flagger(api, "rollback", version="2", role="nonsense").status_code == 409


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"[" * 60_000, b'{"metadata": 1}', b'{"metadata":{"model":["m"]}}']
)
def test_flagger_bodies_that_say_nothing_do_nothing(body: bytes) -> None:
    for hook in ("gate", "rollback"):
        assert (
            client(verdict(Status.FAIL)).post(f"/v1/flagger/{hook}", content=body).status_code
            == 400
        )


def test_flagger_bodies_are_bounded() -> None:
    def drip() -> Any:
        for _ in range(100):
            yield b"x" * 10_000

    api = client(verdict(Status.FAIL))
    for content in (b"x" * 300_000, drip()):
        assert api.post("/v1/flagger/rollback", content=content).status_code == 413


def test_flagger_may_give_its_token_in_the_metadata() -> None:
    api = client(verdict(Status.FAIL), tokens=(TOKEN,))
    assert flagger(api, "rollback", version="2").status_code == 401
    assert flagger(api, "rollback", version="2", token="x" + TOKEN).status_code == 401
    assert flagger(api, "rollback", version="2", token=TOKEN).status_code == 200


def test_flagger_may_give_its_token_in_the_path_and_no_metric_tells_it() -> None:
    api = client(verdict(Status.FAIL), tokens=(TOKEN,))
    for path, status in ((f"rollback/{TOKEN}", 200), (f"gate/{TOKEN}", 409), ("rollback/x", 401)):
        assert flagger(api, path, version="2").status_code == status
    # Beside it nothing is open.
    assert flagger(api, f"rollback/{TOKEN}/more", version="2").status_code == 404
    assert TOKEN not in api.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"}).text


def test_findings_come_from_the_store_with_bound_parameters() -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def store(sql: str, parameters: Any) -> list[list[Any]]:
        asked.append((sql, dict(parameters)))
        release = ["m", "2", "canary", "all", "features.x", 60_000, NOW, NOW + 60_000]
        return [[*release, "psi", "r", 0, float("nan"), None, 1, 2, "fail", "why", 1, 0, "final"]]

    api = client(findings=lambda query: read_findings(store, query))
    response = api.get(
        "/v1/findings", params={"model": "m' OR 1=1 --", "version": "2", "role": "canary"}
    )
    (row,) = response.json()["findings"]
    assert row["window_start"] == "2023-11-14T22:13:20.000Z"
    assert (row["statistic"], row["threshold"], row["decides"]) == (None, None, True)
    ((sql, parameters),) = asked
    assert "OR 1=1" not in sql
    assert parameters == {"model": "m' OR 1=1 --", "version": "2", "limit": 100, "role": "canary"}


@pytest.mark.parametrize("failure", [Retryable("http://u:hunter2@h"), Permanent("hunter2")])
def test_a_store_that_is_down_takes_nothing_else_with_it(failure: Exception) -> None:
    def down(query: FindingQuery) -> list[FindingRow]:
        raise failure

    api = client(verdict(Status.FAIL), findings=down)
    response = api.get("/v1/findings", params={"model": "m", "version": "2"})
    assert response.status_code == 503
    assert "hunter2" not in response.text
    assert ask(api, model="m", version="2")["verdict"] == "fail"
    assert api.get("/readyz").status_code == 200


def test_metrics_count_releases_requests_and_ages_within_bounds() -> None:
    api = client(*(verdict(Status.PASS, version=f"v{i}") for i in range(600)))
    ask(api, model="m", version="v1")
    for number in range(50):
        api.get(f"/guess/{number}")
    text = api.get("/metrics").text
    assert 'driftline_releases{status="pass"} 600.0' in text
    assert text.count("driftline_release_status{") == 500
    assert "driftline_releases_left_out 100.0" in text
    assert 'driftline_http_requests_total{code="200",route="/v1/verdict"} 1.0' in text
    assert 'driftline_http_requests_total{code="404",route="other"} 50.0' in text
    assert "driftline_serve_ready 1.0" in text


def test_releases_are_listed_newest_first_and_limited() -> None:
    api = client(*(verdict(Status.PASS, version=f"v{i}") for i in range(5)))
    body = api.get("/v1/releases", params={"limit": 2}).json()
    assert body["total"] == 5
    assert [release["version"] for release in body["releases"]] == ["v4", "v3"]
    assert api.get("/v1/releases", params={"model": "other"}).json()["total"] == 0
    assert api.get("/v1/releases", params={"limit": 0}).status_code == 422


def test_a_token_file_holds_tokens_or_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{TOKEN}\n\nanother-long-token\n")
    assert read_tokens(str(file)) == (TOKEN, "another-long-token")
    assert read_tokens("") == ()
    for text in ("", "\n \n", "short\n", "é" * 20, "x" * 70_000):
        file.write_text(text)
        with pytest.raises(TokenFileError) as caught:
            read_tokens(str(file))
        assert "short\n" not in str(caught.value)
    with pytest.raises(TokenFileError):
        read_tokens(str(tmp_path / "missing"))

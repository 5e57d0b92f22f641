"""The OpenAPI document says what the API does: its routes, and every kind of answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from sinks.api import ApiParts, Readiness, create_app
from sinks.console.routes import ConsoleParts, console
from sinks.console.store_view import StoreView
from sinks.control import ControlBoard
from sinks.credentials import SecretSource
from sinks.errors import Retryable
from sinks.finding_history import FindingQuery, FindingRow
from sinks.grants import Scope
from sinks.hooks import HookSettings
from sinks.operations import Operations
from sinks.verdict_board import VerdictBoard
from tests.contract.json_schema import problems
from tests.unit.sinks.operations_scene import (
    GRANTS,
    HOOK,
    LINKS,
    NOW,
    OPERATOR,
    READER,
    Kafka,
    body,
    case,
    fields,
    grafana_alert,
    link,
    signed,
)

FINDING = FindingRow(
    "m", "2", "canary", "all", "error", 60_000, "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z",
    "canary_errors", "production:1", 1, 1.5, None, 10, 20, "fail", "errors go up", True, True, "e",
)  # fmt: skip


@dataclass
class Api:
    """The whole API. ``store_away``, ``board_ready`` and ``kafka.away`` change how it answers."""

    store_away: bool = False
    board_ready: bool = True
    kafka: Kafka = field(init=False)
    parts: ApiParts = field(init=False)
    client: httpx2.Client = field(init=False)

    def __post_init__(self) -> None:
        control = ControlBoard(max_rollbacks_per_hour=2)
        control.take(case())
        self.kafka = Kafka(control)
        board = VerdictBoard()
        release = Release("m", "2", Role.CANARY)
        board.update(
            Verdict(release, Status.FAIL, "worse", 1, NOW, NOW, 60_000, "1", 9, 1.0, 2.0, (), 7),
            NOW,
        )
        tokens = tuple(grant.token for grant in GRANTS if grant.may(Scope.READ))
        pages = console(
            ConsoleParts(
                standings=lambda: board.standings(NOW, 300_000),
                waiting_for=lambda: "",
                store=StoreView(lambda sql, parameters: [], lambda: 0.0, "driftline"),
                now_ms=lambda: NOW,
                tokens=tokens,
            )
        )
        self.parts = ApiParts(
            board=board,
            now_ms=lambda: NOW,
            max_age_ms=300_000,
            ready=lambda: Readiness(self.board_ready, "test"),
            findings=self._findings,
            tokens=tokens,
            pages=pages,
            operations=Operations(
                control,
                lambda: True,
                self.kafka,
                LINKS,
                GRANTS,
                HookSettings(SecretSource(env="G"), SecretSource(env="M")),
                {"G": "grafana-secret", "M": "mlflow-secret"},
            ),
        )
        self.client = TestClient(create_app(self.parts), follow_redirects=False)

    def _findings(self, query: FindingQuery) -> Sequence[FindingRow]:
        if self.store_away:
            raise Retryable("away")
        return [FINDING]


@dataclass(frozen=True)
class Ask:
    """A request and the status that it gets. ``path`` is the document's, ``at`` what is asked."""

    status: int
    method: str
    path: str
    at: str = ""
    json: Any = None
    content: bytes | None = None
    data: dict[str, str] | None = None
    token: str = OPERATOR
    headers: tuple[tuple[str, str], ...] = ()
    kafka_away: bool = False
    store_away: bool = False
    ready: bool = True


RELEASE = "?model=m&version=2"
FLAGGER = {"name": "m", "namespace": "n", "phase": "Progressing"}
METADATA = {"model": "m", "version": "2"}
ALERTS = body(grafana_alert())
SIGNED = tuple(signed(ALERTS).items())
MLFLOW = {
    "entity": "model_version_alias",
    "action": "created",
    "data": {"name": "m", "alias": "champion", "version": "3"},
}
ORDER = {"seconds": 60, "reason": "x"}
APPROVE = "/v1/rollbacks/{key}/approve"
REJECT = "/v1/rollbacks/{key}/reject"
GATE, BACK = "/v1/flagger/gate/{token}", "/v1/flagger/rollback/{token}"
BEGUN = "/v1/hooks/flagger/{token}"
FLAGGER_BEGUN = {**FLAGGER, "metadata": METADATA}
KEY = "/v1/rollbacks/rollback_k"
FORM = fields(link())

ASKED = (
    Ask(200, "GET", "/v1/verdict", f"/v1/verdict{RELEASE}"),
    Ask(200, "GET", "/v1/verdict", "/v1/verdict?model=unheard&version=of"),
    Ask(422, "GET", "/v1/verdict"),
    Ask(401, "GET", "/v1/verdict", f"/v1/verdict{RELEASE}", token=""),
    Ask(403, "GET", "/v1/verdict", f"/v1/verdict{RELEASE}", token=HOOK),
    Ask(
        400,
        "PUT",
        "/v1/automation",
        content=b"\xff",
        headers=(("content-type", "application/json"),),
    ),
    Ask(413, "PUT", "/v1/automation", content=b"x" * 300_000),
    Ask(200, "GET", "/v1/releases"),
    Ask(422, "GET", "/v1/releases", "/v1/releases?limit=0"),
    Ask(200, "GET", "/v1/findings", f"/v1/findings{RELEASE}"),
    Ask(503, "GET", "/v1/findings", f"/v1/findings{RELEASE}", store_away=True),
    Ask(409, "POST", "/v1/flagger/gate", json={"metadata": METADATA}),
    Ask(400, "POST", "/v1/flagger/gate", json={"metadata": {}}),
    Ask(401, "POST", "/v1/flagger/gate", json={"metadata": METADATA}, token=""),
    Ask(200, "POST", "/v1/flagger/rollback", json={"metadata": METADATA}),
    Ask(409, "POST", GATE, f"/v1/flagger/gate/{READER}", json={"metadata": METADATA}, token=""),
    Ask(401, "POST", GATE, "/v1/flagger/gate/guessed", json={"metadata": METADATA}, token=""),
    Ask(200, "POST", BACK, f"/v1/flagger/rollback/{READER}", json={"metadata": METADATA}, token=""),
    Ask(200, "GET", "/healthz", token=""),
    Ask(200, "GET", "/readyz", token=""),
    Ask(503, "GET", "/readyz", ready=False),
    Ask(200, "GET", "/metrics"),
    Ask(401, "GET", "/metrics", token="wrong"),
    Ask(200, "GET", "/v1/automation"),
    Ask(200, "PUT", "/v1/automation", json={"automation": "off"}),
    Ask(422, "PUT", "/v1/automation", json={"automation": "maybe"}),
    Ask(403, "PUT", "/v1/automation", json={"automation": "off"}, token=HOOK),
    Ask(503, "PUT", "/v1/automation", json={"automation": "off"}, kafka_away=True),
    Ask(201, "POST", "/v1/silences", json=ORDER),
    Ask(503, "POST", "/v1/silences", json=ORDER, kafka_away=True),
    Ask(200, "GET", "/v1/silences"),
    Ask(404, "DELETE", "/v1/silences/{silence_id}", "/v1/silences/none"),
    Ask(200, "GET", "/v1/rollbacks"),
    Ask(202, "POST", APPROVE, f"{KEY}/approve", json={"revision": 1}),
    Ask(409, "POST", APPROVE, f"{KEY}/approve", json={"revision": 2}),
    Ask(404, "POST", APPROVE, "/v1/rollbacks/none/approve", json={"revision": 1}),
    Ask(202, "POST", REJECT, f"{KEY}/reject", json={"revision": 1}),
    Ask(202, "POST", "/v1/hooks/grafana", content=ALERTS, token="", headers=SIGNED),
    Ask(401, "POST", "/v1/hooks/grafana", content=ALERTS, token=""),
    Ask(503, "POST", "/v1/hooks/grafana", content=ALERTS, headers=SIGNED, kafka_away=True),
    Ask(202, "POST", "/v1/hooks/alertmanager", content=ALERTS, token=HOOK),
    Ask(400, "POST", "/v1/hooks/alertmanager", content=b"no", token=HOOK),
    Ask(202, "POST", "/v1/hooks/flagger", json={**FLAGGER, "metadata": METADATA}, token=HOOK),
    Ask(202, "POST", BEGUN, f"/v1/hooks/flagger/{HOOK}", json=FLAGGER_BEGUN, token=""),
    Ask(202, "POST", "/v1/hooks/mlflow", json=MLFLOW, token=HOOK),
    Ask(200, "GET", "/v1/approvals", link()),
    Ask(403, "GET", "/v1/approvals", link() + "x"),
    Ask(410, "GET", "/v1/approvals", link(expires_ms=NOW - 1)),
    Ask(200, "POST", "/v1/approvals", data={**FORM, "decision": "reject"}),
    Ask(400, "POST", "/v1/approvals", data={}),
    Ask(503, "POST", "/v1/approvals", data={**FORM, "decision": "reject"}, kafka_away=True),
    Ask(307, "GET", "/"),
    Ask(307, "GET", "/console"),
    Ask(200, "GET", "/console/"),
    Ask(303, "GET", "/console/", token=""),
    Ask(400, "GET", "/console/release", "/console/release?page=x"),
    Ask(200, "GET", "/console/release", "/console/release?model=m"),
    Ask(200, "GET", "/console/drift", "/console/drift?model=m"),
    Ask(200, "GET", "/console/incidents"),
    Ask(200, "GET", "/console/static/{name}", "/console/static/console.css"),
    Ask(404, "GET", "/console/static/{name}", "/console/static/none"),
    Ask(200, "GET", "/console/sign-in"),
    Ask(303, "POST", "/console/sign-in", data={"token": OPERATOR}),
    Ask(401, "POST", "/console/sign-in", data={"token": "wrong"}),
    Ask(303, "POST", "/console/sign-out"),
)


@pytest.fixture(scope="module")
def document() -> Any:
    return Api().client.get("/openapi.json", headers=bearer(OPERATOR)).json()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


def name_of(ask: Ask) -> str:
    return f"{ask.method} {ask.at or ask.path} {ask.status}"[:80]


@pytest.mark.parametrize("ask", ASKED, ids=name_of)
def test_an_answer_is_what_the_document_says(document: Any, ask: Ask) -> None:
    api = Api(store_away=ask.store_away, board_ready=ask.ready)
    api.kafka.away = ask.kafka_away
    reply = api.client.request(
        ask.method,
        ask.at or ask.path,
        json=ask.json,
        content=ask.content,
        data=ask.data,
        headers={**bearer(ask.token), **dict(ask.headers)},
    )
    assert reply.status_code == ask.status, reply.text[:300]
    operation = document["paths"][ask.path][ask.method.lower()]
    assert_documented(reply, operation["responses"][str(ask.status)], document)
    if ask.json is not None and ask.status in (200, 201, 202, 409):
        taken = operation["requestBody"]["content"]["application/json"]["schema"]
        assert list(problems(ask.json, taken, document)) == []


def assert_documented(reply: httpx2.Response, said: Any, document: Any) -> None:
    content = said.get("content", {})
    kind = reply.headers.get("content-type", "").partition(";")[0]
    if not content or not reply.content:
        assert not reply.content or 300 <= reply.status_code < 400
        return
    assert kind in content
    if kind == "application/json" and "schema" in content[kind]:
        assert list(problems(reply.json(), content[kind]["schema"], document)) == []


def test_a_silence_that_was_made_can_be_ended_as_documented(document: Any) -> None:
    client = Api().client
    made = client.post("/v1/silences", json=ORDER, headers=bearer(OPERATOR)).json()
    reply = client.delete(f"/v1/silences/{made['id']}", headers=bearer(OPERATOR))
    said = document["paths"]["/v1/silences/{silence_id}"]["delete"]["responses"]["200"]
    assert_documented(reply, said, document)
    listed = client.get("/v1/silences", headers=bearer(OPERATOR))
    said = document["paths"]["/v1/silences"]["get"]["responses"]["200"]
    assert_documented(listed, said, document)


def test_every_route_is_in_the_document_and_is_asked_here(document: Any) -> None:
    documented = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    }
    assert documented == {(ask.method, ask.path) for ask in ASKED}
    guarded: Any = create_app(Api().parts)._app
    hidden = [route.path for route in routes_of(guarded) if not route.include_in_schema]
    assert hidden == ["/openapi.json"]


def routes_of(router: Any) -> Iterator[Any]:
    """The routes of an application, also of the routers that it includes."""
    for route in router.routes:
        inside = getattr(route, "original_router", None)
        if inside is None:
            yield route
        else:
            yield from routes_of(inside)


def test_every_operation_says_what_it_is_for_and_how_it_is_refused(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation.get("description"), f"{method} {path}"
            assert operation["tags"], f"{method} {path}"
            assert "429" in operation["responses"], f"{method} {path}"


def test_a_wrong_answer_would_be_found(document: Any) -> None:
    said = document["paths"]["/v1/verdict"]["get"]["responses"]["200"]
    schema = said["content"]["application/json"]["schema"]
    good = Api().client.get(f"/v1/verdict{RELEASE}", headers=bearer(OPERATOR)).json()
    assert list(problems(good, schema, document)) == []
    for wrong in ({**good, "score": "high"}, {**good, "verdict": "maybe"}, {}):
        assert list(problems(wrong, schema, document))

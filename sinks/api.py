"""The HTTP API that deployers ask.

``GET /v1/verdict`` answers 200 with every field, each always of one type, whatever is known: in
Argo Rollouts a failing request counts towards aborting the rollout, and a field of another type is
an error of the measurement. No data is the answer ``inconclusive``. While the board has not read
all verdicts there are, every answer is ``inconclusive``, since a later verdict may be unread.

``POST /v1/flagger/rollback`` answers 200 (which means: roll back) for a recent FAIL of the very
(model, version, role) named, and for nothing else; ``/v1/flagger/gate`` answers 200 (advance) for
a recent PASS. Both need the version: with a model alone, the FAIL of the last canary could roll
back the next one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

import anyio
import structlog
from anyio import to_thread
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.exceptions import HTTPException

from detectors.release import ROLE_NAMES, Role
from detectors.verdict import Status
from sinks.api_document import (
    OPEN,
    PROBES,
    VERDICTS,
    DocumentedApi,
    Responses,
    fields,
    refusals,
    takes,
)
from sinks.approval_routes import approval_routes
from sinks.board_metrics import BoardMetrics
from sinks.control import CaseRecord
from sinks.errors import Permanent, Retryable
from sinks.finding_history import MAX_ROWS, FindingQuery, FindingRow, iso
from sinks.hook_routes import hook_routes
from sinks.http_guard import HttpGuard, bearer, token_ok
from sinks.operations import Operations
from sinks.operator_routes import operator_routes
from sinks.rate_limit import RateLimiter
from sinks.verdict_board import Answer, Decision, VerdictBoard, unknown

log = structlog.get_logger()

MAX_NAME_CHARS: Final = 200
MAX_BODY_BYTES: Final = 256 * 1024
"""A notification of Grafana holds some hundred alerts."""
MAX_RELEASES_LISTED: Final = 10_000
STORE_TIMEOUT_S: Final = 10.0
STORE_QUERIES: Final = 4
"""Findings asked of the store at a time: a store that hangs must not take all threads."""


_REFUSED: Final = {
    400: "the body cannot be read: send JSON in UTF-8",
    404: "nothing is here: /openapi.json lists what is",
    405: "this path takes other methods: /openapi.json lists them",
    413: f"the body has more than {MAX_BODY_BYTES} bytes",
}
"""What is said of a request that no endpoint has taken."""

Name = Annotated[str, Query(min_length=1, max_length=MAX_NAME_CHARS)]
Optional = Annotated[str, Query(max_length=MAX_NAME_CHARS)]


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether all verdicts there are have been read, and if not, why."""

    ready: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What the API is made of. ``now_ms`` reads the wall clock, ``ready`` is asked at every
    request, ``findings`` asks the store and raises Retryable or Permanent. ``pages``: what people
    look at (sinks/console), if anything; it asks for the token by itself. ``operations``: what may
    be done beyond asking; without it there are no such routes. ``limiter``: how often a client may
    ask; without it, as often as it likes."""

    board: VerdictBoard
    now_ms: Callable[[], int]
    max_age_ms: int
    ready: Callable[[], Readiness]
    findings: Callable[[FindingQuery], Sequence[FindingRow]]
    tokens: tuple[str, ...] = ()
    pages: APIRouter | None = None
    operations: Operations | None = None
    limiter: RateLimiter | None = None


@dataclass(frozen=True, slots=True)
class VerdictBody:
    """A verdict as deployers read it. Times are ISO 8601 UTC, ages in seconds, 1e9 if unknown."""

    verdict: Decision
    status: Status
    ok: bool
    score: float
    samples: int
    checks: int
    data_age_seconds: float
    verdict_age_seconds: float
    window_end: str
    model: str
    version: str
    role: str
    baseline_version: str
    reasons: list[str]
    rollback: str = ""
    """The state of its rollback (detectors/rollback_case.py), "" if none was ever thought of."""


@dataclass(frozen=True, slots=True)
class ReleasesBody:
    """``releases`` holds the most recently confirmed of ``total``."""

    total: int
    releases: list[VerdictBody]


@dataclass(frozen=True, slots=True)
class FindingsBody:
    """The newest findings first."""

    findings: list[FindingRow]


@dataclass(frozen=True, slots=True)
class HookBody:
    """What Flagger is told: the answer, and a reason that ends up in a Kubernetes event."""

    verdict: Decision
    reason: str


def verdict_body(answer: Answer, case: CaseRecord | None = None) -> VerdictBody:
    """The answer in the form of the API, with the rollback of the version if there is one."""
    return VerdictBody(
        verdict=answer.decision,
        status=answer.status,
        ok=answer.decision is Decision.PASS,
        score=answer.score,
        samples=answer.samples,
        checks=answer.checks,
        data_age_seconds=answer.data_age_seconds,
        verdict_age_seconds=answer.verdict_age_seconds,
        window_end=iso(answer.window_end_ms),
        model=answer.model,
        version=answer.version,
        role=answer.role,
        baseline_version=answer.baseline_version,
        reasons=list(answer.reasons),
        rollback="" if case is None else case.state.value,
    )


def create_app(parts: ApiParts) -> HttpGuard:
    """The ASGI application, guarded. It holds no state but that of ``parts`` and its counters."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        BoardMetrics(parts.board, parts.now_ms, parts.max_age_ms, lambda: parts.ready().ready)
    )
    app = DocumentedApi(
        # The pages would load scripts from other hosts; the schema itself is at /openapi.json.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        max_body_size=MAX_BODY_BYTES,
    )
    _verdict_routes(app, parts)
    _findings_route(app, parts)
    _flagger_routes(app, parts)
    _probe_routes(app, parts, registry)
    if parts.pages is not None:
        app.include_router(parts.pages)
    if parts.operations is not None:
        app.include_router(hook_routes(parts.operations, parts.now_ms))
        app.include_router(operator_routes(parts.operations, parts.now_ms))
        app.include_router(approval_routes(parts.operations, parts.now_ms))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # The default answer quotes the input; ours names the parameter.
        problems = [
            {"where": ".".join(map(str, each["loc"])), "what": each["msg"]}
            for each in error.errors()
        ]
        return JSONResponse({"error": "invalid request", "problems": problems}, 422)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        said = _REFUSED.get(error.status_code, error.detail)
        return JSONResponse({"error": said}, error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> JSONResponse:
        # The guard writes the log line; the error's own text may quote what was asked.
        return JSONResponse({"error": "internal error"}, 500)

    grants = () if parts.operations is None else parts.operations.grants
    return HttpGuard(app, parts.tokens, registry, grants, parts.limiter)


def answer_for(parts: ApiParts, model: str, version: str, role: str) -> Answer:
    """The answer, whatever happens: an error here is `inconclusive` too."""
    try:
        if role and role not in ROLE_NAMES:
            return unknown(
                model, version, role, "unknown role: production, canary, shadow, variant"
            )
        readiness = parts.ready()
        if not readiness.ready:
            return unknown(model, version, role, f"not ready: {readiness.reason}")
        wanted = Role(role) if role else None
        return parts.board.answer(model, version, wanted, parts.now_ms(), parts.max_age_ms)
    except Exception as error:
        log.exception("answer_failed", error=type(error).__name__, exc_info=False)
        return unknown(model, version, role, "internal error, see the log of serve")


def _case(parts: ApiParts, model: str, version: str) -> CaseRecord | None:
    return None if parts.operations is None else parts.operations.board.case_of(model, version)


def _verdict_routes(app: FastAPI, parts: ApiParts) -> None:
    @app.get("/v1/verdict", tags=[VERDICTS])
    async def verdict(model: Name, version: Name, role: Optional = "") -> VerdictBody:
        """What is to be thought of a release now. Always 200 with every field."""
        return verdict_body(answer_for(parts, model, version, role), _case(parts, model, version))

    @app.get("/v1/releases", tags=[VERDICTS])
    async def releases(
        model: Optional = "",
        limit: Annotated[int, Query(ge=1, le=MAX_RELEASES_LISTED)] = 1_000,
    ) -> ReleasesBody:
        """All releases heard of, the most recently confirmed first."""
        total, answers = parts.board.answers(parts.now_ms(), parts.max_age_ms, model or None, limit)
        bodies = [verdict_body(each, _case(parts, each.model, each.version)) for each in answers]
        return ReleasesBody(total, bodies)


def _findings_route(app: FastAPI, parts: ApiParts) -> None:
    limiter = anyio.CapacityLimiter(STORE_QUERIES)

    @app.get(
        "/v1/findings",
        response_model=FindingsBody,
        responses=refusals(s503="The store does not answer; verdicts do not need it."),
        tags=[VERDICTS],
    )
    async def findings(
        model: Name,
        version: Name,
        role: Role | None = None,
        limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 100,
    ) -> FindingsBody | JSONResponse:
        """The findings behind the verdicts, from the store. 503 while it is away."""
        if limiter.available_tokens < 1:
            return _unavailable("too many questions to the store at once")
        query = FindingQuery(model, version, role, limit)
        try:
            with anyio.fail_after(STORE_TIMEOUT_S):
                rows = await to_thread.run_sync(
                    parts.findings, query, limiter=limiter, abandon_on_cancel=True
                )
        except TimeoutError:
            return _unavailable("the store did not answer in time")
        except (Retryable, Permanent) as error:
            log.warning("store_not_available", error=type(error).__name__)
            return _unavailable("the store is not available")
        return FindingsBody(list(rows))


def _unavailable(why: str) -> JSONResponse:
    body = {"error": why, "hint": "verdicts do not need the store; try again later"}
    return JSONResponse(body, 503, headers={"retry-after": "5"})


def _flagger_routes(app: FastAPI, parts: ApiParts) -> None:
    metadata = fields("model version", model="", version="", role="canary if absent", token="")
    body = takes(fields("metadata", name="", namespace="", phase="", metadata=metadata))

    async def hook(request: Request, acts_on: Decision, in_path: str) -> JSONResponse:
        metadata = _metadata(await request.body())
        token = bearer(request.scope) or in_path or metadata.get("token", "")
        if parts.tokens and not token_ok(token, parts.tokens):
            why = "a token is needed: in metadata.token, or as the last part of the path"
            return _hook(401, Decision.INCONCLUSIVE, why)
        model, version = metadata.get("model", ""), metadata.get("version", "")
        if not (0 < len(model) <= MAX_NAME_CHARS and 0 < len(version) <= MAX_NAME_CHARS):
            return _hook(
                400, Decision.INCONCLUSIVE, "metadata.model and metadata.version are needed"
            )
        answer = answer_for(parts, model, version, metadata.get("role", Role.CANARY.value))
        reason = "; ".join(answer.reasons[:3]) or answer.status.value
        # Anything but 200 to 202 means: do not advance, or: do not roll back.
        return _hook(200 if answer.decision is acts_on else 409, answer.decision, reason)

    answers: Responses = {
        400: {"model": HookBody, "description": "The metadata name no model or no version."},
        401: {"model": HookBody, "description": "No valid token, in header, path or metadata."},
        409: {"model": HookBody, "description": "The verdict is another one, or there is none."},
    }

    def asked(path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        return app.post(
            path, response_model=HookBody, responses=answers, openapi_extra=body, tags=[VERDICTS]
        )

    @asked("/v1/flagger/gate")
    @asked("/v1/flagger/gate/{token}")
    async def gate(request: Request, token: str = "") -> JSONResponse:
        """200 if the release may advance: its verdict is a recent PASS."""
        return await hook(request, Decision.PASS, token)

    @asked("/v1/flagger/rollback")
    @asked("/v1/flagger/rollback/{token}")
    async def rollback(request: Request, token: str = "") -> JSONResponse:
        """200 if the release must be rolled back: its verdict is a recent FAIL."""
        return await hook(request, Decision.FAIL, token)


def _metadata(body: bytes) -> dict[str, str]:
    """The texts in ``metadata`` of a Flagger hook; none of them if the body is unreadable."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    metadata = parsed.get("metadata") if isinstance(parsed, dict) else None
    if not isinstance(metadata, dict):
        return {}
    return {key: value for key, value in metadata.items() if isinstance(value, str)}


def _hook(status: int, decision: Decision, reason: str) -> JSONResponse:
    return JSONResponse(asdict(HookBody(decision, reason)), status)


def _probe_routes(app: FastAPI, parts: ApiParts, registry: CollectorRegistry) -> None:
    @app.get("/healthz", tags=[PROBES], openapi_extra=OPEN)
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    not_yet: Responses = {503: {"model": Readiness, "description": "Verdicts are being read."}}

    @app.get(
        "/readyz", response_model=Readiness, responses=not_yet, tags=[PROBES], openapi_extra=OPEN
    )
    async def readyz() -> JSONResponse:
        """200 once every verdict in Kafka has been read and the reader is alive."""
        readiness = parts.ready()
        body = {"ready": readiness.ready, "reason": readiness.reason}
        return JSONResponse(body, 200 if readiness.ready else 503)

    text: Responses = {200: {"content": {"text/plain": {}}, "description": "All figures."}}

    @app.get("/metrics", response_class=Response, responses=text, tags=[PROBES])
    async def metrics() -> Response:
        """Prometheus text format."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

"""The endpoints that other systems report to. Everything they say becomes a record on Kafka before
it is answered; what it leads to is decided by deliver, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from sinks.api_document import HOOKS as TAG
from sinks.api_document import NOT_NOW, Taken, fields, refusals, takes
from sinks.commands import Command
from sinks.credentials import NoSecret
from sinks.grants import Scope, grant_of
from sinks.hooks import (
    HookSettings,
    NotAHook,
    alert_commands,
    flagger_commands,
    flagger_token,
    grafana_genuine,
    mlflow_commands,
    mlflow_genuine,
)
from sinks.http_guard import bearer
from sinks.operations import Operations, not_now, publishing

GRAFANA: Final = "/v1/hooks/grafana"
ALERTMANAGER: Final = "/v1/hooks/alertmanager"
FLAGGER: Final = "/v1/hooks/flagger"
MLFLOW: Final = "/v1/hooks/mlflow"

Proven = Callable[[Request, bytes], str]
"""Who sends this, "" if that is not proven."""
Check = Callable[[Mapping[str, str], bytes, HookSettings, int, Mapping[str, str]], bool]


class _Hooks:
    """The endpoints; each proves by itself who sends."""

    def __init__(self, operations: Operations, now_ms: Callable[[], int]) -> None:
        self._operations = operations
        self._now_ms = now_ms
        self._publish = publishing()

    async def grafana(self, request: Request) -> JSONResponse:
        """Alerts of Grafana, signed or with a token of scope hook."""
        return await self._take(
            request,
            self._by_grafana,
            lambda body, by: alert_commands(body, "Grafana", by, self._now_ms()),
        )

    async def alertmanager(self, request: Request) -> JSONResponse:
        """Alerts of Prometheus Alertmanager, with a token of scope hook."""
        return await self._take(
            request,
            lambda request, _: self._by_token(request),
            lambda body, by: alert_commands(body, "Alertmanager", by, self._now_ms()),
        )

    async def flagger(self, request: Request) -> JSONResponse:
        """Flagger's event hook; the token (scope hook) in the header, as the last part of the path
        or in ``metadata.token``."""
        in_path = str(request.path_params.get("token", ""))
        return await self._take(
            request,
            lambda request, body: self._by_token(request, in_path or flagger_token(body)),
            lambda body, by: flagger_commands(body, by, self._now_ms()),
        )

    async def mlflow(self, request: Request) -> JSONResponse:
        """MLflow's webhook for aliases of model versions, signed or with a token of scope hook."""
        return await self._take(
            request, self._by_mlflow, lambda body, by: mlflow_commands(body, by, self._now_ms())
        )

    def _by_token(self, request: Request, token: str = "") -> str:
        grant = grant_of(bearer(request.scope) or token, self._operations.grants)
        return grant.name if grant is not None and grant.may(Scope.HOOK) else ""

    def _by_grafana(self, request: Request, body: bytes) -> str:
        signed = self._signed(grafana_genuine, request, body)
        return self._by_token(request) or ("grafana" if signed else "")

    def _by_mlflow(self, request: Request, body: bytes) -> str:
        signed = self._signed(mlflow_genuine, request, body)
        return self._by_token(request) or ("mlflow" if signed else "")

    def _signed(self, genuine: Check, request: Request, body: bytes) -> bool:
        held = self._operations
        try:
            return genuine(request.headers, body, held.hooks, self._now_ms(), held.environ)
        except NoSecret:
            return False

    async def _take(
        self, request: Request, proven: Proven, read: Callable[[bytes, str], tuple[Command, ...]]
    ) -> JSONResponse:
        body = await request.body()
        by = proven(request, body)
        if not by:
            return JSONResponse({"error": "no valid signature or token of scope hook"}, 401)
        try:
            commands = read(body, by)
        except NotAHook as error:
            return JSONResponse({"error": str(error)}, 400)

        def all_of_them() -> None:
            for command in commands:
                self._operations.publish.command(command)

        if not await self._publish(all_of_them):
            return not_now()
        return JSONResponse({"taken": len(commands)}, 202)


def hook_routes(operations: Operations, now_ms: Callable[[], int]) -> APIRouter:
    """The routes, to be included in the API."""
    router = APIRouter()
    hooks = _Hooks(operations, now_ms)
    for path, endpoint, body in (
        (GRAFANA, hooks.grafana, _ALERTS),
        (ALERTMANAGER, hooks.alertmanager, _ALERTS),
        (FLAGGER, hooks.flagger, _FLAGGER),
        (f"{FLAGGER}/{{token}}", hooks.flagger, _FLAGGER),
        (MLFLOW, hooks.mlflow, _MLFLOW),
    ):
        router.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            status_code=202,
            response_model=Taken,
            responses=_REFUSED,
            openapi_extra=takes(body, security=[{"bearer": []}, {}]),
            tags=[TAG],
        )
    return router


_REFUSED: Final = NOT_NOW | refusals(
    s400="The body is not what this hook takes.", s401="No valid signature or token."
)
_TEXTS: Final = {"type": "object", "additionalProperties": {"type": "string"}}
_ALERT: Final = fields(
    "status startsAt",
    status="firing or resolved",
    startsAt="when it began; the same fingerprint and beginning count once",
    fingerprint="which alert it is; made of its labels if absent",
    labels={
        **_TEXTS,
        "description": "model, version and role name the release; driftline_action: rollback asks"
        " for its rollback",
    },
    annotations={**_TEXTS, "description": "summary, else description, is what people are told"},
)
_ALERTS: Final = fields("alerts", alerts={"type": "array", "items": _ALERT})
_FLAGGER: Final = fields(
    "name namespace",
    name="the Canary",
    namespace="",
    phase="",
    checksum="",
    metadata={
        "type": "object",
        "description": "version, and model if it is not the Canary's name; token, if there is no"
        " header",
    },
)
_MLFLOW: Final = fields(
    "entity action data",
    entity="model_version_alias; others are taken and lead to nothing",
    action="created or updated",
    data={"type": "object", "description": "name, alias and version"},
)

"""MLflow: move an alias of a registered model from the bad version back to the good one.

Serving that loads ``models:/NAME@ALIAS`` follows the alias. MLflow has no conditional write: the
alias is read, must point to the version to leave, is set, and is read again. Between reading and
writing somebody else may move it; that gap (milliseconds) stays. A repeat is recognised by the
state. Source: MLflow REST API 2.0, registered-models/alias and model-versions/get.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final
from urllib.parse import urlencode

from sinks.credentials import SecretSource
from sinks.deployers.json_patch import Json, text_at
from sinks.deployers.order import Done, Effect, Order, Refused, already, filled
from sinks.egress import Egress, Reply, RetryLater, raise_for_failure

ALIAS: Final = "/api/2.0/mlflow/registered-models/alias"
VERSION: Final = "/api/2.0/mlflow/model-versions/get"


@dataclass(frozen=True, slots=True)
class MlflowSettings:
    """One tracking server, at ``url``. ``registered_model`` is the model's name in the registry,
    ``version`` how MLflow calls a version of ours (it counts them: 1, 2, 3). ``token``, if it is
    configured, is sent as a bearer."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str = ""
    models: tuple[str, ...] = ("*",)
    url: str = ""
    registered_model: str = "{model}"
    alias: str = "champion"
    version: str = "{version}"
    token: SecretSource = field(default_factory=SecretSource)
    dry_run: bool = True

    def __post_init__(self) -> None:
        if not self.alias:
            raise ValueError("alias is empty; name the alias that serving follows")
        if "{version}" not in self.version:
            raise ValueError("version must hold {version}")


class Mlflow:
    """Moves aliases back."""

    def __init__(
        self, settings: MlflowSettings, egress: Egress, environ: Mapping[str, str] = os.environ
    ) -> None:
        """Raises Permanent if the URL may not be called or a secret is missing."""
        self._settings = settings
        self._egress = egress
        self._environ = environ
        egress.check(settings.url)
        settings.token.bearer(settings.name, environ)

    async def roll_back(self, order: Order) -> Done:
        """Carry out ``order``. Raises Retryable or Permanent."""
        settings = self._settings
        model = filled(settings.registered_model, order.model, "")
        bad = filled(settings.version, order.model, order.version)
        good = filled(settings.version, order.model, order.return_to)
        where = {"name": model, "alias": settings.alias}
        points_to = await self._points_to(where)
        if points_to == good:
            return already(f"alias {settings.alias} points to {good} already")
        if points_to != bad:
            raise Refused(f"alias {settings.alias} does not point to {bad}: nothing was changed")
        there = await self._ask("GET", VERSION, {"name": model, "version": good})
        if text_at(there, "/model_version/status") != "READY":
            raise Refused(f"version {good} is not ready in the registry: nothing to return to")
        if settings.dry_run:
            return Done(Effect.DONE, f"alias {settings.alias} moved from {bad} to {good}")
        await self._ask("POST", ALIAS, {**where, "version": good})
        if await self._points_to(where) != good:
            raise RetryLater(f"alias {settings.alias} was set and moved again; looking anew")
        return Done(Effect.DONE, f"alias {settings.alias} moved from {bad} to {good}")

    async def _points_to(self, where: Mapping[str, str]) -> str:
        return text_at(await self._ask("GET", ALIAS, where), "/model_version/version")

    async def _ask(self, method: str, path: str, parameters: Mapping[str, str]) -> Json:
        settings = self._settings
        url = settings.url.rstrip("/") + path
        headers = {"content-type": "application/json"}
        headers |= settings.token.bearer(settings.name, self._environ)
        body = b""
        if method == "GET":
            url = f"{url}?{urlencode(parameters, errors='replace')}"
        else:
            body = json.dumps(parameters).encode("ascii")
        reply = await self._egress.request(method, url, headers, body)
        return _answer(reply, settings.name)


def _answer(reply: Reply, name: str) -> Json:
    if reply.status == 404:
        raise Refused(f"{name}: the registry has no such model, version or alias (404)")
    raise_for_failure(reply, name, also_retried=401)
    try:
        return json.loads(reply.body or b"{}")
    except (ValueError, RecursionError):
        raise RetryLater(f"{name}: the answer is not JSON") from None

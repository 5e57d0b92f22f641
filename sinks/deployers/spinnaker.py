"""Spinnaker: start the pipeline that rolls back, by its webhook trigger.

The payload carries the action's key and both versions. Spinnaker starts every pipeline whose
trigger listens to ``source`` and whose payload constraints hold, and knows nothing of repeats: the
pipeline of deploy/spinnaker checks what runs before it changes anything, and two runs of it in a
row change it once. ``secret``, if it is configured, stands in the payload, for a constraint of the
trigger (Spinnaker's own way to know who calls). Source: Spinnaker, echo WebhooksController.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from sinks.credentials import SecretSource
from sinks.deployers.json_patch import find
from sinks.deployers.order import Done, Effect, Order, Refused
from sinks.egress import Egress, RetryLater, raise_for_failure


@dataclass(frozen=True, slots=True)
class SpinnakerSettings:
    """One webhook source of a Gate: ``url`` is ``https://GATE/webhooks/webhook/SOURCE``.
    ``secret`` goes into the payload, ``token`` (for a Gate that wants one) is sent as a bearer."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str = ""
    models: tuple[str, ...] = ("*",)
    url: str = ""
    secret: SecretSource = field(default_factory=SecretSource)
    token: SecretSource = field(default_factory=SecretSource)
    dry_run: bool = True


class Spinnaker:
    """Starts rollback pipelines."""

    def __init__(
        self, settings: SpinnakerSettings, egress: Egress, environ: Mapping[str, str] = os.environ
    ) -> None:
        """Raises Permanent if the URL may not be called or a secret is missing."""
        self._settings = settings
        self._egress = egress
        self._environ = environ
        egress.check(settings.url)
        settings.token.bearer(settings.name, environ)
        if settings.secret.file or settings.secret.env:
            settings.secret.read(settings.name, environ)

    async def roll_back(self, order: Order) -> Done:
        """Carry out ``order``. Raises Retryable or Permanent."""
        settings = self._settings
        payload = {
            "action_key": order.key,
            "model": order.model,
            "version": order.version,
            "return_to": order.return_to,
        }
        if settings.secret.file or settings.secret.env:
            payload["secret"] = settings.secret.read(settings.name, self._environ)
        headers = {"content-type": "application/json"}
        headers |= settings.token.bearer(settings.name, self._environ)
        if settings.dry_run:
            return Done(Effect.DONE, "started the rollback pipeline")
        body = json.dumps(payload).encode("ascii")
        reply = await self._egress.post(settings.url, headers, body)
        raise_for_failure(reply, settings.name, also_retried=401)
        try:
            answer = json.loads(reply.body or b"{}")
        except (ValueError, RecursionError):
            raise RetryLater(f"{settings.name}: the answer is not JSON") from None
        if find(answer, "/eventProcessed") is not True:
            raise Refused(f"{settings.name} took the call and did not process the event")
        return Done(Effect.DONE, "started the rollback pipeline")

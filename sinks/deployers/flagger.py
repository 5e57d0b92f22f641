"""Flagger: let it roll back by itself, through its own path.

Flagger has no call to abort. It rolls a canary back once ``status.failedChecks`` reaches
``spec.analysis.threshold``; this deployer sets the one to the other, and at the next interval
Flagger routes all traffic to the primary, scales the canary down, marks it Failed and tells whom
it tells. It needs no more than ``patch`` on ``canaries/status`` and ``get`` on the two workloads.

The first choice for Flagger is to let it ask (deploy/flagger). Only a canary that Progresses or
WaitsPromotion can be rolled back so; any other phase is refused, or is the wanted end already.
A repeat is recognised by the state. A check of Flagger's own that fails at the very moment may
write its smaller count over ours; whether the release really leaves is for the record of traffic
to show, as after every rollback. Source: flagger, pkg/controller/scheduler.go (advanceCanary).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sinks.deployers.cluster import Change, Cluster, object_path, unchanged
from sinks.deployers.json_patch import Json, number_at, put, test, text_at
from sinks.deployers.kubernetes import KubernetesSettings, carry_out
from sinks.deployers.order import Done, Order, Refused, VersionMark, already, object_name

GROUP: Final = "flagger.app/v1beta1"
ROLLING: Final = frozenset({"Progressing", "WaitingPromotion"})
OVER: Final = frozenset({"Failed", "Terminating", "Terminated"})
PLURALS: Final = {"Deployment": "deployments", "DaemonSet": "daemonsets"}


@dataclass(frozen=True, slots=True)
class FlaggerSettings(KubernetesSettings):
    """``object`` is the Canary. ``version`` says where its target (and the primary, which
    Flagger copies from it) names the version it runs."""

    version: VersionMark = field(default_factory=VersionMark)


class Flagger:
    """Rolls Canaries back."""

    def __init__(self, settings: FlaggerSettings, cluster: Cluster) -> None:
        self._settings = settings
        self._cluster = cluster

    async def roll_back(self, order: Order) -> Done:
        """Carry out ``order``. Raises Retryable or Permanent."""
        settings = self._settings
        name = object_name(settings.object, order.model)
        path = object_path(GROUP, settings.namespace, "canaries", name)
        canary = await self._cluster.read(path)
        plural = PLURALS.get(text_at(canary, "/spec/targetRef/kind"), "")
        target_name = object_name(text_at(canary, "/spec/targetRef/name"), "")
        if not plural:
            raise Refused("the Canary's target is neither a Deployment nor a DaemonSet")
        target = await self._cluster.read(
            object_path("apps/v1", settings.namespace, plural, target_name)
        )
        primary = await self._cluster.read(
            object_path("apps/v1", settings.namespace, plural, f"{target_name}-primary")
        )
        planned = fail(path, canary, target, primary, order, settings.version)
        return await carry_out(self._cluster, path, canary, planned, dry_run=settings.dry_run)


def fail(
    path: str, canary: Json, target: Json, primary: Json, order: Order, mark: VersionMark
) -> Change | Done:
    """The change after which Flagger rolls the canary back."""
    if not mark.shows(target, order.model, order.version):
        raise Refused(f"the Canary's target is not of {order.version} (by {mark.at})")
    phase = text_at(canary, "/status/phase")
    if phase in OVER:
        return already(f"Flagger has ended the canary of {order.version}: it is {phase}")
    if phase not in ROLLING:
        raise Refused(f"the Canary is {phase or 'not started'}: nothing can be rolled back")
    if not mark.shows(primary, order.model, order.return_to):
        raise Refused(f"the primary does not run {order.return_to} (by {mark.at})")
    # Flagger takes 0 and nothing for 1.
    threshold = max(1, number_at(canary, "/spec/analysis/threshold") or 0)
    failed = number_at(canary, "/status/failedChecks") or 0
    if failed >= threshold:
        return already(f"Flagger counts {failed} failed checks and is about to roll back")
    operations = (
        *unchanged(canary),
        test("/status/phase", phase),
        put("/status/failedChecks", threshold),
    )
    return Change(f"{path}/status", operations, f"failed the checks of {order.version} for Flagger")

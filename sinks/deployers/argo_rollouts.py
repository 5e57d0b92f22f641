"""Argo Rollouts: abort the rollout of a bad version, or put the stable version's template back.

``abort`` writes ``status.abort`` as `kubectl argo rollouts abort` does; it needs no more than
``patch`` on ``rollouts/status``, and shifts traffic at once, but ``spec.template`` still holds the
bad version: a retry by hand starts it again. ``undo`` writes the template of the ReplicaSet that
runs the version to return to into ``spec.template``, as `kubectl argo rollouts undo` does; it is
recorded on the object, and is what fights a GitOps controller that writes the template back.

An abort can be recognised by its state only (a status patch cannot write annotations): somebody
who retries the rollout by hand in the seconds before our own retry is aborted once more.

A rollout that is fully promoted has nothing to abort; that is refused. Source: argo-rollouts,
pkg/kubectl-argo-rollouts/cmd/abort, undo and promote; the labels of its ReplicaSets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from sinks.deployers.cluster import (
    Change,
    Cluster,
    carried_out,
    object_path,
    remember,
    unchanged,
)
from sinks.deployers.json_patch import Json, find, put, test, text_at
from sinks.deployers.kubernetes import KubernetesSettings, carry_out
from sinks.deployers.order import Done, Order, Refused, VersionMark, already, object_name
from sinks.deployers.replica_sets import owned_by, template_of

GROUP: Final = "argoproj.io/v1alpha1"
HASH_LABEL: Final = "rollouts-pod-template-hash"


class RolloutStep(StrEnum):
    """How a rollout is rolled back."""

    ABORT = "abort"
    UNDO = "undo"


@dataclass(frozen=True, slots=True)
class ArgoRolloutsSettings(KubernetesSettings):
    """``object`` is the Rollout. ``version`` says where its pod template names the version."""

    by: RolloutStep = RolloutStep.ABORT
    version: VersionMark = field(default_factory=VersionMark)


class ArgoRollouts:
    """Rolls Rollouts back."""

    def __init__(self, settings: ArgoRolloutsSettings, cluster: Cluster) -> None:
        self._settings = settings
        self._cluster = cluster

    async def roll_back(self, order: Order) -> Done:
        """Carry out ``order``. Raises Retryable or Permanent."""
        settings = self._settings
        name = object_name(settings.object, order.model)
        path = object_path(GROUP, settings.namespace, "rollouts", name)
        rollout = await self._cluster.read(path)
        sets = object_path("apps/v1", settings.namespace, "replicasets")
        planned: Change | Done
        if settings.by is RolloutStep.UNDO:
            done = undone(rollout, order)
            if done is None:
                found = await self._cluster.listed(sets, HASH_LABEL)
                planned = undo(path, rollout, found, order, settings.version)
            else:
                planned = done
        else:
            stable: Json = None
            pod_hash = text_at(rollout, "/status/stableRS")
            if pod_hash:
                stable = await self._cluster.read(f"{sets}/{object_name(name, '')}-{pod_hash}")
            planned = abort(path, rollout, stable, order, settings.version)
        return await carry_out(self._cluster, path, rollout, planned, dry_run=settings.dry_run)

    async def promote(self, order: Order) -> Done:
        """Skip the remaining steps and analyses of ``order.version``, which must be the canary."""
        settings = self._settings
        name = object_name(settings.object, order.model)
        path = object_path(GROUP, settings.namespace, "rollouts", name)
        rollout = await self._cluster.read(path)
        planned = promotion(path, rollout, order, settings.version)
        return await carry_out(self._cluster, path, rollout, planned, dry_run=settings.dry_run)


def abort(path: str, rollout: Json, stable: Json, order: Order, mark: VersionMark) -> Change | Done:
    """The change that aborts. ``stable`` is the ReplicaSet that the rollout calls stable."""
    _runs(rollout, order, mark)
    if find(rollout, "/status/abort") is True:
        return already(f"the rollout to {order.version} is aborted already")
    current, kept = text_at(rollout, "/status/currentPodHash"), text_at(rollout, "/status/stableRS")
    if not kept:
        raise Refused("the rollout has no stable ReplicaSet to return to")
    if current == kept:
        raise Refused(
            f"the rollout is complete: {order.version} is stable, so there is nothing to abort"
        )
    if not mark.shows(stable, order.model, order.return_to):
        raise Refused(f"the stable ReplicaSet does not run {order.return_to}")
    operations = (
        *unchanged(rollout),
        mark.condition(order.model, order.version),
        test("/status/stableRS", kept),
        put("/status/abort", value=True),
    )
    return Change(f"{path}/status", operations, f"aborted the rollout of {order.version}")


def undone(rollout: Json, order: Order) -> Done | None:
    """The outcome if this very undo was carried out before."""
    if carried_out(rollout, order.key):
        return already("this action was carried out on the rollout before")
    return None


def undo(
    path: str, rollout: Json, sets: list[Json], order: Order, mark: VersionMark
) -> Change | Done:
    """The change that puts the template of ``order.return_to`` back, from a ReplicaSet of it."""
    if mark.shows(rollout, order.model, order.return_to):
        return already(f"the rollout is of {order.return_to} already")
    _runs(rollout, order, mark)
    template = template_of(owned_by(sets, rollout), order, mark, HASH_LABEL)
    operations = (
        *unchanged(rollout),
        mark.condition(order.model, order.version),
        put("/spec/template", template),
        *remember(rollout, order.key),
    )
    return Change(path, operations, f"put the template of {order.return_to} back")


def promotion(path: str, rollout: Json, order: Order, mark: VersionMark) -> Change | Done:
    """The change that promotes ``order.version`` fully."""
    _runs(rollout, order, mark)
    current, kept = text_at(rollout, "/status/currentPodHash"), text_at(rollout, "/status/stableRS")
    if current and current == kept:
        return already(f"{order.version} is stable already")
    if find(rollout, "/status/abort") is True:
        raise Refused("the rollout is aborted; retry it before promoting")
    operations = (
        *unchanged(rollout),
        mark.condition(order.model, order.version),
        put("/status/promoteFull", value=True),
    )
    return Change(f"{path}/status", operations, f"promoted {order.version}")


def _runs(rollout: Json, order: Order, mark: VersionMark) -> None:
    if not mark.shows(rollout, order.model, order.version):
        raise Refused(
            f"the rollout is not of {order.version} (by {mark.at}); if its template is elsewhere "
            "(workloadRef), point version.at to a label of the rollout itself"
        )

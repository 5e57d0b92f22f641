"""Plain Deployments: scale the canary's to nothing, or put the old template back.

``scale``: the canary is a Deployment of its own beside the stable one; its replicas become 0, and
only if the stable one has available replicas of the version to return to. (A horizontal autoscaler
leaves a target with 0 replicas alone.) ``template``: one Deployment is both; the template of the
newest ReplicaSet that runs the version to return to is written back, which is what `kubectl
rollout undo` does, as apps/v1 has no call for it. With ``scale`` a repeat is recognised by its
state, with ``template`` also by the action's key on the object.
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
from sinks.deployers.json_patch import Json, find, number_at, put, test, text_at
from sinks.deployers.kubernetes import KubernetesSettings, carry_out
from sinks.deployers.order import Done, Order, Refused, VersionMark, already, object_name
from sinks.deployers.replica_sets import owned_by, template_of

GROUP: Final = "apps/v1"
HASH_LABEL: Final = "pod-template-hash"


class DeploymentStep(StrEnum):
    """How a Deployment is rolled back."""

    SCALE = "scale"
    TEMPLATE = "template"


@dataclass(frozen=True, slots=True)
class DeploymentSettings(KubernetesSettings):
    """``object`` is the Deployment to change: with ``scale`` that of the canary, beside the one
    named ``stable``. ``version`` says where both name the version they run."""

    by: DeploymentStep = DeploymentStep.SCALE
    stable: str = "{model}-stable"
    version: VersionMark = field(default_factory=VersionMark)


class Deployments:
    """Rolls Deployments back."""

    def __init__(self, settings: DeploymentSettings, cluster: Cluster) -> None:
        self._settings = settings
        self._cluster = cluster

    async def roll_back(self, order: Order) -> Done:
        """Carry out ``order``. Raises Retryable or Permanent."""
        settings = self._settings
        name = object_name(settings.object, order.model)
        path = object_path(GROUP, settings.namespace, "deployments", name)
        deployment = await self._cluster.read(path)
        planned: Change | Done
        if settings.by is DeploymentStep.SCALE:
            stable_name = object_name(settings.stable, order.model)
            if stable_name == name:
                raise Refused("object and stable are one Deployment; name the canary's as object")
            stable = await self._cluster.read(
                object_path(GROUP, settings.namespace, "deployments", stable_name)
            )
            planned = scale_down(path, deployment, stable, order, settings.version)
        elif carried_out(deployment, order.key):
            planned = already("this action was carried out on the Deployment before")
        else:
            selector = _selector(deployment)
            sets = object_path(GROUP, settings.namespace, "replicasets")
            found = await self._cluster.listed(sets, selector)
            planned = put_back(path, deployment, found, order, settings.version)
        return await carry_out(self._cluster, path, deployment, planned, dry_run=settings.dry_run)


def scale_down(
    path: str, canary: Json, stable: Json, order: Order, mark: VersionMark
) -> Change | Done:
    """The change that takes the canary's replicas away."""
    _runs(canary, order, mark)
    replicas = number_at(canary, "/spec/replicas")
    if replicas == 0:
        return already(f"the Deployment of {order.version} has no replicas already")
    if not mark.shows(stable, order.model, order.return_to):
        raise Refused(f"the stable Deployment does not run {order.return_to} (by {mark.at})")
    if not number_at(stable, "/status/availableReplicas"):
        raise Refused(f"the stable Deployment of {order.return_to} has no available replica")
    operations = (*unchanged(canary), test("/spec/replicas", replicas), put("/spec/replicas", 0))
    return Change(f"{path}/scale", operations, f"scaled {order.version} from {replicas} to 0")


def put_back(
    path: str, deployment: Json, sets: list[Json], order: Order, mark: VersionMark
) -> Change | Done:
    """The change that writes the template of ``order.return_to``, from a ReplicaSet of it."""
    if mark.shows(deployment, order.model, order.return_to):
        return already(f"the Deployment is of {order.return_to} already")
    _runs(deployment, order, mark)
    if find(deployment, "/spec/paused") is True:
        raise Refused("the Deployment is paused: a template put back would not be rolled out")
    template = template_of(owned_by(sets, deployment), order, mark, HASH_LABEL)
    operations = (
        *unchanged(deployment),
        mark.condition(order.model, order.version),
        put("/spec/template", template),
        *remember(deployment, order.key),
    )
    return Change(path, operations, f"put the template of {order.return_to} back")


def _runs(deployment: Json, order: Order, mark: VersionMark) -> None:
    if not mark.shows(deployment, order.model, order.version):
        raise Refused(f"the Deployment is not of {order.version} (by {mark.at})")


def _selector(deployment: Json) -> str:
    labels = find(deployment, "/spec/selector/matchLabels")
    if not isinstance(labels, dict) or not labels:
        raise Refused(
            f"{text_at(deployment, '/metadata/name')} selects by expressions only; "
            "give its selector a label"
        )
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))

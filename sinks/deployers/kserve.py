"""KServe: pin the last good revision, or put the model's old address back.

``canary_traffic`` (Knative mode): ``spec.predictor.canaryTrafficPercent`` becomes 0, upon which
KServe sends everything to the revision that was last rolled out in full. Which version that one
runs stands in no InferenceService, so it is KServe's word that is taken; what is checked is that
there is such a revision and that it is another one. ``storage_uri`` (raw deployments, which have
no revisions): the address of the version to leave, at ``version.at``, is replaced by that of the
version to return to, which takes as long as loading the model. For raw mode with two
InferenceServices behind a route, use the deployer of the route.

Source: kserve, pkg/controller/v1beta1/inferenceservice (ksvc_reconciler.go), PropagateStatus.
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
from sinks.deployers.json_patch import Json, number_at, put, test, text_at
from sinks.deployers.kubernetes import KubernetesSettings, carry_out
from sinks.deployers.order import Done, Order, Refused, VersionMark, already, object_name

GROUP: Final = "serving.kserve.io/v1beta1"
PERCENT: Final = "/spec/predictor/canaryTrafficPercent"
STATUS: Final = "/status/components/predictor"


class KServeStep(StrEnum):
    """How an InferenceService is rolled back."""

    CANARY_TRAFFIC = "canary_traffic"
    STORAGE_URI = "storage_uri"


@dataclass(frozen=True, slots=True)
class KServeSettings(KubernetesSettings):
    """``object`` is the InferenceService. ``version`` says where its predictor names the version,
    by default at the end of the model's storageUri."""

    by: KServeStep = KServeStep.CANARY_TRAFFIC
    version: VersionMark = field(
        default_factory=lambda: VersionMark(
            "/spec/predictor/model/storageUri", "s3://models/{model}/{version}"
        )
    )


class KServe:
    """Rolls InferenceServices back."""

    def __init__(self, settings: KServeSettings, cluster: Cluster) -> None:
        self._settings = settings
        self._cluster = cluster

    async def roll_back(self, order: Order) -> Done:
        """Carry out ``order``. Raises Retryable or Permanent."""
        settings = self._settings
        name = object_name(settings.object, order.model)
        path = object_path(GROUP, settings.namespace, "inferenceservices", name)
        service = await self._cluster.read(path)
        plan = pin if settings.by is KServeStep.CANARY_TRAFFIC else restore
        planned = plan(path, service, order, settings.version)
        return await carry_out(self._cluster, path, service, planned, dry_run=settings.dry_run)


def pin(path: str, service: Json, order: Order, mark: VersionMark) -> Change | Done:
    """The change that sends all traffic to the revision rolled out last."""
    if carried_out(service, order.key):
        return already("this action was carried out on the InferenceService before")
    if not mark.shows(service, order.model, order.version):
        raise Refused(f"the InferenceService is not of {order.version} (by {mark.at})")
    percent = number_at(service, PERCENT)
    if percent == 0:
        return already(f"{order.version} gets no traffic already")
    rolled_out = text_at(service, f"{STATUS}/latestRolledoutRevision")
    created = text_at(service, f"{STATUS}/latestCreatedRevision")
    if not rolled_out or rolled_out == created:
        raise Refused(
            "KServe knows no other revision that was rolled out in full: nothing to return to"
        )
    held = () if percent is None else (test(PERCENT, percent),)
    operations = (
        *unchanged(service),
        mark.condition(order.model, order.version),
        test(f"{STATUS}/latestRolledoutRevision", rolled_out),
        *held,
        put(PERCENT, 0),
        *remember(service, order.key),
    )
    return Change(path, operations, f"sent all traffic to the revision before {order.version}")


def restore(path: str, service: Json, order: Order, mark: VersionMark) -> Change | Done:
    """The change that loads the version to return to in place."""
    if carried_out(service, order.key):
        return already("this action was carried out on the InferenceService before")
    if mark.shows(service, order.model, order.return_to):
        return already(f"the InferenceService is of {order.return_to} already")
    if not mark.shows(service, order.model, order.version):
        raise Refused(f"the InferenceService is not of {order.version} (by {mark.at})")
    operations = (
        *unchanged(service),
        mark.condition(order.model, order.version),
        put(mark.at, mark.text(order.model, order.return_to)),
        *remember(service, order.key),
    )
    return Change(path, operations, f"put {order.return_to} back at {mark.at}")

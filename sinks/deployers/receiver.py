"""Deployers as receivers of rollbacks, and how all configured ones are made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol

from detectors.action import Action, ActionKind, printable
from sinks.deployers.argo_rollouts import ArgoRollouts, ArgoRolloutsSettings
from sinks.deployers.cluster import Cluster
from sinks.deployers.deployment import Deployments, DeploymentSettings
from sinks.deployers.flagger import Flagger, FlaggerSettings
from sinks.deployers.kserve import KServe, KServeSettings
from sinks.deployers.kubernetes import KubernetesSettings
from sinks.deployers.mlflow import Mlflow, MlflowSettings
from sinks.deployers.order import Done, Effect, Order, order_of
from sinks.deployers.settings import DeployerSettings, DeployersSettings
from sinks.deployers.spinnaker import Spinnaker, SpinnakerSettings
from sinks.deployers.traffic import (
    HttpRouteSettings,
    SeldonSettings,
    Traffic,
    VirtualServiceSettings,
)
from sinks.egress import Egress, EgressSettings, Resolve, resolve_with_system
from sinks.errors import Permanent

MAX_TEXT_CHARS = 200


class Deployer(Protocol):
    """What carries an order out."""

    async def roll_back(self, order: Order) -> Done:
        """Try once. Raises Retryable if a later try may succeed, Permanent if none will."""
        ...


class DeployerReceiver:
    """A deployer that takes the rollbacks of the models it is for."""

    kinds = frozenset({ActionKind.ROLLBACK})

    def __init__(self, settings: DeployerSettings, deployer: Deployer) -> None:
        self.name = settings.name
        self.models = settings.models
        self.dry_run = settings.dry_run
        self._deployer = deployer

    async def deliver(self, action: Action, now_ms: int) -> str:  # noqa: ARG002 nothing is signed
        """Carry the action out once. Returns what was done; raises Retryable or Permanent."""
        return await self.carry_out(order_of(action))

    async def carry_out(self, order: Order) -> str:
        """As `deliver`, for an order."""
        done = await self._deployer.roll_back(order)
        # What was done names versions, which come from producers.
        text = printable(done.text, MAX_TEXT_CHARS)
        if done.effect is Effect.ALREADY:
            return text
        return f"dry run, nothing changed; it would have {text}" if self.dry_run else text


def build_deployers(
    settings: DeployersSettings,
    egress: EgressSettings,
    environ: Mapping[str, str] = os.environ,
    resolve: Resolve = resolve_with_system,
) -> tuple[DeployerReceiver, ...]:
    """Make every configured deployer. Raises Permanent, naming it, for what cannot be used."""
    if not settings.all():
        return ()
    way_out = Egress(egress, resolve)
    clusters: dict[str, Cluster] = {}
    made = []
    for each in settings.all():
        try:
            if isinstance(each, KubernetesSettings) and each.cluster not in clusters:
                given = settings.cluster(each.cluster)
                clusters[each.cluster] = Cluster(given, egress, environ, resolve)
            made.append(DeployerReceiver(each, _deployer(each, clusters, way_out, environ)))
        except Permanent as error:
            raise Permanent(f"deployer {each.name!r}: {error}") from None
    return tuple(made)


def build_argo_rollouts(
    which: ArgoRolloutsSettings,
    settings: DeployersSettings,
    egress: EgressSettings,
    environ: Mapping[str, str] = os.environ,
) -> ArgoRollouts:
    """One deployer of Rollouts, which can promote as well. Raises Permanent."""
    return ArgoRollouts(which, Cluster(settings.cluster(which.cluster), egress, environ))


def _deployer(
    settings: DeployerSettings,
    clusters: Mapping[str, Cluster],
    egress: Egress,
    environ: Mapping[str, str],
) -> Deployer:
    match settings:
        case MlflowSettings():
            return Mlflow(settings, egress, environ)
        case SpinnakerSettings():
            return Spinnaker(settings, egress, environ)
        case ArgoRolloutsSettings():
            return ArgoRollouts(settings, clusters[settings.cluster])
        case FlaggerSettings():
            return Flagger(settings, clusters[settings.cluster])
        case KServeSettings():
            return KServe(settings, clusters[settings.cluster])
        case DeploymentSettings():
            return Deployments(settings, clusters[settings.cluster])
        case HttpRouteSettings() | VirtualServiceSettings() | SeldonSettings():
            return Traffic(settings, clusters[settings.cluster])
        case _:
            raise AssertionError(f"{type(settings).__name__} is not in the table of deployers")

"""All deployers that driftline acts through itself, by kind.

Adding a deployer touches five places: its module, `DeployersSettings` here, the table in
`sinks.deployers.receiver`, a scene in tests/contract/kubernetes_objects.py (or a test of its own),
and a role and a row in deploy/.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar

from sinks.deployers.argo_rollouts import ArgoRolloutsSettings
from sinks.deployers.cluster import ClusterSettings
from sinks.deployers.deployment import DeploymentSettings
from sinks.deployers.flagger import FlaggerSettings
from sinks.deployers.kserve import KServeSettings
from sinks.deployers.kubernetes import KubernetesSettings
from sinks.deployers.mlflow import MlflowSettings
from sinks.deployers.spinnaker import SpinnakerSettings
from sinks.deployers.traffic import HttpRouteSettings, SeldonSettings, VirtualServiceSettings

DeployerSettings = KubernetesSettings | MlflowSettings | SpinnakerSettings


@dataclass(frozen=True, slots=True)
class DeployersSettings:
    """Each entry says for which ``models`` it acts. The cluster ``here``, the one that driftline
    runs in, need not be listed."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    clusters: tuple[ClusterSettings, ...] = ()
    argo_rollouts: tuple[ArgoRolloutsSettings, ...] = ()
    flagger: tuple[FlaggerSettings, ...] = ()
    kserve: tuple[KServeSettings, ...] = ()
    deployments: tuple[DeploymentSettings, ...] = ()
    http_routes: tuple[HttpRouteSettings, ...] = ()
    virtual_services: tuple[VirtualServiceSettings, ...] = ()
    seldon: tuple[SeldonSettings, ...] = ()
    mlflow: tuple[MlflowSettings, ...] = ()
    spinnaker: tuple[SpinnakerSettings, ...] = ()

    def __post_init__(self) -> None:
        for kind, names in (
            ("clusters", [cluster.name for cluster in self.clusters]),
            ("deployers", [deployer.name for deployer in self.all()]),
        ):
            if "" in names:
                raise ValueError(f"{kind}: one has no name; give each a name of its own")
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{kind}: {', '.join(twice)} named twice; give each its own name")
        known = {"here", *(cluster.name for cluster in self.clusters)}
        for deployer in self.in_clusters():
            if deployer.cluster not in known:
                raise ValueError(
                    f"{deployer.name}: cluster {deployer.cluster!r} is not listed in clusters"
                )

    def in_clusters(self) -> tuple[KubernetesSettings, ...]:
        """Those that change Kubernetes objects."""
        return (
            *self.argo_rollouts,
            *self.flagger,
            *self.kserve,
            *self.deployments,
            *self.http_routes,
            *self.virtual_services,
            *self.seldon,
        )

    def cluster(self, name: str) -> ClusterSettings:
        """The cluster of that name; the one that driftline runs in for ``here``."""
        return next((each for each in self.clusters if each.name == name), ClusterSettings())

    def for_dry_run(self) -> DeployersSettings:
        """The same deployers, none of which changes anything."""
        dry = {
            part.name: tuple(replace(each, dry_run=True) for each in getattr(self, part.name))
            for part in fields(self)
            if part.name != "clusters"
        }
        return replace(self, **dry)

    def all(self) -> tuple[DeployerSettings, ...]:
        """Every deployer."""
        return (*self.in_clusters(), *self.mlflow, *self.spinnaker)

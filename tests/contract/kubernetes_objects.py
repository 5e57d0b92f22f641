"""Objects that deployers act on, one set per kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sinks.deployers.argo_rollouts import ArgoRollouts, ArgoRolloutsSettings, RolloutStep
from sinks.deployers.cluster import Cluster
from sinks.deployers.deployment import Deployments, DeploymentSettings, DeploymentStep
from sinks.deployers.flagger import Flagger, FlaggerSettings
from sinks.deployers.json_patch import find
from sinks.deployers.kserve import KServe, KServeSettings, KServeStep
from sinks.deployers.kubernetes import KubernetesSettings
from sinks.deployers.receiver import Deployer
from sinks.deployers.traffic import (
    HttpRouteSettings,
    SeldonSettings,
    Traffic,
    VirtualServiceSettings,
)
from tests.contract.kubernetes_schemas import Object

BAD, GOOD = "0613", "0314"
NAME = "fraud"


@dataclass(frozen=True)
class Scene:
    """A deployer and the objects around it, the one that it changes first.

    ``rolled_back`` looks at that one. ``remembers``: whether the deployer writes the action's key
    on it. ``redeploy`` is what somebody does who gives the bad version traffic again.
    """

    name: str
    folder: str
    settings: KubernetesSettings
    make: Callable[[Any, Cluster], Deployer]
    objects: tuple[tuple[str, str, Object], ...]
    rolled_back: Callable[[Object], bool]
    remembers: bool
    redeploy: Callable[[Object], None]

    def deployer(self, cluster: Cluster, namespace: str, *, dry_run: bool = False) -> Deployer:
        settings = replace(
            self.settings, namespace=namespace, dry_run=dry_run, object=NAME, name=self.name
        )
        return self.make(settings, cluster)


def template(version: str, **labels: str) -> Object:
    """A pod template that a real server takes."""
    return {
        "metadata": {"labels": {"app": NAME, "version": version, **labels}},
        "spec": {"containers": [{"name": "model", "image": f"registry.example/fraud:{version}"}]},
    }


def workload(kind: str, name: str, version: str, replicas: int = 2, **metadata: Any) -> Object:
    """A Deployment or a ReplicaSet (whose pods carry the hash in its name, as their label)."""
    labels = {}
    if kind == "ReplicaSet":
        labels = {"rollouts-pod-template-hash": name.rsplit("-", 1)[1]}
        if "deployment.kubernetes.io/revision" in metadata.get("annotations", {}):
            labels = {"pod-template-hash": name.rsplit("-", 1)[1]}
        metadata = {"labels": {"app": NAME, **labels}, **metadata}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": NAME, **labels}},
            "template": template(version, **labels),
        },
        "status": {"replicas": replicas, "availableReplicas": replicas, "readyReplicas": replicas},
    }


def owned(kind: str, group: str) -> Object:
    """Metadata of what the first object of a scene controls; the uid is filled in when made."""
    return {
        "ownerReferences": [
            {"apiVersion": group, "kind": kind, "name": NAME, "uid": "OWNER", "controller": True}
        ]
    }


def rollout() -> Object:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": NAME},
        "spec": {"replicas": 2, "template": template(BAD)},
        "status": {"stableRS": "aaa", "currentPodHash": "bbb", "phase": "Progressing"},
    }


def history(kind: str, group: str, annotation: str) -> tuple[tuple[str, str, Object], ...]:
    """ReplicaSets: two of the good version, one of the bad, and one of somebody else."""
    made = []
    for number, (pod_hash, version) in enumerate(
        (("old", GOOD), ("aaa", GOOD), ("bbb", BAD)), start=1
    ):
        metadata = {**owned(kind, group), "annotations": {annotation: str(number)}}
        made.append(workload("ReplicaSet", f"{NAME}-{pod_hash}", version, **metadata))
    made[0]["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/older"
    stranger = workload("ReplicaSet", "other-zzz", GOOD, annotations={annotation: "99"})
    stranger["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/stranger"
    return tuple(("apps/v1", "replicasets", each) for each in (*made, stranger))


def _good_template(thing: Object) -> bool:
    """A real server fills in defaults, so not the whole template is compared."""
    labels = find(thing, "/spec/template/metadata/labels")
    image = find(thing, "/spec/template/spec/containers/0/image")
    wanted = (f"registry.example/fraud:{GOOD}", {"app": NAME, "version": GOOD})
    return (image, labels) == wanted


def _put_template(thing: Object) -> None:
    thing["spec"]["template"] = template(BAD)


def _weighted(thing: Object, at: str) -> list[int]:
    return [find(entry, "/weight") for entry in find(thing, at)]


def _reroute(at: str, weights: list[int]) -> Callable[[Object], None]:
    def give(thing: Object) -> None:
        for entry, weight in zip(find(thing, at), weights, strict=True):
            entry["weight"] = weight

    return give


def _set(at: str, key: str, value: Any) -> Callable[[Object], None]:
    def give(thing: Object) -> None:
        (find(thing, at) if at else thing)[key] = value

    return give


def scenes() -> tuple[Scene, ...]:
    """Every deployer of Kubernetes objects, in each of its ways."""
    argo = ("argoproj.io/v1alpha1", "rollouts", rollout())
    deployment = workload("Deployment", NAME, BAD)
    inference = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": NAME, "annotations": {"owner": "risk"}},
        "spec": {
            "predictor": {
                "canaryTrafficPercent": 10,
                "model": {
                    "modelFormat": {"name": "sklearn"},
                    "storageUri": f"s3://models/{NAME}/{BAD}",
                },
            }
        },
        "status": {
            "components": {
                "predictor": {
                    "latestRolledoutRevision": "fraud-predictor-00001",
                    "latestCreatedRevision": "fraud-predictor-00002",
                }
            }
        },
    }
    canary = {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": NAME},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
            "service": {"port": 80},
            "analysis": {"interval": "1m", "threshold": 5, "maxWeight": 50, "stepWeight": 5},
        },
        "status": {"phase": "Progressing", "failedChecks": 1, "canaryWeight": 10},
    }
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": NAME},
        "spec": {
            "rules": [
                {"backendRefs": [{"name": "docs", "port": 80}]},
                {
                    "backendRefs": [
                        {"name": f"{NAME}-{GOOD}", "port": 80, "weight": 90},
                        {"name": f"{NAME}-{BAD}", "port": 80, "weight": 10},
                    ]
                },
            ]
        },
    }
    virtual = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": NAME},
        "spec": {
            "hosts": [NAME],
            "http": [
                {
                    "route": [
                        {"destination": {"host": NAME, "subset": f"v{BAD}"}, "weight": 25},
                        {"destination": {"host": NAME, "subset": f"v{GOOD}"}, "weight": 75},
                    ]
                }
            ],
        },
    }
    experiment = {
        "apiVersion": "mlops.seldon.io/v1alpha1",
        "kind": "Experiment",
        "metadata": {"name": NAME},
        "spec": {
            "default": f"{NAME}-{GOOD}",
            "resourceType": "model",
            "candidates": [
                {"name": f"{NAME}-{GOOD}", "weight": 50},
                {"name": f"{NAME}-{BAD}", "weight": 50},
            ],
        },
    }
    kserve = ("serving.kserve.io/v1beta1", "inferenceservices", inference)
    return (
        Scene(
            "argo_abort",
            "argo-rollouts",
            ArgoRolloutsSettings(),
            ArgoRollouts,
            (argo, ("apps/v1", "replicasets", workload("ReplicaSet", f"{NAME}-aaa", GOOD))),
            lambda thing: find(thing, "/status/abort") is True,
            remembers=False,
            redeploy=_set("/status", "abort", value=False),
        ),
        Scene(
            "argo_undo",
            "argo-rollouts",
            ArgoRolloutsSettings(by=RolloutStep.UNDO),
            ArgoRollouts,
            (argo, *history("Rollout", "argoproj.io/v1alpha1", "rollout.argoproj.io/revision")),
            _good_template,
            remembers=True,
            redeploy=_put_template,
        ),
        Scene(
            "deployment_scale",
            "kubernetes",
            DeploymentSettings(),
            Deployments,
            (
                ("apps/v1", "deployments", deployment),
                ("apps/v1", "deployments", workload("Deployment", f"{NAME}-stable", GOOD, 4)),
            ),
            lambda thing: find(thing, "/spec/replicas") == 0,
            remembers=False,
            redeploy=_set("/spec", "replicas", 2),
        ),
        Scene(
            "deployment_template",
            "kubernetes",
            DeploymentSettings(by=DeploymentStep.TEMPLATE),
            Deployments,
            (
                ("apps/v1", "deployments", deployment),
                *history("Deployment", "apps/v1", "deployment.kubernetes.io/revision"),
            ),
            _good_template,
            remembers=True,
            redeploy=_put_template,
        ),
        Scene(
            "flagger",
            "flagger",
            FlaggerSettings(),
            Flagger,
            (
                ("flagger.app/v1beta1", "canaries", canary),
                ("apps/v1", "deployments", deployment),
                ("apps/v1", "deployments", workload("Deployment", f"{NAME}-primary", GOOD)),
            ),
            lambda thing: find(thing, "/status/failedChecks") == 5,
            remembers=False,
            redeploy=_set("/status", "failedChecks", 0),
        ),
        Scene(
            "kserve_pin",
            "kserve",
            KServeSettings(),
            KServe,
            (kserve,),
            lambda thing: find(thing, "/spec/predictor/canaryTrafficPercent") == 0,
            remembers=True,
            redeploy=_set("/spec/predictor", "canaryTrafficPercent", 10),
        ),
        Scene(
            "kserve_restore",
            "kserve",
            KServeSettings(by=KServeStep.STORAGE_URI),
            KServe,
            (kserve,),
            lambda thing: (
                find(thing, "/spec/predictor/model/storageUri") == f"s3://models/{NAME}/{GOOD}"
            ),
            remembers=True,
            redeploy=_set("/spec/predictor/model", "storageUri", f"s3://models/{NAME}/{BAD}"),
        ),
        Scene(
            "http_route",
            "gateway-api",
            HttpRouteSettings(),
            Traffic,
            (("gateway.networking.k8s.io/v1", "httproutes", route),),
            lambda thing: _weighted(thing, "/spec/rules/1/backendRefs") == [100, 0],
            remembers=True,
            redeploy=_reroute("/spec/rules/1/backendRefs", [50, 50]),
        ),
        Scene(
            "virtual_service",
            "istio",
            VirtualServiceSettings(),
            Traffic,
            (("networking.istio.io/v1", "virtualservices", virtual),),
            lambda thing: _weighted(thing, "/spec/http/0/route") == [0, 100],
            remembers=True,
            redeploy=_reroute("/spec/http/0/route", [50, 50]),
        ),
        Scene(
            "seldon",
            "seldon",
            SeldonSettings(),
            Traffic,
            (("mlops.seldon.io/v1alpha1", "experiments", experiment),),
            lambda thing: _weighted(thing, "/spec/candidates") == [100, 0],
            remembers=True,
            redeploy=_reroute("/spec/candidates", [60, 40]),
        ),
    )

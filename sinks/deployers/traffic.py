"""Deployers that shift weights: Gateway API HTTPRoutes, Istio VirtualServices, Seldon experiments.

Each names its object, the lists of destinations in it, and how a destination is called by the
version it runs. The action's key is written on the object in the same patch, so a repeat changes
nothing even if somebody has given the version traffic again since. A GitOps controller that owns
the weights writes them back: let it ignore them, or let it ask for the verdict instead.

Sources: Gateway API v1 HTTPRoute (a backendRef without weight has 1), Istio networking v1
VirtualService (a lone destination has 100; several must say), Seldon Core 2 operator
experiment_types.go (`candidates[].name|weight`, weights need not add up to 100).
"""

from __future__ import annotations

from dataclasses import dataclass
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
from sinks.deployers.json_patch import Json, items_at, pointer
from sinks.deployers.kubernetes import KubernetesSettings, carry_out
from sinks.deployers.order import Done, Order, Refused, already, filled, object_name
from sinks.deployers.weights import Shape, shift


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object with weights."""

    group: str
    plural: str
    lists: tuple[str, ...]
    """Pointers to the lists; ``*`` stands for each entry of the list before it."""


class TrafficApi(StrEnum):
    """The API of an object with weights."""

    GATEWAY = "gateway"
    ISTIO = "istio"
    SELDON = "seldon"


class IstioName(StrEnum):
    """What tells an Istio destination's version."""

    SUBSET = "subset"
    HOST = "host"


KINDS: Final = {
    TrafficApi.GATEWAY: Kind(
        "gateway.networking.k8s.io/v1", "httproutes", ("/spec/rules/*/backendRefs",)
    ),
    TrafficApi.ISTIO: Kind(
        "networking.istio.io/v1",
        "virtualservices",
        ("/spec/http/*/route", "/spec/tcp/*/route", "/spec/tls/*/route"),
    ),
    TrafficApi.SELDON: Kind("mlops.seldon.io/v1alpha1", "experiments", ("/spec/candidates",)),
}


@dataclass(frozen=True, slots=True)
class HttpRouteSettings(KubernetesSettings):
    """``object`` is the HTTPRoute; ``backend`` the name of the Service of a version in it."""

    backend: str = "{model}-{version}"

    def __post_init__(self) -> None:
        _holds_version(self.backend, "backend")


@dataclass(frozen=True, slots=True)
class VirtualServiceSettings(KubernetesSettings):
    """``object`` is the VirtualService; ``destination`` the subset (or, with ``by: host``, the
    host) of a version in it."""

    by: IstioName = IstioName.SUBSET
    destination: str = "v{version}"

    def __post_init__(self) -> None:
        _holds_version(self.destination, "destination")


@dataclass(frozen=True, slots=True)
class SeldonSettings(KubernetesSettings):
    """``object`` is the Experiment; ``candidate`` the Model (or Pipeline) of a version in it."""

    candidate: str = "{model}-{version}"

    def __post_init__(self) -> None:
        _holds_version(self.candidate, "candidate")


TrafficSettings = HttpRouteSettings | VirtualServiceSettings | SeldonSettings


class Traffic:
    """Shifts the weights of one kind of object."""

    def __init__(self, settings: TrafficSettings, cluster: Cluster) -> None:
        self._settings = settings
        self._cluster = cluster
        self._api, self._form, self._shape = _reading(settings)

    async def roll_back(self, order: Order) -> Done:
        """Carry out ``order``. Raises Retryable or Permanent."""
        settings, kind = self._settings, KINDS[self._api]
        name = object_name(settings.object, order.model)
        path = object_path(kind.group, settings.namespace, kind.plural, name)
        thing = await self._cluster.read(path)
        planned = shifted(path, thing, kind, self._shape, self._form, order)
        return await carry_out(self._cluster, path, thing, planned, dry_run=settings.dry_run)


def shifted(
    path: str, thing: Json, kind: Kind, shape: Shape, form: str, order: Order
) -> Change | Done:
    """The change that takes all traffic from ``order.version``."""
    if carried_out(thing, order.key):
        return already("this action was carried out on the object before")
    bad = filled(form, order.model, order.version)
    good = filled(form, order.model, order.return_to)
    if bad == good:
        raise Refused("both versions have one name here; check the form of their names")
    lists = [found for at in kind.lists for found in _each(thing, at)]
    operations = shift(thing, lists, shape, bad, good)
    if not operations:
        return already(f"{bad} gets no traffic already")
    operations = [*unchanged(thing), *operations, *remember(thing, order.key)]
    return Change(path, tuple(operations), f"shifted all traffic from {bad} to {good}")


def _reading(settings: TrafficSettings) -> tuple[TrafficApi, str, Shape]:
    """The API, the form of a destination's name, and where names and weights stand."""
    match settings:
        case HttpRouteSettings():
            return TrafficApi.GATEWAY, settings.backend, Shape("/name", "/weight", 1, 1)
        case VirtualServiceSettings():
            at = f"/destination/{settings.by.value}"
            return TrafficApi.ISTIO, settings.destination, Shape(at, "/weight", 100, 0)
        case SeldonSettings():
            return TrafficApi.SELDON, settings.candidate, Shape("/name", "/weight", 0, 0)


def _each(thing: Json, at: str) -> list[str]:
    """The pointers that ``at`` stands for."""
    before, star, after = at.partition("/*")
    if not star:
        return [at]
    return [f"{before}{pointer(i)}{after}" for i in range(len(items_at(thing, before)))]


def _holds_version(form: str, name: str) -> None:
    if "{version}" not in form:
        raise ValueError(f"{name} must hold {{version}}")

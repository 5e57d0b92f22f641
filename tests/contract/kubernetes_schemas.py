"""The schemas that an API server of the tests holds objects to: of the published ones the parts
that a patch of ours can touch."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

_WEIGHT = {"type": "integer", "minimum": 0, "maximum": 1_000_000}


def _schema(spec: Object, status: Object | None = None) -> Object:
    loose = {"x-kubernetes-preserve-unknown-fields": True}
    return {
        "type": "object",
        "properties": {
            "spec": {"type": "object", **loose, "properties": spec},
            "status": {"type": "object", **loose, "properties": status or {}},
        },
    }


def _entries(properties: Object, required: list[str]) -> Object:
    return {
        "type": "array",
        "items": {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": properties,
            "required": required,
        },
    }


_BACKENDS = _entries({"name": {"type": "string"}, "weight": _WEIGHT}, ["name"])
_ROUTES = _entries(
    {
        "destination": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "weight": _WEIGHT,
    },
    ["destination"],
)
SCHEMAS: dict[tuple[str, str, str], Object] = {
    ("argoproj.io/v1alpha1", "rollouts", "Rollout"): _schema(
        {"template": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        {"abort": {"type": "boolean"}, "promoteFull": {"type": "boolean"}},
    ),
    ("flagger.app/v1beta1", "canaries", "Canary"): _schema(
        {}, {"failedChecks": {"type": "number"}, "phase": {"type": "string"}}
    ),
    ("serving.kserve.io/v1beta1", "inferenceservices", "InferenceService"): _schema(
        {
            "predictor": {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": True,
                "properties": {"canaryTrafficPercent": {"type": "integer", "format": "int64"}},
            }
        }
    ),
    ("mlops.seldon.io/v1alpha1", "experiments", "Experiment"): _schema(
        {
            "candidates": _entries(
                {"name": {"type": "string"}, "weight": {"type": "integer", "format": "int32"}},
                ["name", "weight"],
            )
        }
    ),
    ("gateway.networking.k8s.io/v1", "httproutes", "HTTPRoute"): _schema(
        {"rules": _entries({"backendRefs": _BACKENDS}, [])}
    ),
    ("networking.istio.io/v1", "virtualservices", "VirtualService"): _schema(
        {"http": _entries({"route": _ROUTES}, [])}
    ),
}

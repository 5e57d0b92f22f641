"""What all deployers that change Kubernetes objects share: whom they act on, and how a planned
change is carried out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sinks.deployers.cluster import Change, Cluster, Unprocessable
from sinks.deployers.json_patch import Json, find
from sinks.deployers.order import Done, Effect
from sinks.egress import RetryLater


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """Which models, and which object of which cluster stands for each.

    ``models`` are patterns with ``*`` and ``?``. ``object`` is the object's name, in which
    ``{model}`` stands for the model's. With ``dry_run`` the server checks the change and does
    not store it.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str = ""
    models: tuple[str, ...] = ("*",)
    cluster: str = "here"
    namespace: str = "default"
    object: str = "{model}"
    dry_run: bool = True


async def carry_out(
    cluster: Cluster, path: str, seen: Json, planned: Change | Done, *, dry_run: bool
) -> Done:
    """Apply a planned change to the object at ``path``, read as ``seen``.

    Raises RetryLater if it changed meanwhile (the next try plans anew), Refused if the server does
    not take the change.
    """
    if isinstance(planned, Done):
        return planned
    try:
        await cluster.apply(planned, dry_run=dry_run)
    except Unprocessable:
        now = await cluster.read(path)
        if find(now, "/metadata/resourceVersion") != find(seen, "/metadata/resourceVersion"):
            raise RetryLater(
                f"cluster {cluster.name!r}: the object changed between reading and patching"
            ) from None
        raise
    return Done(Effect.DONE, planned.text)

"""The history of a workload: its ReplicaSets, which keep the templates it ran before."""

from __future__ import annotations

import copy
from typing import Final

from sinks.deployers.json_patch import Json, find, items_at, text_at
from sinks.deployers.order import Order, Refused, VersionMark

REVISIONS: Final = (
    "/metadata/annotations/deployment.kubernetes.io~1revision",
    "/metadata/annotations/rollout.argoproj.io~1revision",
)


def owned_by(sets: list[Json], owner: Json) -> list[Json]:
    """Those of ``sets`` that the object ``owner`` controls."""
    uid = find(owner, "/metadata/uid")
    return [
        each
        for each in sets
        if any(
            find(reference, "/uid") == uid and find(reference, "/controller") is True
            for reference in items_at(each, "/metadata/ownerReferences")
        )
    ]


def template_of(sets: list[Json], order: Order, mark: VersionMark, hash_label: str) -> Json:
    """The pod template of the newest ReplicaSet that runs ``order.return_to``, without the label
    that its controller adds. Raises Refused if there is none."""
    runs = [each for each in sets if mark.shows(each, order.model, order.return_to)]
    if not runs:
        raise Refused(
            f"no ReplicaSet in the history runs {order.return_to}: nothing to return to; "
            "see revisionHistoryLimit"
        )
    template = copy.deepcopy(find(max(runs, key=_revision), "/spec/template"))
    labels = find(template, "/metadata/labels")
    if isinstance(labels, dict):
        labels.pop(hash_label, None)
    return template


def _revision(replica_set: Json) -> int:
    for at in REVISIONS:
        text = text_at(replica_set, at)
        if text.isascii() and text.isdigit() and len(text) < 16:
            return int(text)
    return 0

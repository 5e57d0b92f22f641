"""Boards and rules into a running Grafana, by its HTTP API.

First everything is asked, then compared, and only what differs is written; so a second push writes
nothing, and a dry run shows exactly what a push would do. What Grafana adds of its own (ids,
versions, defaults) is no difference: ours must be contained in what is there.

Only objects of our own names are touched: the folder and what is in our rule group, our contact
points, our data source. Rules that are no longer ours disappear with the group's update. The policy
tree, other folders and other contact points are never written.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final, Protocol
from urllib.parse import quote

from dashboards.boards import BOARDS, board_json
from dashboards.contact_points import contact_points
from dashboards.provisioning import source
from dashboards.rules import GROUP, api_group, rule_group
from dashboards.settings import READER_PASSWORD, GrafanaSettings

MESSAGE: Final = "driftline grafana push"
SECRET: Final = "(secret)"
_SECRET_KEYS: Final = frozenset({"secret", "integrationKey", "password", "token"})


class Method(StrEnum):
    POST = "POST"
    PUT = "PUT"


class Verb(StrEnum):
    """What a push does to an object."""

    CREATE = "create"
    UPDATE = "update"
    KEEP = "keep"


class Api(Protocol):
    """Grafana, below ``/api``. ``get`` gives None where nothing is. Both raise Retryable or
    Permanent (sinks/errors.py)."""

    def get(self, path: str) -> Any: ...
    def send(self, method: Method, path: str, body: Mapping[str, Any]) -> Any: ...


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done about one object, and how. ``diff``: lines of a unified diff, without
    secrets; empty where nothing changes."""

    verb: Verb
    kind: str
    name: str
    diff: tuple[str, ...]
    method: Method
    path: str
    body: Mapping[str, Any]


def changes(
    api: Api, settings: GrafanaSettings, database: str, secret: Callable[[str], str]
) -> Iterator[Change]:
    """Everything a push has to look at, in the order in which it must be written.

    ``secret`` gives the value of a variable of the environment and raises where it is not set. It
    is asked only for what is to be written.
    """
    if settings.manage_source:
        yield _source(api, settings, database, secret)
    yield _folder(api, settings)
    for name in BOARDS:
        yield _board(api, settings, board_json(name, database))
    yield from _contact_points(api, settings, secret)
    yield _rules(api, settings, database)


def push(api: Api, found: Change) -> None:
    """Carry one change out; nothing where there is none."""
    if found.verb is not Verb.KEEP:
        api.send(found.method, found.path, found.body)


def contained(ours: Any, theirs: Any) -> bool:
    """Whether everything in ``ours`` is in ``theirs``: keys that are only there do not count, lists
    must agree item by item.

    >>> contained({"a": [1]}, {"a": [1], "id": 7}), contained({"a": [1]}, {"a": [1, 2]})
    (True, False)
    """
    if isinstance(ours, Mapping):
        return isinstance(theirs, Mapping) and all(
            # Grafana leaves out what is empty.
            contained(value, theirs[key]) if key in theirs else value in ({}, [], "", None, False)
            for key, value in ours.items()
        )
    if isinstance(ours, list):
        return (
            isinstance(theirs, list)
            and len(ours) == len(theirs)
            and all(contained(a, b) for a, b in zip(ours, theirs, strict=True))
        )
    return bool(ours == theirs)


def _change(
    kind: str,
    name: str,
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any] | None,
    create: tuple[Method, str],
    update: tuple[Method, str],
    body: Callable[[], Mapping[str, Any]],
) -> Change:
    """``ours`` is compared, ``body`` is sent: it may hold more, secrets for one."""
    if theirs is None:
        verb, (method, path) = Verb.CREATE, create
    elif contained(ours, theirs):
        return Change(Verb.KEEP, kind, name, (), *update, {})
    else:
        verb, (method, path) = Verb.UPDATE, update
    before = _shared(theirs, ours) if theirs is not None else None
    return Change(verb, kind, name, _diff(before, ours, name), method, path, body())


def _source(
    api: Api, settings: GrafanaSettings, database: str, secret: Callable[[str], str]
) -> Change:
    uid = quote(settings.source.uid, safe="")
    ours = source(settings, database, SECRET)
    del ours["secureJsonData"]  # Grafana never shows it
    path = f"/datasources/uid/{uid}"
    return _change(
        "data source",
        settings.source.name,
        ours,
        api.get(path),
        (Method.POST, "/datasources"),
        (Method.PUT, path),
        lambda: source(settings, database, secret(READER_PASSWORD)),
    )


def _folder(api: Api, settings: GrafanaSettings) -> Change:
    ours = {"uid": settings.folder_uid, "title": settings.folder}
    path = f"/folders/{quote(settings.folder_uid, safe='')}"
    return _change(
        "folder",
        settings.folder,
        ours,
        api.get(path),
        (Method.POST, "/folders"),
        (Method.PUT, path),
        lambda: {**ours, "overwrite": True},
    )


def _board(api: Api, settings: GrafanaSettings, board: Mapping[str, Any]) -> Change:
    found = api.get(f"/dashboards/uid/{quote(board['uid'], safe='')}")
    place = (Method.POST, "/dashboards/db")
    theirs = None
    if found is not None:
        theirs = {**found["dashboard"], "folderUid": found["meta"].get("folderUid", "")}
    return _change(
        "board",
        board["title"],
        {**board, "folderUid": settings.folder_uid},
        theirs,
        place,
        place,
        lambda: {
            "dashboard": {**board, "id": None},
            "folderUid": settings.folder_uid,
            "message": MESSAGE,
            "overwrite": True,
        },
    )


def _contact_points(
    api: Api, settings: GrafanaSettings, secret: Callable[[str], str]
) -> Iterator[Change]:
    path = "/v1/provisioning/contact-points"
    there = {each.get("uid"): each for each in api.get(path) or ()}
    for name, receivers in contact_points(settings, lambda _: SECRET):
        for ours in receivers:
            uid = ours["uid"]
            body = {"name": name, **ours}
            yield _change(
                "contact point",
                f"{name}: {ours['type']}",
                _without_secrets(body),
                there.get(uid),
                (Method.POST, path),
                (Method.PUT, f"{path}/{uid}"),
                partial(_contact_with_secrets, uid, settings, secret),
            )


def _contact_with_secrets(
    uid: str, settings: GrafanaSettings, secret: Callable[[str], str]
) -> Mapping[str, Any]:
    for name, receivers in contact_points(settings, lambda variable: f"${variable}"):
        for receiver in receivers:
            if receiver["uid"] == uid:
                return {"name": name, **_resolved(receiver, secret)}
    raise KeyError(uid)


def _resolved(value: Any, secret: Callable[[str], str]) -> Any:
    """With the values of variables in the place of their names."""
    if isinstance(value, Mapping):
        return {key: _resolved(each, secret) for key, each in value.items()}
    if isinstance(value, str) and value.startswith("$DRIFTLINE_"):
        return secret(value[1:])
    return value


def _rules(api: Api, settings: GrafanaSettings, database: str) -> Change:
    ours = api_group(rule_group(settings, database), settings)
    path = f"/v1/provisioning/folder/{quote(settings.folder_uid, safe='')}/rule-groups/{GROUP}"
    theirs = api.get(path)
    # A group that does not exist yet is made by the same request.
    place = (Method.PUT, path)
    return _change("alert rules", GROUP, ours, theirs, place, place, lambda: ours)


def _without_secrets(value: Any) -> Any:
    """Without what Grafana redacts when it is asked: it cannot be compared."""
    if isinstance(value, Mapping):
        return {
            key: _without_secrets(each)
            for key, each in value.items()
            if key not in _SECRET_KEYS and each != SECRET
        }
    return value


def _shared(theirs: Any, ours: Any) -> Any:
    """``theirs`` with the keys of ``ours`` only, so that a diff shows no noise."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return {key: _shared(theirs[key], ours[key]) for key in ours if key in theirs}
    if isinstance(ours, list) and isinstance(theirs, list):
        paired = [_shared(a, b) for a, b in zip(theirs, ours, strict=False)]
        return paired + theirs[len(ours) :]
    return theirs


def _diff(before: Any, after: Any, name: str) -> tuple[str, ...]:
    old, new = ([] if each is None else _lines(each) for each in (before, after))
    there, here = f"Grafana: {name}", f"driftline: {name}"
    return tuple(difflib.unified_diff(old, new, there, here, n=1, lineterm=""))


def _lines(value: Any) -> list[str]:
    return json.dumps(value, indent=1, ensure_ascii=True, sort_keys=True).splitlines()

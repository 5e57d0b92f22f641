"""What a deployer is asked to do, how it recognises a version, and why it may refuse."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from detectors.action import Action
from detectors.release import OTHER
from sinks.deployers.json_patch import Json, Operation, find, test
from sinks.errors import Permanent

MAX_NAME_CHARS = 253
_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


class Refused(Permanent):
    """The far side is not in the state that the order is about, so nothing is changed."""


class Effect(StrEnum):
    """What came of an order."""

    DONE = "done"
    """The change was accepted."""
    ALREADY = "already"
    """Nothing was left to change: an earlier try, or somebody else, did it."""


@dataclass(frozen=True, slots=True)
class Order:
    """Leave ``version`` of ``model`` and run ``return_to``. ``key`` is the same on every try."""

    key: str
    model: str
    version: str
    return_to: str


@dataclass(frozen=True, slots=True)
class Done:
    """How an order was carried out. ``text`` says it in a few words, for the record."""

    effect: Effect
    text: str


def already(text: str) -> Done:
    """The outcome of an order that leaves nothing to do."""
    return Done(Effect.ALREADY, text)


def order_of(action: Action) -> Order:
    """The order in an action. Raises Refused if there is nothing to return to.

    The policy does not ask for such a rollback; that it did is no reason to carry it out.
    """
    release = action.release
    if not action.return_to:
        raise Refused("no version to return to is named: roll back by hand")
    if action.return_to == release.version:
        raise Refused("the version to return to is the one to leave")
    if OTHER in (release.model, release.version, action.return_to):
        raise Refused("the release is one of many folded together")
    return Order(action.key, release.model, release.version, action.return_to)


@dataclass(frozen=True, slots=True)
class VersionMark:
    """Where an object says which version of the model it runs.

    ``at`` is a JSON pointer (RFC 6901) into the object, ``form`` the text that stands there, with
    ``{version}`` (and, if need be, ``{model}``) in it: ``s3://models/{model}/{version}``.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    at: str = "/spec/template/metadata/labels/version"
    form: str = "{version}"

    def __post_init__(self) -> None:
        if not self.at.startswith("/"):
            raise ValueError("at must be a JSON pointer, such as /metadata/labels/version")
        if "{version}" not in self.form:
            raise ValueError("form must hold {version}")

    def text(self, model: str, version: str) -> str:
        """What stands at the mark while ``version`` runs."""
        return filled(self.form, model, version)

    def shows(self, thing: Json, model: str, version: str) -> bool:
        """True if the object runs ``version``."""
        return bool(find(thing, self.at) == self.text(model, version))

    def condition(self, model: str, version: str) -> Operation:
        """The condition of a patch that the object still runs ``version``."""
        return test(self.at, self.text(model, version))


def filled(form: str, model: str, version: str) -> str:
    """``form`` with ``{model}`` and ``{version}`` put in; what these hold is not read again."""
    parts = re.split(r"(\{model\}|\{version\})", form)
    values = {"{model}": model, "{version}": version}
    return "".join(values.get(part, part) for part in parts)


def object_name(form: str, model: str) -> str:
    """The name of a Kubernetes object. Raises Refused if the model's name makes none.

    Names of models come from producers: nothing but a DNS name may get into a path.
    """
    name = filled(form, model, "")
    if len(name) > MAX_NAME_CHARS or not _DNS_NAME.fullmatch(name):
        raise Refused(
            f"the object's name, made of {form!r}, is no Kubernetes name for this model; "
            "write the name itself as `object`"
        )
    return name

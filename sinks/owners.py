"""Who owns which models, and which receivers each of its people hears through."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar, assert_never

from detectors.action import Audience


@dataclass(frozen=True, slots=True)
class OwnerSettings:
    """A team and the ``models`` it owns (patterns; the first owner that matches counts).

    ``receivers`` hear what concerns the release, ``data_receivers`` what comes from the data that
    it is given, ``escalation`` what the owner has left alone, beside the owner. A list that is
    empty leaves it to every receiver that takes the model.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    team: str = ""
    models: tuple[str, ...] = ("*",)
    receivers: tuple[str, ...] = ()
    data_receivers: tuple[str, ...] = ()
    escalation: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.team:
            raise ValueError("team is empty; name who owns the models")
        if not self.models:
            raise ValueError("models is empty; name what the team owns")

    def named(self) -> frozenset[str]:
        """Every receiver it names."""
        return frozenset((*self.receivers, *self.data_receivers, *self.escalation))

    def hears(self, audience: Audience, takers: tuple[str, ...]) -> tuple[str, ...]:
        """Those of ``takers`` that ``audience`` hears through, in their order. If that would be
        nobody, all of them: a page that reaches no one is worse than one that reaches too many."""
        others = frozenset((*self.data_receivers, *self.escalation)) - frozenset(self.receivers)
        usual = self.receivers or tuple(name for name in takers if name not in others)
        match audience:
            case Audience.OWNER:
                wanted = usual
            case Audience.DATA_OWNER:
                wanted = self.data_receivers or usual
            case Audience.ESCALATION:
                wanted = (*usual, *self.escalation)
            case _:
                assert_never(audience)
        return tuple(name for name in takers if name in wanted) or takers


def owner_of(model: str, owners: Iterable[OwnerSettings]) -> OwnerSettings | None:
    """The first owner whose patterns match ``model``."""
    for owner in owners:
        if any(fnmatchcase(model, pattern) for pattern in owner.models):
            return owner
    return None

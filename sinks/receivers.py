"""Who gets actions: the protocol of a receiver, the settings of all of them, and their table.

Adding a receiver touches four places: its module, `ReceiversSettings` and `build_receivers` here,
the example configuration, and the list in tests/contract/receiver_scene.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import ClassVar, Final, Protocol

from detectors.action import Action, ActionKind
from sinks.alertmanager import AlertmanagerReceiver, AlertmanagerSettings
from sinks.egress import Egress, EgressSettings, Resolve, resolve_with_system
from sinks.errors import Permanent
from sinks.links import LinkSettings
from sinks.owners import OwnerSettings, owner_of
from sinks.pagerduty import PagerDutyReceiver, PagerDutySettings
from sinks.slack import SlackReceiver, SlackSettings
from sinks.webhook import WebhookReceiver, WebhookSettings

NO_RECEIVER: Final = "none"
"""Under this name stands what no receiver takes."""
NO_DEPLOYER: Final = (
    "no deployer is configured for this model; set one under `deployers`, or a webhook that takes"
    " rollbacks under `receivers.webhooks`"
)


class Receiver(Protocol):
    """Somebody who takes actions of some kinds. Its name is unique among the receivers."""

    name: str

    @property
    def kinds(self) -> frozenset[ActionKind]: ...

    @property
    def models(self) -> tuple[str, ...]:
        """Patterns (``*``, ``?``) of the models it takes actions for."""
        ...

    @property
    def dry_run(self) -> bool:
        """True if it checks what it is asked for and changes nothing."""
        ...

    async def deliver(self, action: Action, now_ms: int) -> str:
        """Try once. Returns a short text for the record when the action was taken; raises
        Retryable if a later try may succeed, Permanent if none will. Never retries itself."""
        ...


@dataclass(frozen=True, slots=True)
class ReceiversSettings:
    """Every receiver, by kind. Without any, actions are recorded and logged only.

    Each takes the actions of the ``models`` it names (patterns; all by default), so that a team
    hears of its own models. ``links``: where a person looks, put into messages.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    webhooks: tuple[WebhookSettings, ...] = ()
    pagerduty: tuple[PagerDutySettings, ...] = ()
    slack: tuple[SlackSettings, ...] = ()
    alertmanager: tuple[AlertmanagerSettings, ...] = ()
    links: LinkSettings = field(default_factory=LinkSettings)

    def __post_init__(self) -> None:
        names = self._names()
        if "" in names:
            raise ValueError("receivers: one has an empty name; give each a name of its own")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"receivers: {', '.join(twice)} named twice; give each its own name")

    def names(self) -> frozenset[str]:
        """The names of all of them."""
        return frozenset(self._names())

    def _names(self) -> list[str]:
        return [
            *(entry.name for entry in self.webhooks),
            *(entry.name for entry in self.pagerduty),
            *(entry.name for entry in self.slack),
            *(entry.name for entry in self.alertmanager),
        ]


@dataclass(frozen=True, slots=True)
class Routes:
    """Which receivers take which actions, by name.

    ``models`` holds the patterns of the receivers that do not take all; ``dry_run`` names those
    that change nothing. Of those that take a message to people, ``owners`` says who hears it.
    """

    by_kind: Mapping[ActionKind, tuple[str, ...]]
    models: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dry_run: frozenset[str] = frozenset()
    owners: tuple[OwnerSettings, ...] = ()

    def of(self, kind: ActionKind) -> tuple[str, ...]:
        """Those that take actions of ``kind`` for one model or other."""
        return self.by_kind.get(kind, ())

    def without(self, receiver: str) -> Routes:
        """All but this one."""
        left = {k: tuple(n for n in names if n != receiver) for k, names in self.by_kind.items()}
        return replace(self, by_kind=left)

    def takers(self, action: Action) -> tuple[str, ...]:
        """Those that take ``action``."""
        model = action.release.model
        takers = tuple(
            name
            for name in self.of(action.kind)
            if any(fnmatchcase(model, pattern) for pattern in self.models.get(name, ("*",)))
        )
        owner = owner_of(model, self.owners)
        if owner is None or action.kind is ActionKind.ROLLBACK:
            return takers
        return owner.hears(action.audience, takers)


def build_receivers(
    settings: ReceiversSettings,
    egress: EgressSettings,
    environ: Mapping[str, str] = os.environ,
    resolve: Resolve = resolve_with_system,
) -> tuple[Receiver, ...]:
    """Make every configured receiver, over one egress. Raises Permanent, naming the receiver, for
    a URL that may not be called and a secret that is not there."""
    way_out = Egress(egress, resolve)
    made: list[Receiver] = []
    for webhook in settings.webhooks:
        with _named(webhook.name):
            made.append(WebhookReceiver(webhook, way_out, environ))
    for pagerduty in settings.pagerduty:
        with _named(pagerduty.name):
            made.append(PagerDutyReceiver(pagerduty, way_out, environ, settings.links))
    for slack in settings.slack:
        with _named(slack.name):
            made.append(SlackReceiver(slack, way_out, environ, settings.links))
    for alertmanager in settings.alertmanager:
        with _named(alertmanager.name):
            made.append(AlertmanagerReceiver(alertmanager, way_out, environ, settings.links))
    return tuple(made)


def routes(receivers: tuple[Receiver, ...], owners: tuple[OwnerSettings, ...] = ()) -> Routes:
    """Every receiver gets the kinds and models it takes, in the order of configuration.

    Raises ValueError if two have one name, or one the name of none.
    """
    names = [each.name for each in receivers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"receivers and deployers: {', '.join(twice)} named twice")
    if NO_RECEIVER in names:
        raise ValueError(f"receivers and deployers: {NO_RECEIVER!r} means nobody; rename it")
    return Routes(
        {kind: tuple(r.name for r in receivers if kind in r.kinds) for kind in ActionKind},
        {each.name: each.models for each in receivers},
        frozenset(each.name for each in receivers if each.dry_run),
        owners,
    )


@contextmanager
def _named(receiver: str) -> Iterator[None]:
    """Say which receiver a setting belongs to."""
    try:
        yield
    except Permanent as error:
        raise Permanent(f"receiver {receiver!r}: {error}") from None

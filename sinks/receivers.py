"""Who gets actions: the protocol of a receiver, the settings of all of them, and their table.

Adding a receiver touches four places: its module, `ReceiversSettings` and `build_receivers` here,
the example configuration, and the list in tests/contract/test_receivers.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Protocol

from detectors.action import Action, ActionKind
from sinks.egress import Egress, EgressSettings, Resolve, resolve_with_system
from sinks.errors import Permanent
from sinks.pagerduty import PagerDutyReceiver, PagerDutySettings
from sinks.slack import SlackReceiver, SlackSettings
from sinks.webhook import WebhookReceiver, WebhookSettings


class Receiver(Protocol):
    """Somebody who takes actions of some kinds. Its name is unique among the receivers."""

    name: str

    @property
    def kinds(self) -> frozenset[ActionKind]: ...

    async def deliver(self, action: Action, now_ms: int) -> str:
        """Try once. Returns a short text for the record when the action was taken; raises
        Retryable if a later try may succeed, Permanent if none will. Never retries itself."""
        ...


@dataclass(frozen=True, slots=True)
class ReceiversSettings:
    """Every receiver, by kind. Without any, actions are recorded and logged only."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    webhooks: tuple[WebhookSettings, ...] = ()
    pagerduty: tuple[PagerDutySettings, ...] = ()
    slack: tuple[SlackSettings, ...] = ()

    def __post_init__(self) -> None:
        names = [
            *(entry.name for entry in self.webhooks),
            *(entry.name for entry in self.pagerduty),
            *(entry.name for entry in self.slack),
        ]
        if "" in names:
            raise ValueError("receivers: one has an empty name; give each a name of its own")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"receivers: {', '.join(twice)} named twice; give each its own name")


@dataclass(frozen=True, slots=True)
class Routes:
    """Which receivers take which kind of action, by name."""

    by_kind: Mapping[ActionKind, tuple[str, ...]]

    def of(self, kind: ActionKind) -> tuple[str, ...]:
        return self.by_kind.get(kind, ())


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
            made.append(PagerDutyReceiver(pagerduty, way_out, environ))
    for slack in settings.slack:
        with _named(slack.name):
            made.append(SlackReceiver(slack, way_out, environ))
    return tuple(made)


def routes(receivers: tuple[Receiver, ...]) -> Routes:
    """Every receiver gets the kinds it takes, in the order of configuration."""
    return Routes(
        {kind: tuple(r.name for r in receivers if kind in r.kinds) for kind in ActionKind}
    )


@contextmanager
def _named(receiver: str) -> Iterator[None]:
    """Say which receiver a setting belongs to."""
    try:
        yield
    except Permanent as error:
        raise Permanent(f"receiver {receiver!r}: {error}") from None

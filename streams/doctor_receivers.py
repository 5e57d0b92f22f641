"""Whether receivers and deployers may be called, and whether somebody carries out rollbacks."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from detectors.action import ActionKind, printable
from detectors.policy_settings import Automation, PolicySettings
from sinks.addresses import parse_allow_list, parse_url, permitted
from sinks.deployers.receiver import build_deployers
from sinks.egress import EgressSettings, Resolve, resolve_with_system
from sinks.errors import Permanent
from sinks.receivers import ReceiversSettings, build_receivers
from streams.doctor import SHOWN_CHARS, Check, Level

if TYPE_CHECKING:
    from streams.config import Config

_KINDS: Final = ("webhooks", "pagerduty", "slack", "alertmanager")
_RESOLVE_S: Final = 5.0
_MOST_NAMED: Final = 5


def receiver_checks(
    config: Config,
    environ: Mapping[str, str] = os.environ,
    resolve: Resolve = resolve_with_system,
) -> list[Check]:
    """Whether each receiver and deployer may be called and has its secret. Nothing is sent."""
    checks: list[Check] = []
    for kind in _KINDS:
        for each in getattr(config.receivers, kind):
            only: dict[str, Any] = {kind: (each,)}
            alone = replace(ReceiversSettings(), **only)
            checks.append(_receiver(each, alone, config.egress, environ, resolve))
    for deployer in config.deployers.all():
        subject = f"deployer {deployer.name}"
        alone = _only(config.deployers, deployer)
        try:
            build_deployers(alone, config.egress, environ, resolve)
        except Permanent as error:
            checks.append(Check("receivers", subject, Level.WRONG, str(error)))
        else:
            checks.append(
                Check(
                    "receivers",
                    subject,
                    Level.OK,
                    "settings and secrets are there",
                    "try it out with `driftline deployers check`",
                )
            )
    if not checks:
        checks.append(
            Check(
                "receivers",
                "receivers",
                Level.WARNING,
                "none is configured: verdicts page nobody and roll nothing back",
                "add one under `receivers`, or a deployer",
            )
        )
    return checks


def rollback_checks(config: Config) -> list[Check]:
    """Whether somebody would carry out the rollbacks of each configured model, and of all others:
    without a deployer a FAIL pages people, and nothing is undone."""
    if not config.receivers.names() and not config.deployers.all():
        return []  # `receiver_checks` says so
    patterns = [pattern for each in config.deployers.all() for pattern in each.models]
    for webhook in config.receivers.webhooks:
        if ActionKind.ROLLBACK in webhook.kinds:
            patterns.extend(webhook.models)
    without = [
        f"model {printable(name, SHOWN_CHARS)}"
        for name, own in sorted(config.models.items())
        if _rolls_back(own.policy) and not any(fnmatchcase(name, each) for each in patterns)
    ]
    if _rolls_back(config.policy) and not patterns:
        without.append("all models" if not config.models else "all other models")
    if not without:
        return []
    left = len(without) - _MOST_NAMED
    names = ", ".join(without[:_MOST_NAMED]) + (f" and {left} more" if left > 0 else "")
    return [
        Check(
            "receivers",
            "deployers",
            Level.WARNING,
            f"rollbacks are on, and no deployer takes those of {names}",
            "add one under `deployers`, or a webhook for rollbacks under `receivers.webhooks`;"
            " else set policy.automation to dry_run or off",
        )
    ]


def _rolls_back(policy: PolicySettings) -> bool:
    return policy.automation is Automation.ON and bool(policy.rollback_roles)


def _only(settings: Any, deployer: Any) -> Any:
    """The deployers' settings with one of them left."""
    kept = {
        each.name: tuple(one for one in getattr(settings, each.name) if one is deployer)
        for each in fields(settings)
        if each.name != "clusters"
    }
    return replace(settings, **kept)


def _receiver(
    each: Any,
    alone: ReceiversSettings,
    egress: EgressSettings,
    environ: Mapping[str, str],
    resolve: Resolve,
) -> Check:
    subject = f"receiver {each.name}"
    try:
        build_receivers(alone, egress, environ, resolve)
        url = each.url if isinstance(each.url, str) else each.url.read(each.name, environ)
    except Permanent as error:
        return Check("receivers", subject, Level.WRONG, str(error))
    return asyncio.run(_callable(subject, url, egress, resolve))


async def _callable(subject: str, url: str, egress: EgressSettings, resolve: Resolve) -> Check:
    """Whether its host resolves to addresses that may be called."""
    allowed = parse_allow_list(egress.allow_private)
    target = parse_url(url, allowed)  # not refused: it was checked when the receiver was made
    if target.address is not None:
        addresses = [target.address]
    else:
        try:
            async with asyncio.timeout(_RESOLVE_S):
                texts = await resolve(target.host, target.port)
            addresses = [ipaddress.ip_address(text) for text in texts]
        except (OSError, ValueError):
            addresses = []
    if not addresses:
        return Check(
            "receivers",
            subject,
            Level.WRONG,
            f"{target.authority} cannot be resolved",
            "correct its name, or the machine's resolver",
        )
    if not all(permitted(target, address, allowed) for address in addresses):
        return Check(
            "receivers",
            subject,
            Level.WRONG,
            f"{target.authority} is not public, so it is not called",
            "list host:port in egress.allow_private if that is intended",
        )
    return Check("receivers", subject, Level.OK, f"{target.authority} may be called")

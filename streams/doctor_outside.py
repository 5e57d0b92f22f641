"""What the doctor looks at around driftline: secrets, receivers, references, and the API."""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from detectors.action import ActionKind
from detectors.policy_settings import Automation, PolicySettings
from sinks.addresses import parse_allow_list, parse_url, permitted
from sinks.credentials import SecretSource
from sinks.deployers.receiver import build_deployers
from sinks.egress import EgressSettings, Resolve, resolve_with_system
from sinks.errors import Permanent
from sinks.http_guard import read_tokens
from sinks.receivers import ReceiversSettings, build_receivers
from sinks.serve_settings import ServeSettings
from streams.doctor import Check, Level
from streams.reference_book import ReferenceBook
from streams.reference_files import ReferenceSettings, load_references

if TYPE_CHECKING:
    from streams.config import Config

_KINDS: Final = ("webhooks", "pagerduty", "slack", "alertmanager")
_RESOLVE_S: Final = 5.0
_MOST_NAMED: Final = 5
_ASK_S: Final = 3.0
_MAX_ANSWER_BYTES: Final = 64 * 1024


# --- secrets -------------------------------------------------------------------------------------


def secret_files(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Settings that name a file with a secret, with their path in the configuration."""
    if isinstance(value, SecretSource):
        if value.file:
            yield path, value.file
        return
    for name, inner in _members(value):
        where = f"{path}.{name}".lstrip(".")
        if not isinstance(inner, str):
            yield from secret_files(inner, where)
        elif inner and name.endswith(_SECRET_FILES):
            yield where, inner


_SECRET_FILES: Final = (
    "password_file",
    "token_file",
    "secret_file",
    "ssl.key.location",
    "ssl.keystore.location",
)


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        yield from ((name, getattr(value, name)) for name in type(value).model_fields)
    elif is_dataclass(value):
        yield from ((each.name, getattr(value, each.name)) for each in fields(value))
    elif isinstance(value, Mapping):
        yield from ((str(name), inner) for name, inner in value.items())
    elif isinstance(value, tuple | list):
        yield from ((str(index), inner) for index, inner in enumerate(value))


def secret_checks(config: Config, config_path: Path | None) -> list[Check]:
    """Whether every secret that is kept in a file can be read, and by whom."""
    checks = []
    count = 0
    for setting, file in secret_files(config):
        count += 1
        if (found := _secret_file(setting, Path(file))) is not None:
            checks.append(found)
    holds = inline_secrets(config)
    if config_path is not None and holds and _open_to_all(config_path):
        checks.append(
            Check(
                "secrets",
                str(config_path),
                Level.WRONG,
                f"holds {', '.join(holds)} and is readable by everybody on this machine",
                "chmod 600, or keep the secret in a file of its own",
            )
        )
    try:
        read_tokens(config.serve.token_file)
    except Permanent as error:
        checks.append(Check("secrets", "serve.token_file", Level.WRONG, str(error)))
    if count and not checks:
        checks.append(Check("secrets", "files", Level.OK, f"{count} readable, by us alone"))
    return checks


def inline_secrets(config: Config) -> list[str]:
    """Settings that hold a secret themselves."""
    held = ["store.password"] if config.store.password else []
    wanted = ("sasl.password", "ssl.key.password", "ssl.keystore.password", "ssl.key.pem")
    return held + [f"kafka.properties.{name}" for name in wanted if name in config.kafka.properties]


def _secret_file(setting: str, file: Path) -> Check | None:
    try:
        with file.open("rb") as handle:
            empty = not handle.read(1)
    except OSError as error:
        why = error.strerror or type(error).__name__
        return Check(
            "secrets", setting, Level.WRONG, f"{file} cannot be read: {why}", "check path and mode"
        )
    if empty:
        return Check("secrets", setting, Level.WRONG, f"{file} is empty", "put the secret into it")
    if _open_to_all(file):
        return Check(
            "secrets",
            setting,
            Level.WARNING,
            f"{file} is readable by everybody on this machine",
            f"chmod 600 {file}",
        )
    return None


def _open_to_all(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


# --- receivers -----------------------------------------------------------------------------------


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
        f"model {_shown(name)}"
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


# --- references ----------------------------------------------------------------------------------


def reference_file_checks(settings: ReferenceSettings) -> list[Check]:
    """Whether each configured file is a reference. Raises UserError if two are for one model."""
    checks = []
    for file in settings.files:
        (reference,) = load_references(replace(settings, files=(file,)))
        said = f"model {_shown(reference.model)}, {len(reference.layout.columns)} columns"
        checks.append(Check("references", file, Level.OK, said))
    load_references(settings)
    return checks


def reference_topic_checks(
    settings: ReferenceSettings, models: Sequence[str], book: ReferenceBook
) -> list[Check]:
    """Whether configured references are published, and which configured models have none."""
    checks = [
        Check(
            "references",
            f"model {_shown(reference.model)}",
            Level.WARNING,
            "its reference file is not the one in Kafka",
            "start `driftline up` again, which publishes it",
        )
        for reference in load_references(settings)
        if book.by_id(reference.id) is None
    ]
    without = [model for model in models if book.of(model) is None]
    if without:
        checks.append(
            Check(
                "references",
                "models",
                Level.WARNING,
                f"{len(without)} of {len(models)} configured models have no reference yet"
                f" ({', '.join(_shown(model) for model in without[:5])})",
                "make one with `driftline profile`, or let it learn from production's events",
            )
        )
    elif models:
        checks.append(
            Check("references", "models", Level.OK, f"all {len(models)} configured have one")
        )
    return checks


def _shown(text: str, limit: int = 60) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:limit])


# --- the API -------------------------------------------------------------------------------------


def api_checks(settings: ServeSettings) -> list[Check]:
    """Whether `driftline serve` answers, and whether it is ready."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    where = f"{host}:{settings.port}"
    checks: list[Check] = []
    if settings.host not in ("127.0.0.1", "::1", "localhost") and not settings.token_file:
        checks.append(
            Check(
                "api",
                where,
                Level.WARNING,
                "is open to the network and asks for no token",
                "set serve.token_file",
            )
        )
    connection = http.client.HTTPConnection(host, settings.port, timeout=_ASK_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(_MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException):
        return [
            *checks,
            Check(
                "api",
                where,
                Level.WARNING,
                "nobody answers here",
                "start `driftline serve` if deployers are to ask",
            ),
        ]
    finally:
        connection.close()
    if answer.status == http.client.OK:
        return [*checks, Check("api", where, Level.OK, "answers and is ready")]
    return [
        *checks,
        Check("api", where, Level.WRONG, f"is not ready: {_reason(body)}", "see the log of serve"),
    ]


def _reason(body: bytes) -> str:
    try:
        reason = json.loads(body)["reason"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "it did not say why"
    return _shown(str(reason), 200)

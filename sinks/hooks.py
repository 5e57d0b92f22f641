"""What other systems report, turned into commands. Pure: bytes in, commands out.

Grafana and Alertmanager send alerts. One with the labels ``model`` and ``version`` is about that
release (``role``: canary if it has none); it opens an incident, and with the label
``driftline_action: rollback`` it asks for the guarded rollback. An alert without these labels is
about the fleet and is a page. What driftline's own alert rules say of a release it knows already,
so that is only written down.

Flagger and MLflow report that a release begins.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeVar

import msgspec

from detectors.action import printable
from detectors.release import ROLE_NAMES, Role
from sinks.audit import FLEET
from sinks.commands import AlertCommand, BeginCommand, Command, NoteCommand, command_id
from sinks.credentials import SecretSource

MAX_NAME_CHARS: Final = 200
MAX_ALERTS: Final = 500
GRAFANA_SIGNATURE: Final = "x-grafana-alerting-signature"
GRAFANA_TIMESTAMP: Final = "x-grafana-alerting-timestamp"
ACTION_LABEL: Final = "driftline_action"
ROLLBACK: Final = "rollback"
_OWN: Final = ("team", "driftline")
_BEGINS: Final = frozenset({"Initialized", "Initializing", "Progressing"})
_ALIASES: Final = "model_version_alias"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HookSettings:
    """``grafana``: the secret with which Grafana signs (HMAC, with a timestamp header);
    ``mlflow``: that of MLflow's webhooks. ``tolerance_ms``: how far a timestamp may be off."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    grafana: SecretSource = field(default_factory=lambda: SecretSource(env="DRIFTLINE_HOOK_SECRET"))
    mlflow: SecretSource = field(default_factory=lambda: SecretSource(env="DRIFTLINE_MLFLOW_KEY"))
    tolerance_ms: int = 300_000

    def __post_init__(self) -> None:
        if not 1_000 <= self.tolerance_ms <= 3_600_000:
            raise ValueError("tolerance must be from 1s to 1h")


class NotAHook(ValueError):
    """The body is not what this hook sends. Says what is missing, never what is there."""


class _Alert(msgspec.Struct):
    status: str
    startsAt: str  # noqa: N815 - as it is on the wire
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    fingerprint: str = ""


class _Alerts(msgspec.Struct):
    alerts: list[_Alert]


class _Flagger(msgspec.Struct):
    name: str
    namespace: str
    phase: str = ""
    checksum: str = ""
    metadata: dict[str, Any] = {}


class _Alias(msgspec.Struct):
    name: str
    alias: str
    version: str


class _Mlflow(msgspec.Struct):
    entity: str
    action: str
    data: dict[str, Any]


def alert_commands(body: bytes, source: str, by: str, now_ms: int) -> tuple[Command, ...]:
    """One command for each alert of Grafana's or Alertmanager's notification. Raises NotAHook."""
    found = _read(body, _Alerts).alerts
    if len(found) > MAX_ALERTS:
        raise NotAHook(f"more than {MAX_ALERTS} alerts at once: group them")
    return tuple(_alert_command(each, source, by, now_ms) for each in found)


def _alert_command(alert: _Alert, source: str, by: str, now_ms: int) -> Command:
    labels = alert.labels
    fingerprint = alert.fingerprint[:MAX_NAME_CHARS] or command_id(
        *(part for pair in sorted(labels.items()) for part in pair)
    )
    title = labels.get("alertname", "alert")
    said = alert.annotations.get("summary") or alert.annotations.get("description") or title
    firing = alert.status == "firing"
    # What begins the same alert at the same time is one: Grafana repeats it every few hours.
    same = (source, fingerprint, alert.startsAt)
    begins, ends = command_id(*same, "firing"), command_id(*same, "resolved")
    model, version = labels.get("model", ""), labels.get("version", "")
    named = 0 < len(model) <= MAX_NAME_CHARS and 0 < len(version) <= MAX_NAME_CHARS
    wanted = labels.get(ACTION_LABEL, "")
    if named and not wanted and labels.get(_OWN[0]) == _OWN[1]:
        body = {"title": printable(title, 200), "status": alert.status, "version": version}
        return NoteCommand(
            id=begins if firing else ends,
            model=model,
            at_ms=now_ms,
            by=by,
            kind="alert",
            subject=fingerprint,
            body=body,
        )
    role = labels.get("role", "")
    return AlertCommand(
        id=begins if firing else ends,
        model=model if named else FLEET,
        at_ms=now_ms,
        by=by,
        version=version if named else printable(title, MAX_NAME_CHARS),
        role=Role(role if role in ROLE_NAMES else Role.CANARY if named else Role.PRODUCTION),
        fingerprint=fingerprint,
        firing=firing,
        reason=printable(f"{source}: {said}"),
        source=source,
        roll_back=named and wanted == ROLLBACK,
        ended=ends,
    )


def flagger_commands(body: bytes, by: str, now_ms: int) -> tuple[Command, ...]:
    """Flagger's event hook: a beginning, if it says which model and version. Raises NotAHook."""
    event = _read(body, _Flagger)
    model = event.metadata.get("model", event.name)
    version = event.metadata.get("version", "")
    if event.phase not in _BEGINS or not _names(model, version):
        return ()
    began = command_id("flagger", event.namespace, event.name, event.checksum, model, version)
    return (
        BeginCommand(id=began, model=model, at_ms=now_ms, by=by, version=version, source="Flagger"),
    )


def flagger_token(body: bytes) -> str:
    """The token that Flagger carries in its metadata, "" if there is none."""
    try:
        token = _read(body, _Flagger).metadata.get("token", "")
    except NotAHook:
        return ""
    return token if isinstance(token, str) else ""


def mlflow_commands(body: bytes, by: str, now_ms: int) -> tuple[Command, ...]:
    """MLflow's webhook: an alias that is set begins a release. Raises NotAHook."""
    event = _read(body, _Mlflow)
    if event.entity != _ALIASES or event.action not in ("created", "updated"):
        return ()
    try:
        alias = msgspec.convert(event.data, _Alias)
    except msgspec.ValidationError:
        raise NotAHook("an alias event without name, alias and version") from None
    if not _names(alias.name, alias.version):
        return ()
    began = command_id("mlflow", alias.name, alias.alias, alias.version)
    source = printable(f"MLflow ({alias.alias})", 100)
    return (
        BeginCommand(
            id=began,
            model=alias.name,
            at_ms=now_ms,
            by=by,
            version=alias.version,
            source=source,
        ),
    )


def grafana_genuine(
    headers: Mapping[str, str],
    body: bytes,
    settings: HookSettings,
    now_ms: int,
    environ: Mapping[str, str] = os.environ,
) -> bool:
    """Whether Grafana signed ``body`` not long ago: hex HMAC-SHA256 over ``timestamp:body``, the
    timestamp in Unix seconds. Several secrets, by white space, are all tried. A signature without
    a timestamp is none: it could be played again for ever. Raises NoSecret."""
    stamp = headers.get(GRAFANA_TIMESTAMP, "")
    secrets = settings.grafana.read("hooks.grafana", environ)
    genuine = _signed(headers.get(GRAFANA_SIGNATURE, ""), f"{stamp}:", body, secrets, _hex)
    return genuine and _recent(stamp, settings, now_ms)


def mlflow_genuine(
    headers: Mapping[str, str],
    body: bytes,
    settings: HookSettings,
    now_ms: int,
    environ: Mapping[str, str] = os.environ,
) -> bool:
    """Whether MLflow signed ``body`` not long ago: ``v1,`` and base64 of HMAC-SHA256 over
    ``delivery.timestamp.body``. Raises NoSecret."""
    stamp = headers.get("x-mlflow-timestamp", "")
    delivery = headers.get("x-mlflow-delivery-id", "")
    given = headers.get("x-mlflow-signature", "")
    secrets = settings.mlflow.read("hooks.mlflow", environ)
    genuine = _signed(given, f"{delivery}.{stamp}.", body, secrets, _versioned_base64)
    return genuine and _recent(stamp, settings, now_ms)


def _signed(
    given: str, before: str, body: bytes, secrets: str, written: Callable[[bytes], bytes]
) -> bool:
    """Whether ``given`` is the HMAC-SHA256 over ``before`` and ``body`` under one of ``secrets``,
    as it is ``written``. All are tried, so that it takes as long whichever fits."""
    said = before.encode("utf-8", "surrogateescape") + body
    genuine = False
    for secret in secrets.split():
        wanted = written(hmac.new(secret.encode(), said, hashlib.sha256).digest())
        genuine |= hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted)
    return genuine


def _hex(mac: bytes) -> bytes:
    return mac.hex().encode()


def _versioned_base64(mac: bytes) -> bytes:
    return b"v1," + b64encode(mac)


def _recent(stamp: str, settings: HookSettings, now_ms: int) -> bool:
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= 12):
        return False
    return abs(int(stamp) * 1000 - now_ms) <= settings.tolerance_ms


def _names(*names: object) -> bool:
    return all(isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARS for name in names)


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotAHook("the body is not what this hook takes") from None

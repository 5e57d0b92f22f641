"""Where Grafana is, what it reads from, and when it alerts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import ClassVar, Final
from urllib.parse import urlsplit

TOKEN_VARIABLE: Final = "DRIFTLINE_GRAFANA_TOKEN"


class Contact(StrEnum):
    """A way to tell people. Secrets come from variables of the environment, see `SECRETS`."""

    HOOK = "hook"
    """driftline's own ``/v1/hooks/grafana``, signed."""
    PAGERDUTY = "pagerduty"
    SLACK = "slack"


SECRETS: Final = {
    Contact.HOOK: "DRIFTLINE_HOOK_SECRET",
    Contact.PAGERDUTY: "DRIFTLINE_PAGERDUTY_KEY",
    Contact.SLACK: "DRIFTLINE_SLACK_URL",
}
"""The variable that holds the secret of each contact: read by Grafana from provisioning files, and
by ``grafana push``."""
READER_PASSWORD: Final = "DRIFTLINE_READER_PASSWORD"


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """From where on the alert rules fire.

    ``budget``: share of the false-alarm budget used by the evidence of drift (1 is its alarm).
    ``p99_ratio``: 99th percentile of the latency over production's. ``error_rate``: share of failed
    predictions in 15 minutes. ``lag_ms``: time now less the event time a model is judged up to.
    ``silence_ms``: since the last verdict was stored. ``dead_letter_ratio``: of the rows of a topic
    in 15 minutes. ``undelivered_ms``: for how long an action may be without acknowledgement.
    ``page``/``notify``: whom critical rules and the others tell. ``runbook``: the http(s) address
    where docs/runbook.md is published, for the link that an alert carries; "" if nowhere.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    budget: float = 0.999
    p99_ratio: float = 1.5
    error_rate: float = 0.05
    lag_ms: int = 600_000
    silence_ms: int = 600_000
    dead_letter_ratio: float = 0.01
    undelivered_ms: int = 120_000
    runbook: str = ""
    page: tuple[Contact, ...] = (Contact.HOOK,)
    notify: tuple[Contact, ...] = (Contact.HOOK,)

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, tuple | str) and not (math.isfinite(value) and value > 0):
                raise ValueError(f"alerts.{each.name} must be a number above zero")
        if self.runbook and not _is_web_address(self.runbook):
            raise ValueError("alerts.runbook must be http(s)://host/path, without a user or a #")
        for name in ("page", "notify"):
            told = getattr(self, name)
            if not told or len(set(told)) != len(told):
                raise ValueError(f"alerts.{name} must name at least one contact, each once")


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """The ClickHouse data source. ``protocol``: ``native`` or ``http`` (the embedded store speaks
    only the latter). The password is read from DRIFTLINE_READER_PASSWORD."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    uid: str = "driftline"
    name: str = "driftline"
    host: str = "clickhouse"
    port: int = 9000
    protocol: str = "native"
    secure: bool = False
    user: str = "grafana_reader"

    def __post_init__(self) -> None:
        if self.protocol not in ("native", "http"):
            raise ValueError("grafana.source.protocol must be native or http")
        if not 1 <= self.port <= 65_535:
            raise ValueError("grafana.source.port must be between 1 and 65535")


@dataclass(frozen=True, slots=True)
class GrafanaSettings:
    """``url``: Grafana's address, for ``grafana push``; its token comes from ``token_file``, else
    from the variable DRIFTLINE_GRAFANA_TOKEN. ``hook_url``: where Grafana finds driftline's hook.
    ``folder``: title of the folder of boards and rules. ``boards_path``: where the provisioning
    files say that Grafana finds the boards' files. ``manage_source``: whether push also makes the
    data source."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    url: str = ""
    token_file: str = ""
    timeout_ms: int = 10_000
    hook_url: str = "http://serve:8780/v1/hooks/grafana"
    folder: str = "Model health"
    folder_uid: str = "driftline"
    boards_path: str = "/var/lib/grafana/dashboards/driftline"
    manage_source: bool = True
    source: SourceSettings = field(default_factory=SourceSettings)
    alerts: AlertSettings = field(default_factory=AlertSettings)

    def __post_init__(self) -> None:
        for name, value in (("url", self.url), ("hook_url", self.hook_url)):
            if not value and name == "url":
                continue
            parts = urlsplit(value)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"grafana.{name} must be http(s)://host:port")
            if parts.username is not None or parts.password is not None:
                raise ValueError(f"grafana.{name} must not hold a user or a password")
        if self.timeout_ms < 1:
            raise ValueError("grafana.timeout must be above zero")


def _is_web_address(url: str) -> bool:
    """Whether a section can be named behind it, and it holds no secret."""
    parts = urlsplit(url)
    plain = parts.username is None and not parts.fragment and "$" not in url
    return parts.scheme in ("http", "https") and bool(parts.hostname) and plain

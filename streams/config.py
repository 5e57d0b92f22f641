"""The configuration: one YAML file, then ``DRIFTLINE__A__B`` variables, then checks.

Each part declares its own settings as a frozen dataclass beside its code; `Config` only puts them
together. Everything has a default that works: no file, or an empty one, is a configuration. What
is refused is refused with its place, all of it at once (`ConfigError`).

A field ``x_ms`` is written ``x: 10s``. A variable's name is the path to a setting in capitals,
with ``__`` between the parts (``DRIFTLINE__TIME__PANE=5s``, ``DRIFTLINE__INPUTS__0__TOPIC=a``);
lists and mappings are given as YAML in one line. A variable that names nothing is refused as well:
a mistyped override that is silently ignored is worse than none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from dashboards.settings import GrafanaSettings
from detectors.canary_rules import CanarySettings
from detectors.drift_settings import DriftSettings
from detectors.online_rules import OnlineSettings
from detectors.paired_evidence import PairedSettings
from detectors.policy import PolicySettings
from detectors.thresholds import ThresholdSettings
from sinks.addresses import UrlError, parse_allow_list, parse_url
from sinks.approvals import ApprovalSettings
from sinks.clickhouse import StoreSettings
from sinks.control import FleetSettings
from sinks.deployers.settings import DeployersSettings
from sinks.egress import EgressSettings
from sinks.hooks import HookSettings
from sinks.owners import OwnerSettings
from sinks.receivers import ReceiversSettings
from sinks.serve_settings import ServeSettings
from streams.cardinality import Limits
from streams.config_reader import (
    Location,
    OverrideError,
    Problem,
    Reader,
    Written,
    is_settings,
    members,
    overlay,
    path_text,
    public_name,
    settings_fields,
)
from streams.errors import UserError, one_line
from streams.inputs import InputSettings
from streams.kafka import KafkaSettings
from streams.metrics_port import MetricsSettings
from streams.outbox_settings import OutboxSettings
from streams.pacing import PaceSettings
from streams.pair_settings import PairSettings
from streams.reference_files import ReferenceSettings
from streams.sampling import SampleSettings
from streams.standing import JudgeSettings
from streams.summarizer import SummarizeSettings
from streams.timeline import TimeSettings
from streams.yaml_file import Fields, Node, YamlError, read_yaml

PREFIX: Final = "DRIFTLINE__"
MAX_PROBLEMS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What may differ for one model. A section given under ``models.NAME`` starts from the
    section of the same name for all models; only the keys it names change."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    drift: DriftSettings = field(default_factory=DriftSettings)
    canary: CanarySettings = field(default_factory=CanarySettings)
    paired: PairedSettings = field(default_factory=PairedSettings)
    online: OnlineSettings = field(default_factory=OnlineSettings)
    detect: ThresholdSettings = field(default_factory=ThresholdSettings)
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)


class Config(BaseModel):
    """All settings of all parts."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)

    kafka: KafkaSettings = KafkaSettings()
    inputs: tuple[InputSettings, ...] = (InputSettings(),)
    time: TimeSettings = TimeSettings()
    summarize: SummarizeSettings = SummarizeSettings()
    limits: Limits = Limits()
    pairing: PairSettings = PairSettings()
    references: ReferenceSettings = ReferenceSettings()
    judge: JudgeSettings = JudgeSettings()
    events: SampleSettings = SampleSettings()
    drift: DriftSettings = DriftSettings()
    canary: CanarySettings = CanarySettings()
    paired: PairedSettings = PairedSettings()
    online: OnlineSettings = OnlineSettings()
    detect: ThresholdSettings = ThresholdSettings()
    policy: PolicySettings = PolicySettings()
    fleet: FleetSettings = FleetSettings()
    owners: tuple[OwnerSettings, ...] = ()
    approvals: ApprovalSettings = ApprovalSettings()
    hooks: HookSettings = HookSettings()
    outbox: OutboxSettings = OutboxSettings()
    pace: PaceSettings = PaceSettings()
    receivers: ReceiversSettings = ReceiversSettings()
    deployers: DeployersSettings = DeployersSettings()
    egress: EgressSettings = EgressSettings()
    store: StoreSettings = StoreSettings()
    serve: ServeSettings = ServeSettings()
    metrics: MetricsSettings = MetricsSettings()
    grafana: GrafanaSettings = GrafanaSettings()
    models: Mapping[str, ModelSettings] = {}

    def followed_models(self) -> tuple[str, ...]:
        """Models that the configuration names: followed, however many others came before them."""
        return tuple(dict.fromkeys((*self.limits.always_models, *self.models)))

    def model(self, name: str) -> ModelSettings:
        """The settings of one model: its own, or those for all."""
        own = self.models.get(name)
        if own is not None:
            return own
        return ModelSettings(**{name: getattr(self, name) for name in _OVERRIDABLE})

    def __repr__(self) -> str:
        # Settings hold passwords: they are shown by `streams.config_view` only, which masks them.
        return "Config(…)"

    __str__ = __repr__


_OVERRIDABLE: Final = tuple(settings_fields(ModelSettings))


class ConfigError(UserError):
    """The configuration is refused. ``problems`` has everything that is wrong with it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        first = problems[0]
        super().__init__(first.what, first.where, first.hint)
        self.problems = problems

    def __str__(self) -> str:
        lines = [_line(problem) for problem in self.problems[:MAX_PROBLEMS_SHOWN]]
        left = len(self.problems) - len(lines)
        return "\n".join([*lines, f"and {left} more"] if left else lines)


def _line(problem: Problem) -> str:
    what = f"{problem.path}: {problem.what}" if problem.path else problem.what
    return one_line(what, problem.where, problem.hint)


def load_config(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration of a file (None: all defaults) and of the variables in ``environ``.

    Raises `ConfigError`.
    """
    try:
        tree = read_yaml(path) if path is not None else Fields({}, {}, "the defaults")
    except YamlError as error:
        raise ConfigError((Problem("", error.where, error.what, error.hint),)) from None
    return build_config(tree, environ)


def build_config(tree: Fields, environ: Mapping[str, str]) -> Config:
    """As `load_config`, for a tree already read."""
    reader = Reader()
    merged: Node = tree
    # Sorted, so that DRIFTLINE__INPUTS is laid down before DRIFTLINE__INPUTS__0__TOPIC.
    for name in sorted(n for n in environ if n.startswith(PREFIX)):
        where = f"variable {name}"
        try:
            parts = name.removeprefix(PREFIX).split("__")
            merged = overlay(merged, Config, parts, Written(environ[name], where))
        except OverrideError as error:
            reader.problems.append(Problem("", where, error.what, error.hint))
        except YamlError as error:
            reader.problems.append(Problem("", where, error.what, error.hint))
    plain = reader.read(merged, Config)
    _inherit(plain)
    # JSON, because pydantic's strict mode takes no list for a tuple from Python, but does from
    # JSON; strict, because "5" for 5 or 1 for true is a mistake that should be said.
    problems = list(reader.problems)
    try:
        config = Config.model_validate_json(json.dumps(plain), strict=True)
    except ValidationError as error:
        # A value that was refused already is missing here; that is no second problem.
        problems += [
            _refused(each, reader)
            for each in error.errors(include_url=False)
            if each["loc"] not in reader.refused
        ]
        raise ConfigError(tuple(problems)) from None
    if not problems:
        problems = _contradictions(config, reader)
    if problems:
        raise ConfigError(tuple(problems))
    return config


def _inherit(plain: dict[str, Any]) -> None:
    """Complete each model's sections from the sections for all models."""
    for own in plain.get("models", {}).values():
        for section in _OVERRIDABLE:
            own[section] = _over(plain.get(section, {}), own.get(section, {}))


def _over(base: Any, own: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(own, dict):
        return own
    return {**base, **{k: _over(base.get(k), v) if k in base else v for k, v in own.items()}}


_TYPES: Final[Mapping[str, tuple[str, str]]] = {
    "bool_type": ("not true or false", "write true or false"),
    "int_type": ("not a whole number", "write a whole number without quotes"),
    "int_from_float": ("not a whole number", "write a whole number"),
    "float_type": ("not a number", "write a number without quotes"),
    "string_type": ("not text", "put it in quotes"),
    "tuple_type": ("not a list", "write it as a list: [a, b]"),
    "list_type": ("not a list", "write it as a list: [a, b]"),
    "dataclass_type": ("not a mapping", "write `key: value` lines below it"),
    "mapping_type": ("not a mapping", "write `key: value` lines below it"),
    "dict_type": ("not a mapping", "write `key: value` lines below it"),
}


def _refused(error: Any, reader: Reader) -> Problem:
    """One of pydantic's errors in our words; never with the value, which may be a secret."""
    location: Location = tuple(error["loc"])
    text = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        location = _blamed(location, text)
    said, hint = _TYPES.get(error["type"], (text[:1].lower() + text[1:], ""))
    if error["type"] == "value_error":
        # Some sections name themselves in their message; the place is named once.
        said = text.removeprefix(f"{path_text(location)}: ")
    return Problem(path_text(location), reader.place(location), said, hint)


def _blamed(location: Location, text: str) -> Location:
    """A section refuses itself as a whole; the key that its message names is what to show."""
    wanted: Any = Config
    for part in location:
        classes = [w for w in members(wanted) if is_settings(w)]
        if not classes or not isinstance(part, str) or part not in settings_fields(classes[0]):
            return location
        wanted = settings_fields(classes[0])[part]
    classes = [w for w in members(wanted) if is_settings(w)]
    if not classes:
        return location
    # The one that is named first: a hint at the end may name another. Of two that begin at the same
    # place, the longer.
    named = [
        (found.start(), -len(name), name)
        for name in settings_fields(classes[0])
        if (found := re.search(rf"\b({re.escape(name)}|{re.escape(public_name(name))})\b", text))
    ]
    return (*location, min(named)[2]) if named else location


def _contradictions(config: Config, reader: Reader) -> list[Problem]:
    """What no single section can see."""
    found: list[Problem] = []

    def refuse(location: Location, what: str, hint: str) -> None:
        found.append(Problem(path_text(location), reader.place(location), what, hint))

    if not config.inputs:
        refuse(("inputs",), "no topic", "name at least one, as in `inputs: [{topic: predictions}]`")
    seen: set[str] = set()
    for index, each in enumerate(config.inputs):
        if each.topic in seen:
            refuse(("inputs", index), f"topic `{each.topic}` stands twice", "keep one")
        seen.add(each.topic)
    both = config.receivers.names() & {each.name for each in config.deployers.all()}
    if both:
        refuse(
            ("deployers",), f"`{min(both)}` is a receiver's name as well", "give one another name"
        )
    named = config.receivers.names()
    for index, owner in enumerate(config.owners):
        if owner.named() - named:
            unknown = min(owner.named() - named)
            refuse(("owners", index), f"no receiver is called `{unknown}`", "name one of receivers")
    for location, url in _called(config):
        try:
            parse_url(url, parse_allow_list(config.egress.allow_private))
        except UrlError as error:
            refuse(location, str(error), "")
    time = config.time
    if time.out_of_orderness_ms > time.allowed_lateness_ms:
        refuse(
            ("time", "out_of_orderness_ms"),
            "longer than allowed_lateness, so that rows would be late before their window closes",
            "make allowed_lateness the longer one",
        )
    if time.allowed_lateness_ms > time.max_age_ms:
        refuse(
            ("time", "allowed_lateness_ms"),
            "longer than max_age, beyond which events are refused",
            "make it shorter, or max_age longer",
        )
    return found


def _called(config: Config) -> Iterator[tuple[Location, str]]:
    """Every address that is called and is no secret, and where it stands."""
    for section, settings, kinds in (
        ("receivers", config.receivers, ("webhooks", "pagerduty", "alertmanager")),
        ("deployers", config.deployers, ("mlflow", "spinnaker")),
    ):
        for kind in kinds:
            for index, each in enumerate(getattr(settings, kind)):
                yield (section, kind, index, "url"), each.url

"""docs/reference/configuration.md: every setting with its type, default and meaning."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import yaml
from pydantic import SecretStr

from detectors.drift_settings import FalseAlarms
from sinks.credentials import SecretSource
from sinks.deployers.order import VersionMark
from streams.config import Config, ModelSettings
from streams.config_meanings import meanings, settings_in
from streams.config_reader import DURATION_SUFFIX, members, public_name, settings_fields
from streams.config_view import effective_yaml
from streams.durations import format_duration, format_rate

RECURRING: Final[Mapping[type, tuple[str, str]]] = {
    SecretSource: ("secret", "secret"),
    VersionMark: ("mark of the version", "version-mark"),
}
"""Classes that stand in many places and are described once: what they are called, their anchor."""

INTRODUCTION: Final = """# Configuration

One YAML file; every key is optional and has a default that works. Start from
[examples/driftline.yaml](../../examples/driftline.yaml).

- `driftline config check FILE` says everything that is wrong with it, by line; `driftline config
  show FILE` prints all values in force, secrets masked.
- `driftline config schema` prints JSON Schema, also in
  [configuration.schema.json](configuration.schema.json). Editors with a YAML language server
  take it from a first line `# yaml-language-server: $schema=configuration.schema.json`.
- A variable overrides a key by its path: `DRIFTLINE__TIME__PANE=5s`,
  `DRIFTLINE__INPUTS__0__TOPIC=clicks`. Lists and mappings are given as YAML in one line.
- A *duration* is a whole number and a unit: `500ms`, `10s`, `5m`, `1h30m`, `30d`, `2w`.
- A *pattern* is a name with `*` and `?`.
- A *secret* is never in the file; the key says [where it is](#secret).
- A list that is given replaces the default one.

"""

Defaults = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """A table of the page: a class of settings at a path, such as ``canary.rules[]``."""

    path: str
    wanted: type
    about: str


def settings_page() -> str:
    """The page."""
    parts = [part for top in _tops() for part in _parts(top)]
    names = [top.path.removesuffix("[]") for top in _tops()]
    listed = ", ".join(f"[{name}](#{name})" for name in names)
    contents = f"Sections: {listed}.\n"
    return "\n".join([INTRODUCTION, contents, *map(_section, parts), _recurring()])


def _tops() -> Iterator[Part]:
    said = meanings(Config)
    for name, kind in settings_fields(Config).items():
        (wanted,) = settings_in(kind)
        listed = isinstance(getattr(Config(), name), tuple)
        yield Part(f"{name}[]" if listed else name, wanted, said[name])


def _parts(part: Part) -> Iterator[Part]:
    """The part and those below it; what recurs and what is a copy of a section is not repeated."""
    yield part
    if part.wanted is ModelSettings:
        return
    said = meanings(part.wanted)
    for name, kind in settings_fields(part.wanted).items():
        for wanted in settings_in(kind):
            if wanted not in RECURRING and wanted is not FalseAlarms:
                key = public_name(name)
                ending = "[]" if _is_list(kind) else ""
                yield from _parts(Part(f"{part.path}.{key}{ending}", wanted, said[key]))


def _section(part: Part) -> str:
    level = "##" if "." not in part.path else "###"
    name = part.path.replace("[]", "")
    lines = [f"{level} {name}", "", part.about]
    if part.path.endswith("[]"):
        lines += ["", "A list; each entry has these keys:"]
    if part.wanted is ModelSettings:
        lines += ["", "By the name of the model; each has these keys:"]
    lines += ["", *_table(part.wanted)]
    rules = _listed_defaults(name)
    if rules:
        lines += ["", "By default:", "", "```yaml", rules.rstrip(), "```"]
    return "\n".join(lines) + "\n"


def _recurring() -> str:
    lines = []
    for wanted, (name, anchor) in RECURRING.items():
        said = "Where a secret is kept." if wanted is SecretSource else "Where a version stands."
        title = name.capitalize()
        lines += [f'<a id="{anchor}"></a>', "", f"## {title}", "", said, "", *_table(wanted), ""]
    return "\n".join(lines)


def _table(wanted: type) -> Iterator[str]:
    said, defaults = meanings(wanted), _defaults(wanted)
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, kind in settings_fields(wanted).items():
        key = public_name(name)
        default = _shown_default(name, defaults[name])
        yield f"| `{key}` | {_kind(name, kind)} | {default} | {_cell(said[key])} |"


def _defaults(wanted: type) -> Defaults:
    if not is_dataclass(wanted):
        return {name: getattr(Config(), name) for name in settings_fields(wanted)}
    found: dict[str, Any] = {}
    for each in fields(wanted):
        if each.default_factory is not MISSING:
            found[each.name] = each.default_factory()
        else:
            found[each.name] = each.default
    return found


def _shown_default(name: str, value: Any) -> str:
    if value is MISSING:
        return "required"
    if name.endswith(DURATION_SUFFIX):
        several = value if isinstance(value, tuple) else (value,)
        text = ", ".join(format_duration(each) for each in several)
        return f"`[{text}]`" if isinstance(value, tuple) else f"`{text}`"
    if isinstance(value, FalseAlarms):
        return f"`{format_rate(value.count, value.period_ms)}`"
    if isinstance(value, SecretSource):
        at = value.file or value.env
        return f"{'file' if value.file else 'variable'} `{at}`" if at else "none"
    if isinstance(value, VersionMark):
        return f"`{value.form}` at `{value.at}`"
    if is_dataclass(value):
        return "see below"
    return _plain_default(value)


def _plain_default(value: Any) -> str:
    if isinstance(value, tuple | list):
        if any(is_dataclass(each) for each in value):
            return "see below"
        said = ", ".join(_scalar(each) for each in value)
        return f"`[{said}]`" if value else "none"
    if isinstance(value, Mapping):
        return "none" if not value else f"`{dict(value)}`"
    return f"`{_scalar(value)}`" if value != "" else "none"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, str):
        return f'"{value}"' if re.fullmatch(r"[\w./:{}@ -]*", value) is None else value
    return f"{value:_}" if isinstance(value, int) and value >= 10_000 else str(value)


def _kind(name: str, kind: Any) -> str:
    several = [each for each in members(kind) if each is not types.NoneType]
    if name.endswith(DURATION_SUFFIX):
        return "list of durations" if _is_list(kind) else "duration"
    said = " or ".join(_one_kind(each) for each in several)
    for ending, unit in (("_bytes", "bytes"), ("_days", "days")):
        if name.endswith(ending):
            return f"{said}, {unit}"
    return said


_WORDS: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    SecretStr: "text",
    FalseAlarms: "rate",
}


def _one_kind(kind: Any) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    if kind in RECURRING:
        name, anchor = RECURRING[kind]
        return f"[{name}](#{anchor})"
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{each.value}`" for each in kind)
    if is_dataclass(kind):
        return "section"
    if _is_list(kind):
        inner = next(part for part in get_args(kind) if part is not Ellipsis)
        return "list of sections" if is_dataclass(inner) else f"list of {_one_kind(inner)}"
    if isinstance(get_origin(kind), type) and issubclass(get_origin(kind), Mapping):
        key, value = get_args(kind)
        return f"mapping of {_one_kind(key)} to {_one_kind(value)}"
    raise AssertionError(f"no words for {kind}")


def _is_list(kind: Any) -> bool:
    return any(
        isinstance(origin := get_origin(each), type) and issubclass(origin, Sequence | AbstractSet)
        for each in members(kind)
    )


def _listed_defaults(path: str) -> str:
    """The default of a list of sections, as YAML; "" if it has none."""
    found: Any = yaml.safe_load(effective_yaml(Config()))
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            return ""
        found = found[name]
    if not isinstance(found, list) or not found or not isinstance(found[0], dict):
        return ""
    text: str = yaml.safe_dump(found, sort_keys=False, width=100, default_flow_style=None)
    return text


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

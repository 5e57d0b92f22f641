"""What KServe's published models say of an object: names, kinds of values, what must be there.

The models are generated from KServe's own schema. They are read as text and not imported, as that
takes a client of Kubernetes; its classes (pods' parts, metadata) are not looked into.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_REQUIRED: Final = re.compile(r"Invalid value for `(\w+)`, must not be `None`")
_PLAIN: Final[Mapping[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
}


@dataclass(frozen=True, slots=True)
class Model:
    """A class of them: its fields by their names in JSON, with their types."""

    fields: Mapping[str, str]
    required: frozenset[str]


def read_models(folder: Path) -> dict[str, Model]:
    """All models in ``folder``, by the names of their classes."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                tables = {
                    target.id: ast.literal_eval(each.value)
                    for each in node.body
                    if isinstance(each, ast.Assign)
                    for target in each.targets
                    if isinstance(target, ast.Name)
                }
                names = tables["attribute_map"]
                found[node.name] = Model(
                    {names[key]: kind for key, kind in tables["openapi_types"].items()},
                    frozenset(names[key] for key in _REQUIRED.findall(text)),
                )
    return found


def complaints(
    value: Any, kind: str, models: Mapping[str, Model], where: str = "$"
) -> Iterator[str]:
    """What is wrong with ``value`` as a ``kind``."""
    inside = re.fullmatch(r"(list|dict)[\[(](?:str, )?(.+)[\])]", kind)
    if inside is not None:
        several, each = inside.groups()
        if not isinstance(value, list if several == "list" else dict):
            yield f"{where}: not a {several}"
            return
        items = enumerate(value) if isinstance(value, list) else value.items()
        for key, item in items:
            yield from complaints(item, each, models, f"{where}.{key}")
    elif kind in _PLAIN:
        if isinstance(value, bool) is not (kind == "bool") or not isinstance(value, _PLAIN[kind]):
            yield f"{where}: not of type {kind}"
    elif (model := models.get(kind)) is not None:
        if not isinstance(value, dict):
            yield f"{where}: not an object"
            return
        yield from (f"{where}: {name} is missing" for name in sorted(model.required - set(value)))
        for name, item in value.items():
            if name not in model.fields:
                yield f"{where}: {name} is not known"
            else:
                yield from complaints(item, model.fields[name], models, f"{where}.{name}")

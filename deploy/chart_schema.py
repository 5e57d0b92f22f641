"""The chart's schema of `config`, made from that of driftline's own configuration.

All else in values.schema.json is written by hand. What the chart sets itself is refused under
`config`, and so is every key that driftline does not know: at `helm template`, with the path of the
key, and not by pods that do not start.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any, Final

SET_BY_CHART: Final[Mapping[str, tuple[str, ...]]] = {
    "KafkaSettings": ("bootstrap",),
    "StoreSettings": ("url", "password", "password_file", "reader_password_file", "ca_file"),
    "ServeSettings": ("host", "port", "token_file", "tls_cert_file", "tls_key_file"),
}
"""Keys that come from other values of the chart, or from Secrets, by the class that has them."""

SECTIONS_OF_CHART: Final = ("metrics",)
"""Sections of the configuration that the chart sets as a whole."""

BOUNDS: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "KafkaSettings": {
        "partitions": {"minimum": 1, "maximum": 1000},
        "replication": {"minimum": 1, "maximum": 3},
        "prefix": {"pattern": "^[A-Za-z0-9._-]{0,100}$"},
    }
}
"""Bounds that a schema can say and a wrong value of which would show late in a cluster."""


def chart_schema(chart: str, configuration: str) -> str:
    """The text of values.schema.json with `config` as ``configuration`` (a JSON Schema) says.

    In the words of draft 7, which older versions of helm know too: there, what stands beside a
    reference counts for nothing, so what is changed is changed in the definitions.
    Raises KeyError if a key that is named above is not one of the configuration.
    """
    values, whole = json.loads(chart), json.loads(configuration)
    definitions = _moved(copy.deepcopy(whole["$defs"]))
    for name, keys in SET_BY_CHART.items():
        for key in keys:
            _known(definitions[name]["properties"], key)
            definitions[name]["properties"][key] = False
    for name, bounds in BOUNDS.items():
        for key, bound in bounds.items():
            definitions[name]["properties"][key] |= bound
    properties = _moved(whole["properties"])
    for key in SECTIONS_OF_CHART:
        _known(properties, key)
        properties[key] = False
    properties["inputs"] |= {"minItems": 1}
    values["properties"]["config"] = {
        "type": "object",
        "description": "driftline's own configuration, less what the chart sets."
        " Made by `python -m deploy.generate`, as are the definitions.",
        "additionalProperties": False,
        "properties": properties,
    }
    values["definitions"] = definitions
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _known(properties: Mapping[str, Any], key: str) -> None:
    if key not in properties:
        raise KeyError(f"{key} is no key of the configuration: correct deploy/chart_schema.py")


def _moved(schema: Any) -> Any:
    """The same with references to `definitions`, which is what draft 7 calls `$defs`."""
    if isinstance(schema, list):
        return [_moved(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value.replace("#/$defs/", "#/definitions/") if key == "$ref" else _moved(value)
        for key, value in schema.items()
    }

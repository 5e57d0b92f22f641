"""What happens to a query on its way to ClickHouse: Grafana's variables, then the plugin's macros.

Follows grafana/clickhouse-datasource ``pkg/macros/macros.go`` for the macros that boards and rules
use, and Grafana's ``percentencode`` for variables. With this every query can be run, and measured,
on the engine itself without a Grafana.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

_VARIABLE = re.compile(r"\$\{([a-z_]+)(?::([a-z]+))?\}")
_MACRO = re.compile(r"\$__([a-zA-Z_]+)(?:\(([^()]*)\))?")


class UnknownMacro(ValueError):
    """A query uses a macro or a variable that is not known here."""


@dataclass(frozen=True, slots=True)
class Range:
    """What the viewer looks at: epoch milliseconds, and the width of a point on the panel."""

    from_ms: int
    to_ms: int
    interval_ms: int = 60_000


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """Fill in ``${name:percentencode}``. Raises UnknownMacro for other names and formats.

    >>> interpolate("'${model:percentencode}'", {"model": "it's"})
    "'it%27s'"
    """

    def value(match: re.Match[str]) -> str:
        name, format_ = match.groups()
        if name not in values or format_ != "percentencode":
            raise UnknownMacro(f"variable {match[0]}")
        return quote(values[name], safe="-_.~")

    return _VARIABLE.sub(value, text)


def expand(text: str, seen: Range) -> str:
    """Expand the plugin's macros. Raises UnknownMacro for one that is not among those used here.

    >>> expand("WHERE $__timeFilter(ts)", Range(60_000, 120_000))
    'WHERE ts >= toDateTime(60) AND ts <= toDateTime(120)'
    """
    from_s, to_s = f"toDateTime({seen.from_ms // 1000})", f"toDateTime({seen.to_ms // 1000})"
    interval_s = max(seen.interval_ms // 1000, 1)

    def macro(match: re.Match[str]) -> str:
        name, argument = match[1], (match[2] or "").strip()
        match name, bool(argument):
            case "timeFilter", True:
                return f"{argument} >= {from_s} AND {argument} <= {to_s}"
            case "timeInterval", True:
                return f"toStartOfInterval(toDateTime({argument}), INTERVAL {interval_s} second)"
            case "fromTime", False:
                return from_s
            case "toTime", False:
                return to_s
            case "interval_s", False:
                return str(interval_s)
            case _:
                raise UnknownMacro(f"macro {match[0]}")

    return _MACRO.sub(macro, text)

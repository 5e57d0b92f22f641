"""Queries as Grafana's ClickHouse data source reads them, and the SQL that goes into them.

The library that writes dashboards has no query type for ClickHouse, so it is here: the fields are
those of the plugin's own type (grafana/clickhouse-datasource, ``src/types/sql.ts``, 4.20).

**Names from outside stay data.** A model may be called ``x' OR 1=1 --`` or end in a backslash, and
Grafana's own quoting formats know nothing of ClickHouse's backslashes. So every variable goes into
SQL percent-encoded, where neither quotes nor backslashes are left, and is decoded by ClickHouse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import DataSourceRef

PLUGIN: Final = "grafana-clickhouse-datasource"
PLUGIN_VERSION: Final = "4.20.0"
BOARD_SOURCE: Final = DataSourceRef(type_val=PLUGIN, uid="${datasource}")
"""Boards name their data source by variable, so that one board serves several."""

VARIABLES: Final = ("model", "version", "role", "segment", "window", "column", "filter")

_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")


class Format(IntEnum):
    """How the plugin turns rows into frames."""

    TIME_SERIES = 0
    """Long rows ordered by ``time``; text columns become the labels of series."""
    TABLE = 1


def sql(text: str, database: str) -> str:
    """Fill a query in: ``{db}`` is the database, ``{model}`` and so on are variables of the board.

    Raises KeyError for a name that is neither: a typing error must not reach Grafana.

    >>> sql("SELECT 1 FROM {db}.findings WHERE model = {model}", "driftline")
    "SELECT 1 FROM driftline.findings WHERE model = decodeURLComponent('${model:percentencode}')"
    """
    values = {name: f"decodeURLComponent('${{{name}:percentencode}}')" for name in VARIABLES}
    # A number from the address bar may be anything as well.
    values["window"] = "toUInt32OrZero('${window:percentencode}')"
    values["db"] = database
    filled = _PLACEHOLDER.sub(lambda match: values[match[1]], text)
    return "\n".join(line.strip() for line in filled.strip().splitlines())


@dataclass(slots=True)
class ClickHouseQuery(Dataquery, Builder[Dataquery]):
    """One target of a panel, an annotation or a rule."""

    raw_sql: str
    format: Format
    ref_id: str = "A"
    source: DataSourceRef = field(default_factory=lambda: BOARD_SOURCE)

    def build(self) -> Dataquery:
        return self

    def to_json(self) -> dict[str, Any]:
        series = self.format is Format.TIME_SERIES
        return {
            "refId": self.ref_id,
            "datasource": {"type": self.source.type_val, "uid": self.source.uid},
            "editorType": "sql",
            "queryType": "timeseries" if series else "table",
            "format": int(self.format),
            "pluginVersion": PLUGIN_VERSION,
            "rawSql": self.raw_sql,
            "meta": {},
        }

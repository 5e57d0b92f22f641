"""The audit trail, read back from the store in pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sinks.audit import AuditRow
from sinks.finding_history import Ask
from sinks.schema import AUDIT, DATABASE

PAGE: Final = 5_000

_COLUMNS: Final = ", ".join(
    "toUnixTimestamp64Milli(at)" if name == "at" else f"`{name}`" for name in AUDIT.column_names
)


def read_audit(ask: Ask, chain: str = "", database: str = DATABASE) -> Iterator[AuditRow]:
    """Rows in the order of (chain, sequence): of one chain, or of all."""
    table = f"`{database.replace('`', '')}`.{AUDIT.name}"
    after_chain, after = "", 0
    while True:
        only = " AND chain = {chain:String}" if chain else ""
        sql = (
            f"SELECT {_COLUMNS} FROM {table} FINAL"  # noqa: S608 - values are bound
            " WHERE (chain, sequence) > ({after_chain:String}, {after:UInt64})"
            f"{only} ORDER BY chain, sequence LIMIT {PAGE}"
        )
        parameters: dict[str, Any] = {"after_chain": after_chain, "after": after}
        if chain:
            parameters["chain"] = chain
        rows = ask(sql, parameters)
        for values in rows:
            row = AuditRow(*values)
            after_chain, after = row.chain, row.sequence
            yield row
        if len(rows) < PAGE:
            return

"""Everything the store knows of one release, for `driftline evidence`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sinks.audit import AuditRow, verify
from sinks.audit_history import read_audit
from sinks.finding_history import Ask
from streams.config_view import effective_yaml
from streams.judged_by import JudgedBy, configuration_name
from streams.store_question import table_of

if TYPE_CHECKING:
    from streams.config import Config

MOST_ROWS: Final = 20_000
MOST_COLUMNS: Final = 12

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EvidenceCase:
    """``verdicts`` and ``findings`` in the order of time; ``latest`` the newest finding of each
    deciding check; ``windows`` how much data there was; ``audit`` the rows about this version.
    ``config`` is the whole configuration of whoever asks; ``configurations`` those that verdicts
    were judged with: hash, text ("" if it is not stored), whether the text has that hash, whether
    it is the present one, and of how many verdicts. Times are epoch milliseconds."""

    model: str
    version: str
    made_ms: int
    config: str
    config_sha256: str
    configurations: tuple[Row, ...]
    verdicts: tuple[Row, ...]
    findings: tuple[Row, ...]
    latest: tuple[Row, ...]
    windows: tuple[Row, ...]
    actions: tuple[Row, ...]
    references: tuple[Row, ...]
    intake: tuple[Row, ...]
    audit: tuple[AuditRow, ...]
    audit_rows: int
    audit_breaks: tuple[str, ...]


def read_case(config: Config, ask: Ask, model: str, version: str, now_ms: int) -> EvidenceCase:
    """Ask for all of it. Every name is a bound parameter."""
    store = config.store
    names = {"model": model, "version": version}
    where = "WHERE model = {model:String} AND version = {version:String}"

    def rows(columns: str, table: str, rest: str) -> tuple[Row, ...]:
        selected = ", ".join(_selected(name) for name in columns.split())

        sql = f"SELECT {selected} FROM {table_of(store, table)} FINAL {rest} LIMIT {MOST_ROWS}"  # noqa: S608
        return _rows(columns.split(), ask(sql, names))

    verdicts = rows(
        "role as_of sequence status reason window_start window_ms baseline_version events"
        " upstream configuration reference offset",
        "verdicts",
        f"{where} ORDER BY as_of, sequence",
    )
    finding = (
        "role segment column window_ms window_start window_end detector against revision statistic"
        " threshold n n_against outcome reason critical effect effect_low effect_high direction"
        " onset offset"
    )
    findings = rows(finding, "findings", f"{where} AND decides ORDER BY window_start, column")
    newest: dict[tuple[Any, ...], Row] = {}
    for row in findings:
        key = tuple(row[k] for k in ("role", "segment", "column", "window_ms", "detector"))
        newest[key] = row
    windows = rows(
        "role segment column window_ms window_start reference n events nulls errors mean sd p50"
        " p95 p99 offset",
        "windows",
        f"{where} AND segment = 'all' ORDER BY window_start, window_ms, column",
    )
    audited = tuple(read_audit(ask, model, store.database))
    checked = verify(audited)
    text = effective_yaml(config)
    used = {row["reference"] for row in (*windows, *verdicts)}
    references = rows(
        "reference origin rows columns effective_from",
        "references",
        "WHERE model = {model:String} ORDER BY effective_from",
    )
    return EvidenceCase(
        model=model,
        version=version,
        made_ms=now_ms,
        config=text,
        config_sha256=configuration_name(text),
        configurations=_configurations(ask, config, model, verdicts),
        verdicts=verdicts,
        findings=findings,
        latest=tuple(newest[key] for key in sorted(newest, key=str)),
        windows=windows,
        actions=rows(
            "action_key step kind role return_to receiver state attempt reason detail at",
            "actions",
            f"{where} ORDER BY at, action_key, receiver, step",
        ),
        references=tuple({**row, "used": row["reference"] in used} for row in references),
        intake=_intake(ask, config),
        audit=tuple(row for row in audited if row.version in ("", version)),
        audit_rows=checked.rows,
        audit_breaks=tuple(f"row {each.sequence}: {each.what}" for each in checked.breaks),
    )


def _configurations(
    ask: Ask, config: Config, model: str, verdicts: Sequence[Row]
) -> tuple[Row, ...]:
    """What the verdicts were judged with, in the order of the first verdict of each."""
    named = Counter(str(row["configuration"]) for row in verdicts)
    table = table_of(config.store, "configurations")
    sql = (
        f"SELECT configuration, content FROM {table} FINAL"  # noqa: S608 - values are bound
        " WHERE has({names:Array(String)}, configuration)"
    )
    kept = {str(name): str(text) for name, text in ask(sql, {"names": [n for n in named if n]})}
    present = JudgedBy(config).settings(model).configuration
    return tuple(
        {
            "configuration": name,
            "verdicts": count,
            "present": name == present,
            "genuine": name in kept and configuration_name(kept[name]) == name,
            "content": kept.get(name, ""),
        }
        for name, count in named.items()
    )


def _intake(ask: Ask, config: Config) -> tuple[Row, ...]:
    """Which offsets of which partitions have been read, so that they can be read again."""
    columns = "topic partition first_offset last_offset messages events dead late capped"
    sql = (
        "SELECT topic, partition, min(first_offset), max(last_offset), sum(messages), sum(events),"  # noqa: S608
        f" sum(dead), sum(late), sum(capped) FROM {table_of(config.store, 'intake')} FINAL"
        f" GROUP BY topic, partition ORDER BY topic, partition LIMIT {MOST_ROWS}"
    )
    return _rows(columns.split(), ask(sql, {}))


TIMES: Final = frozenset({"as_of", "window_start", "window_end", "onset", "at", "effective_from"})


def _selected(name: str) -> str:
    return f"toUnixTimestamp64Milli(`{name}`)" if name in TIMES else f"`{name}`"


def _rows(names: Sequence[str], found: Sequence[Sequence[Any]]) -> tuple[Row, ...]:
    return tuple(dict(zip(names, values, strict=True)) for values in found)

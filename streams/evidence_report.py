"""One release as one HTML page that loads nothing, and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from html import escape
from typing import Any, Final

from detectors.action import printable
from sinks.finding_history import iso
from streams.evidence_case import TIMES, EvidenceCase
from streams.evidence_plot import effect_intervals, evidence_lines, verdict_bar

MOST_LISTED: Final = 200
_STYLE: Final = (
    "body{font:14px/1.45 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem;font-size:12px;width:100%}"
    "td,th{border:1px solid #ddd;padding:.2rem .4rem;text-align:left;vertical-align:top;"
    "overflow-wrap:anywhere}th{background:#f4f5f7}pre{background:#f4f5f7;padding:1rem;"
    "overflow:auto;font-size:12px}svg{max-width:100%;height:auto}"
)


def as_json(case: EvidenceCase) -> str:
    """Everything of the case; what is not a finite number is null, times are ISO 8601 UTC."""
    body = {name: _plain(value, name) for name, value in asdict(case).items()}
    body["made_at"] = iso(body.pop("made_ms"))
    return json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_html(case: EvidenceCase) -> str:
    """The page. Every text of it that comes from outside is escaped."""
    title = f"{printable(case.model, 100)} {printable(case.version, 100)}"
    chain = (
        f"The audit trail of the model holds: {case.audit_rows} rows follow one another."
        if not case.audit_breaks
        else "The audit trail is broken: " + "; ".join(case.audit_breaks[:10])
    )
    parts = [
        f"<h1>Evidence for {escape(title)}</h1>",
        f"<p>Made at {iso(case.made_ms)}. {escape(_summary(case))}</p>",
        "<h2>Verdicts</h2>",
        verdict_bar(case.verdicts),
        _table(
            _edges(case.verdicts),
            "as_of role status reason events baseline_version sequence offset configuration"
            " reference",
        ),
        "<h2>What was compared, and how it was decided</h2>",
        "<p>Each line is one check: its statistic over its limit; above 1 it fails.</p>",
        evidence_lines(case.findings),
        effect_intervals(case.latest),
        _table(
            case.latest,
            "column segment detector against window_ms window_end outcome statistic threshold n"
            " n_against effect effect_low effect_high reason",
        ),
        "<h2>Data behind it</h2>",
        _table(
            _newest_windows(case.windows),
            "role column window_ms window_start n nulls errors mean p50 p95 p99 reference",
        ),
        "<h2>Actions</h2>",
        _table(case.actions, "at kind receiver state attempt return_to reason detail action_key"),
        "<h2>Audit trail</h2>",
        f"<p>{escape(chain)}</p>",
        _table(
            [asdict(row) for row in case.audit if row.kind != "verdict"],
            "at kind role subject by body sequence hash",
        ),
        "<h2>References</h2>",
        "<p>The name of a reference is the hash of its content.</p>",
        _table(case.references, "reference origin rows columns effective_from used"),
        "<h2>Offsets that were read</h2>",
        "<p>Reading the same offsets again with the same configuration and reference gives the"
        " same verdicts.</p>",
        _table(
            case.intake,
            "topic partition first_offset last_offset messages events dead late capped",
        ),
        *_judged_with(case),
        "<h2>Configuration in effect now</h2>",
        f"<p>The whole of it, SHA-256 {case.config_sha256}; secrets are masked.</p>",
        f"<pre>{escape(case.config)}</pre>",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="content-security-policy" content="default-src \'none\';'
        " style-src 'unsafe-inline'\">"
        f"<title>Evidence for {escape(title)}</title><style>{_STYLE}</style></head><body>"
        + "".join(parts)
        + "</body></html>\n"
    )


def _judged_with(case: EvidenceCase) -> list[str]:
    """The settings that the verdicts name by their hash, and whether they hold today."""
    parts = [
        "<h2>Settings that the verdicts were judged with</h2>",
        "<p>A verdict and its row in the audit trail name them by the SHA-256 of their text.</p>",
    ]
    for each in case.configurations:
        name = each["configuration"] or "not written down, by an older version"
        now = "the present ones" if each["present"] else "NOT the present ones"
        parts.append(f"<h3>{escape(name)}</h3><p>{each['verdicts']} verdicts; {now}.</p>")
        if each["genuine"]:
            parts.append(f"<pre>{escape(each['content'])}</pre>")
        elif each["content"]:
            parts.append("<p>The text that is stored does not have this hash: it was changed.</p>")
        else:
            parts.append("<p>Their text is not stored.</p>")
    return parts


def _summary(case: EvidenceCase) -> str:
    if not case.verdicts:
        return "No verdict on it is stored."
    last = case.verdicts[-1]
    return (
        f"The last of {len(case.verdicts)} verdicts is {last['status']} ({last['reason']}), after"
        f" {last['events']} events; {len(case.latest)} checks decide."
    )


def _edges(verdicts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The verdicts at which the answer changed, and the last one of each role."""
    shown: list[Mapping[str, Any]] = []
    last: dict[str, Mapping[str, Any]] = {}
    for row in verdicts:
        known = last.get(row["role"])
        if known is None or known["status"] != row["status"]:
            shown.append(row)
        last[row["role"]] = row
    shown += [row for row in last.values() if row not in shown]
    return sorted(shown, key=lambda row: (row["as_of"], row["sequence"]))


def _newest_windows(windows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    newest = {(row["role"], row["column"], row["window_ms"]): row for row in windows}
    return [newest[key] for key in sorted(newest)]


def _table(rows: Sequence[Mapping[str, Any]], columns: str) -> str:
    if not rows:
        return "<p>Nothing is stored.</p>"
    names = columns.split()
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(name, row[name])}</td>" for name in names) + "</tr>"
        for row in rows[-MOST_LISTED:]
    )
    left = len(rows) - MOST_LISTED
    more = f"<p>The newest {MOST_LISTED} of {len(rows)}; all are in the JSON.</p>"
    return f"<table><tr>{head}</tr>{body}</table>" + (more if left > 0 else "")


def _cell(name: str, value: Any) -> str:
    if name in TIMES:
        return iso(int(value)) if value else ""
    if isinstance(value, float):
        return f"{value:.5g}" if math.isfinite(value) else ""
    return "" if value is None else escape(printable(str(value), 600))


def _plain(value: Any, name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part, str(key)) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if name in TIMES and isinstance(value, int):
        return iso(value) if value else None
    return value

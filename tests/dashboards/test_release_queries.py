"""The board of a release shows the evidence of one version in one role."""

from __future__ import annotations

import pytest

from dashboards.macros import Range
from sinks.clickhouse import insert
from sinks.embedded_store import EmbeddedStore
from sinks.schema import DATABASE, FINDINGS, VERDICTS
from tests.dashboards.asking import VALUES, rows_of
from tests.dashboards.conftest import RecordingLine

EVIDENCE = (
    "Difference of $column",
    "Difference of the error rate",
    "Difference of slow answers",
    "Evidence of harm",
    "Newest findings of this version",
)
CANARY = {**VALUES, "column": "scores.quality"}


@pytest.mark.parametrize("title", EVIDENCE)
def test_evidence_of_a_version_in_another_role_stays_out(
    filled: EmbeddedStore, recorded: RecordingLine, seen: Range, title: str
) -> None:
    """A version that was a shadow before it became the canary has two courses of evidence."""
    name = f"driftline-release / panel / {title}"
    before = rows_of(filled, seen, name, CANARY)
    assert before
    of_canary = [
        row
        for row in recorded.rows[FINDINGS]
        if (row["model"], row["version"], row["role"]) == ("fraud", "2", "canary")
        and row["against"].startswith("production")
    ]
    as_shadow = [
        {**row, "role": "shadow", "statistic": 0.5, "effect": 7.0, "effect_low": 6.0,
         "effect_high": 8.0, "revision": row["revision"] + 1}
        for row in of_canary
    ]  # fmt: skip
    insert(filled.client, FINDINGS, as_shadow, database=DATABASE)
    assert rows_of(filled, seen, name, CANARY) == before
    shadow = rows_of(filled, seen, name, {**CANARY, "role": "shadow"})
    assert shadow
    assert shadow != before


def test_of_the_roles_of_a_version_the_one_seen_last_comes_first(
    filled: EmbeddedStore, recorded: RecordingLine, seen: Range
) -> None:
    like = next(row for row in recorded.rows[VERDICTS] if row["model"] == "fraud")
    for at, role in enumerate(("production", "shadow", "canary", "variant")):
        row = {**like, "version": "7", "role": role, "as_of": like["as_of"] + 1000 * at}
        insert(filled.client, VERDICTS, [row], database=DATABASE)
    name = "driftline-release / variable / role"
    shown = rows_of(filled, seen, name, {**VALUES, "version": "7"})
    assert [row["role"] for row in shown] == ["variant", "canary", "shadow", "production"]

"""How releases stand: their newest verdicts with what a rollback makes of them, and incidents."""

from __future__ import annotations

from typing import Final

SHARE: Final = "statistic / threshold"
"""How close a finding is to what fails it: 1 is reached. For drift by evidence the threshold is the
false-alarm budget itself."""

ROLLED_BACK: Final = """
    SELECT model, version, role, argMax(return_to, changed_at) AS back,
    argMax(reason, changed_at) AS found, max(changed_at) AS done
    FROM {db}.rollbacks FINAL WHERE state IN ('acknowledged', 'verified')
    GROUP BY model, version, role
"""
"""Releases that a deployer has rolled back: from then on silence is what everybody expects."""

_NOTE: Final = (
    "concat('rolled back to ', r.back, ' at ', formatDateTime(r.done, '%Y-%m-%d %H:%i:%S'), ' UTC')"
)

STANDINGS: Final = f"""
    SELECT v.* REPLACE (
    if(v.status = 'blind' AND r.back != '', 'fail', v.status) AS status,
    multiIf(r.back = '', v.reason, v.status = 'blind',
    concat(r.found, '; ', {_NOTE}, '; ', v.reason), concat(v.reason, '; ', {_NOTE})) AS reason)
    FROM (SELECT * FROM {{db}}.newest_verdicts FINAL) AS v
    LEFT JOIN ({ROLLED_BACK}) AS r USING (model, version, role)
"""  # noqa: S608 - our own text
"""The newest verdict of every release. One that was rolled back and fell silent is still the one
that failed: not blind, which would ask people to look for what is not there."""

OPEN_INCIDENTS: Final = """
    SELECT model, version, role, sum(i.pages) AS open, min(i.opened_at) AS since,
    argMin(i.cause, i.opened_at) AS told_as, argMin(i.severity, i.opened_at) AS severity,
    argMin(i.team, i.opened_at) AS owner, argMin(i.taken_by, i.opened_at) AS taken_up_by,
    argMin(i.reason, i.opened_at) AS why
    FROM {db}.incidents AS i FINAL WHERE i.state = 'open' AND i.cause != 'nothing'
    GROUP BY model, version, role
"""
"""Releases with an incident that people know of and that has not ended."""

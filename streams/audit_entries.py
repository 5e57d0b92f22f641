"""What the audit trail says of one step of deliver: pure, from the state before and after."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import msgspec

from detectors.action import Action, ActionKind
from detectors.incident import Cause, Incident, ModelPolicy
from detectors.release import Release
from detectors.trouble import Trouble
from detectors.verdict import Verdict
from sinks.audit import Entry
from sinks.commands import Command
from streams.outbox import ActionRow


def of_verdict(verdict: Verdict) -> Entry:
    """A verdict that was taken in. Its findings are in the store and on the topic; the digest says
    which they were, the offset which record of ``summaries`` led to it, and two hashes by which
    configuration and reference it was judged."""
    findings = hashlib.sha256(msgspec.json.encode(verdict.findings)).hexdigest()
    return Entry(
        "verdict",
        verdict.release.version,
        verdict.release.role.value,
        subject=f"{verdict.release.role.value}/{verdict.sequence}",
        by="judge",
        body={
            "status": verdict.status.value,
            "reason": verdict.reason,
            "sequence": verdict.sequence,
            "as_of_ms": verdict.as_of_ms,
            "window_start_ms": verdict.window_start_ms,
            "window_ms": verdict.window_ms,
            "baseline": verdict.baseline_version,
            "events": verdict.events,
            "offset": verdict.offset,
            "upstream": list(verdict.upstream),
            "findings_sha256": findings,
            "configuration": verdict.configuration,
            "reference": verdict.reference,
        },
    )


def of_command(command: Command, outcome: str) -> Entry:
    """A command that was taken in. ``outcome``: why it changed nothing, "" if it did."""
    body = msgspec.to_builtins(command)
    known = {"type", "id", "model", "by", "version", "role"}
    return Entry(
        f"command.{body['type']}",
        str(body.get("version", "")),
        str(body.get("role", "")),
        subject=command.id,
        by=command.by,
        body={k: v for k, v in body.items() if k not in known} | {"outcome": outcome or "taken"},
    )


def of_change(
    before: ModelPolicy,
    after: ModelPolicy,
    actions: Sequence[Action],
    rows: Sequence[ActionRow],
    team: str = "",
) -> Iterator[Entry]:
    """Incidents, rollbacks, actions and deliveries, in this order. ``team`` owns the model."""
    yield from _incidents(before, after, team)
    yield from _rollbacks(before, after)
    for action in actions:
        yield _action(action)
    for row in rows:
        yield Entry(
            f"delivery.{row.state.value}",
            row.version,
            row.role,
            subject=row.action_key,
            by=row.receiver,
            body={
                "kind": row.kind.value,
                "step": row.step,
                "attempt": row.attempt,
                "detail": row.detail,
            },
        )


def of_troubles(
    before: Sequence[Trouble], after: Sequence[Trouble], team: str = ""
) -> Iterator[Entry]:
    """Incidents that no verdict opened, in the form of all others: told once when they open."""
    was, now = {each.key for each in before}, {each.key for each in after}
    for each in after:
        if each.key not in was:
            yield _trouble("incident.opened", each, team)
    for each in before:
        if each.key not in now:
            yield _trouble("incident.closed", each, team)


def _trouble(kind: str, trouble: Trouble, team: str) -> Entry:
    incident = Incident(
        trouble.key,
        trouble.opened_ms,
        Cause.NOTHING,
        False,
        trouble.reason,
        (),
        group=trouble.group,
        severity=trouble.severity,
        pages=1,
    )
    return _incident(kind, trouble.release, incident, team, trouble.kind.value)


def _incidents(before: ModelPolicy, after: ModelPolicy, team: str) -> Iterator[Entry]:
    """Each entry has everything that is known of its incident: the table ``incidents`` keeps the
    newest one (deploy/sql/0005_incidents.sql)."""
    if before.watched == after.watched:
        return
    was = {seen.release: seen.incident for seen in before.watched}
    for seen in after.watched:
        old, new = was.pop(seen.release, None), seen.incident
        if new is not None and (old is None or old.key != new.key):
            yield _incident("incident.opened", seen.release, new, team)
        elif old is not None and new is None:
            yield _incident("incident.closed", seen.release, old, team)
        elif old is not None and new is not None:
            if old.silenced_by != new.silenced_by:
                kind = "incident.silenced" if new.silenced_by else "incident.unsilenced"
                yield _incident(kind, seen.release, new, team)
            elif _told(old) != _told(new):
                yield _incident("incident.told", seen.release, new, team)
        if old is None and new is not None and new.silenced_by:
            yield _incident("incident.silenced", seen.release, new, team)
    for release, old in was.items():
        if old is not None:
            # There were too many releases: nobody will see its end.
            yield _incident("incident.forgotten", release, old, team)


def _told(incident: Incident) -> tuple[object, ...]:
    """What an incident's row shows and its reason does not: the newest reason is in the verdict."""
    return incident.paged, incident.severity, incident.pages, incident.group, incident.taken_ms


def _incident(kind: str, release: Release, incident: Incident, team: str, told: str = "") -> Entry:
    return Entry(
        kind,
        release.version,
        release.role.value,
        subject=incident.group or incident.key,
        by="policy",
        body={
            "incident": incident.key,
            "reason": incident.reason,
            "opened_ms": incident.opened_ms,
            "told": told or incident.paged.name.lower(),
            "severity": "" if incident.severity is None else incident.severity.value,
            "team": team,
            "pages": incident.pages,
            "taken_by": incident.taken_by,
            "taken_ms": incident.taken_ms,
            "flapping": incident.flapping,
            "silenced_by": list(incident.silenced_by),
        },
    )


def _rollbacks(before: ModelPolicy, after: ModelPolicy) -> Iterator[Entry]:
    if before.cases == after.cases:
        return
    was = {case.key: case.revision for case in before.cases}
    for case in after.cases:
        if was.get(case.key) == case.revision:
            continue
        yield Entry(
            f"rollback.{case.state.value}",
            case.release.version,
            case.release.role.value,
            subject=case.key,
            by=case.by,
            body={
                "return_to": case.return_to,
                "revision": case.revision,
                "waits_for": case.waits_for.value,
                "verdict_sequence": case.sequence,
                "reason": case.reason,
            },
        )


def _action(action: Action) -> Entry:
    body: dict[str, object] = {
        "note": action.note,
        "severity": action.severity.value,
        "audience": action.audience.value,
        "incident": action.incident_key,
    }
    if action.kind is ActionKind.ROLLBACK:
        body |= {"return_to": action.return_to, "dry_run": action.dry_run}
        body["evidence"] = [asdict(exhibit) for exhibit in action.evidence]
    return Entry(
        f"action.{action.kind.value}",
        action.release.version,
        action.release.role.value,
        subject=action.key,
        by="policy",
        body=body,
    )

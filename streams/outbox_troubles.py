"""Incidents of deliveries that end without an acknowledgement."""

from __future__ import annotations

from typing import assert_never

from detectors.action import ActionKind
from detectors.incident import ModelPolicy
from detectors.trouble import TroubleKind
from sinks.receivers import Routes
from streams.outbox import ActionRow, Outbox, end_trouble
from streams.outbox_settings import OutboxSettings


def end_over(
    box: Outbox,
    known: ModelPolicy,
    answering: frozenset[str],
    routes: Routes,
    settings: OutboxSettings,
    now_ms: int,
) -> tuple[Outbox, tuple[ActionRow, ...]]:
    """End the incidents of deliveries that are over: nobody tries to roll back any more, and the
    release's own incident has ended; or the receiver is among those that are ``answering`` (what
    another model told it), or is not configured any more."""
    rows: tuple[ActionRow, ...] = ()
    for trouble in box.troubles:
        reason = trouble.reason
        match trouble.kind:
            case TroubleKind.UNDELIVERED:
                seen = known.of(trouble.release)
                tried = any(entry.action.key == trouble.about for entry in box.entries)
                over = not tried and (seen is None or seen.incident is None)
                note = "the incident of the release is over"
            case TroubleKind.RECEIVER_GONE:
                answers = trouble.about in answering
                over = answers or all(trouble.about not in routes.of(k) for k in ActionKind)
                note = "it answers again" if answers else "it is not configured any more"
                reason = f"receiver {trouble.about} takes messages again" if answers else reason
            case TroubleKind.BEGUN_SILENT:
                over, note = False, ""
            case _:
                assert_never(trouble.kind)
        if over:
            box, more = end_trouble(box, trouble, reason, note, routes, settings, now_ms)
            rows += more
    return box, rows

"""Incidents of deliveries that end without an acknowledgement."""

from __future__ import annotations

from typing import assert_never

from detectors.action import ActionKind
from detectors.incident import ModelPolicy
from detectors.trouble import TroubleKind
from sinks.receivers import Routes
from streams.outbox import ActionRow, Outbox, end_trouble
from streams.outbox_settings import OutboxSettings


def end_pointless(
    box: Outbox, known: ModelPolicy, routes: Routes, settings: OutboxSettings, now_ms: int
) -> tuple[Outbox, tuple[ActionRow, ...]]:
    """End the incidents of deliveries that have become pointless: nobody tries to roll back any
    more, and the release's own incident is over; or the receiver is not configured any more."""
    rows: tuple[ActionRow, ...] = ()
    for trouble in box.troubles:
        match trouble.kind:
            case TroubleKind.UNDELIVERED:
                seen = known.of(trouble.release)
                tried = any(entry.action.key == trouble.about for entry in box.entries)
                over = not tried and (seen is None or seen.incident is None)
                note = "the incident of the release is over"
            case TroubleKind.RECEIVER_GONE:
                over = all(trouble.about not in routes.of(kind) for kind in ActionKind)
                note = "it is not configured any more"
            case TroubleKind.BEGUN_SILENT:
                over, note = False, ""
            case _:
                assert_never(trouble.kind)
        if over:
            box, more = end_trouble(box, trouble, trouble.reason, note, routes, settings, now_ms)
            rows += more
    return box, rows

"""Deploys, new references and rollbacks as annotations of Grafana's own, for boards that are not
ours: a team's own board shows them by the tag ``driftline``.

Our boards ask the store for the same marks and need none of this. Each annotation carries a tag
that is a hash of what it says, so a second push finds it and writes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dashboards.board import mark_queries
from dashboards.grafana_push import Api, Change, Method, Verb

TAG: Final = "driftline"
MOST: Final = 500
"""Annotations of one push, and as many are asked for: the newest."""
MOST_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class Mark:
    """One event: epoch milliseconds, what happened, and of which sort it is."""

    at_ms: int
    text: str
    sort: str

    @property
    def key(self) -> str:
        """The same for the same event, whoever computes it."""
        told = json.dumps([self.at_ms, self.text, self.sort])
        return "driftline-" + hashlib.sha256(told.encode()).hexdigest()[:24]


def statements(database: str, days: int) -> Iterator[str]:
    """SQL for the marks of the last ``days``: columns epoch milliseconds, text, sort."""
    for text in mark_queries(database, "1"):
        inner = text.replace("$__timeFilter(time)", f"time > now() - toIntervalDay({int(days)})")
        yield (
            "SELECT toUnixTimestamp64Milli(toDateTime64(time, 3)), text, tags"  # noqa: S608
            f" FROM ({inner}) ORDER BY time DESC"
        )


def marks(rows: Iterable[Sequence[Any]]) -> list[Mark]:
    """The newest marks of what ``statements`` gave, the oldest of them first. Names come from
    producers: control characters are left out, and the text is cut."""
    found = [
        Mark(int(at), "".join(c if c.isprintable() else " " for c in str(text))[:MOST_CHARS], sort)
        for at, text, sort in rows
    ]
    return sorted(found, key=lambda mark: (mark.at_ms, mark.text))[-MOST:]


def mark_changes(api: Api, wanted: Sequence[Mark]) -> Iterator[Change]:
    """What a push has to write: only what Grafana does not have yet."""
    if not wanted:
        return
    first, last = wanted[0].at_ms, wanted[-1].at_ms
    # Grafana gives the newest of that span; there are no more of ours than were ever pushed.
    path = f"/annotations?tags={TAG}&type=annotation&from={first}&to={last + 1}&limit={4 * MOST}"
    there = {tag for each in api.get(path) or () for tag in each.get("tags", ())}
    for mark in wanted:
        body = {"time": mark.at_ms, "tags": [TAG, mark.sort, mark.key], "text": mark.text}
        verb = Verb.KEEP if mark.key in there else Verb.CREATE
        diff = () if verb is Verb.KEEP else (f"+{json.dumps(body)}",)
        yield Change(verb, "annotation", mark.sort, diff, Method.POST, "/annotations", body)

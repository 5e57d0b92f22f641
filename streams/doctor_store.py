"""What the doctor looks at in the store: does it answer, is its schema ours, is there room."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clickhouse_connect.driver import exceptions

from sinks.clickhouse import StoreSettings, connect, sorted_error
from sinks.migrations import migrate, shipped_migrations
from streams.doctor import Check, Level, size, span

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

AREA: Final = "store"
_LITTLE: Final = 0.10
_HARDLY_ANY: Final = 0.02
_SKEW_WARNING_MS: Final = 2_000
_SKEW_WRONG_MS: Final = 60_000
_DEAD_RATIO: Final = 0.01

_DISKS_SQL: Final = "SELECT name, free_space, total_space FROM system.disks"
_NOW_SQL: Final = "SELECT toUnixTimestamp64Milli(now64(3))"
_DEAD_SQL: Final = (
    "SELECT sum(events + dead + late + capped), sum(dead), sum(late), sum(capped)"
    " FROM {db:Identifier}.intake FINAL WHERE seen_at > now() - INTERVAL 15 MINUTE"
)


def store_checks(settings: StoreSettings, wall_ms: Callable[[], int]) -> list[Check]:
    """Everything about the store. Raises Retryable if it does not answer, Permanent if it refuses
    us or has another schema."""
    with closing(connect(settings)) as client:
        try:
            return [
                Check(AREA, "store", Level.OK, f"ClickHouse {client.server_version} answers"),
                *_schema(client, settings),
                skew_check(*_both_clocks(client, wall_ms)),
                *disk_checks(_rows(client, _DISKS_SQL)),
                *_intake(client, settings),
            ]
        except exceptions.Error as error:
            raise sorted_error(error, "a question of the doctor") from None


def _schema(client: Client, settings: StoreSettings) -> list[Check]:
    missing = migrate(client, database=settings.database, dry_run=True)
    if missing:
        numbers = ", ".join(f"{m.number:04d}" for m in missing)
        return [
            Check(
                AREA,
                "schema",
                Level.WRONG,
                f"migrations {numbers} are missing",
                "run `driftline migrate`, or start `driftline store`",
            )
        ]
    newest = shipped_migrations()[-1].number
    return [Check(AREA, "schema", Level.OK, f"up to date (migration {newest:04d})")]


def _both_clocks(client: Client, wall_ms: Callable[[], int]) -> tuple[int, int, int]:
    began = time.monotonic()
    before = wall_ms()
    theirs = int(client.query(_NOW_SQL).result_rows[0][0])
    return theirs, before, round((time.monotonic() - began) * 1000)


def skew_check(theirs_ms: int, ours_ms: int, took_ms: int) -> Check:
    """Whether two clocks agree. ``ours_ms``: before the question, whose answer took ``took_ms``."""
    skew = theirs_ms - (ours_ms + took_ms / 2)
    beyond = max(0.0, abs(skew) - took_ms / 2)
    if beyond < _SKEW_WARNING_MS:
        return Check(AREA, "clocks", Level.OK, "ours and the store's agree")
    return Check(
        AREA,
        "clocks",
        Level.WRONG if beyond >= _SKEW_WRONG_MS else Level.WARNING,
        f"the store's is {span(skew)} {'ahead of' if skew > 0 else 'behind'} ours",
        "run NTP on both machines: event times, ages and webhook signatures rest on them",
    )


def disk_checks(disks: Sequence[Sequence[Any]]) -> list[Check]:
    """Rows of (name, free bytes, bytes in all)."""
    return [_room(AREA, f"disk {name}", int(free), int(total)) for name, free, total in disks]


def folder_check(path: Path) -> Check:
    """The room where we write: logs, and the embedded store. The folder need not exist yet."""
    here = path.resolve()
    while not here.exists():
        here = here.parent
    usage = shutil.disk_usage(here)
    return _room("machine", f"disk of {path}", usage.free, usage.total)


def _room(area: str, subject: str, free: int, total: int) -> Check:
    share = free / total if total else 1.0
    what = f"{size(free)} of {size(total)} free"
    if share >= _LITTLE:
        return Check(area, subject, Level.OK, what)
    level = Level.WRONG if share < _HARDLY_ANY else Level.WARNING
    return Check(area, subject, level, what, "make room, or shorten store.retention")


def _intake(client: Client, settings: StoreSettings) -> list[Check]:
    ((rows, dead, late, capped),) = _rows(client, _DEAD_SQL, {"db": settings.database})
    return intake_checks(int(rows), int(dead), int(late), int(capped))


def intake_checks(rows: int, dead: int, late: int, capped: int) -> list[Check]:
    """What became of the rows of the last 15 minutes."""
    if not rows:
        return [
            Check(
                AREA,
                "intake",
                Level.WARNING,
                "no rows in the last 15 minutes",
                "do the models log? does `driftline summarize` run?",
            )
        ]
    checks = []
    for count, what, todo in (
        (dead, "could not be read", "look at driftline.dead_letters for the reasons"),
        (late, "came too late", "raise time.allowed_lateness, or find the slow producer"),
        (
            capped,
            "were folded into __other__",
            "raise `limits`, or list models in limits.always_models",
        ),
    ):
        if count > _DEAD_RATIO * rows:
            checks.append(
                Check(AREA, "intake", Level.WARNING, f"{count} of {rows} rows {what}", todo)
            )
    return checks or [Check(AREA, "intake", Level.OK, f"{rows} rows in the last 15 minutes")]


def _rows(
    client: Client, sql: str, parameters: dict[str, Any] | None = None
) -> Sequence[Sequence[Any]]:
    return client.query(sql, parameters=parameters).result_rows

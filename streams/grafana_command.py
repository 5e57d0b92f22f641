"""``driftline grafana``: boards, alert rules, data source: as files, or into a running Grafana."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from streams.errors import UserError

if TYPE_CHECKING:
    from dashboards.grafana_push import Change
    from streams.config import Config


def build(config: Config, boards: Path, provisioning: Path, *, check: bool) -> int:
    """Write all files, or with ``check`` only compare; returns 1 if a file is not what it should
    be. Only files of our own names are written, and none is removed."""
    from dashboards.generated_files import brought_up_to_date
    from dashboards.provisioning import BOARD_FILES, PROVISIONING, files

    folders = {BOARD_FILES.name: boards, PROVISIONING.name: provisioning}
    wanted = {
        folders[path.parts[0]].joinpath(*path.parts[1:]): text
        for path, text in files(config.grafana, config.store.database).items()
    }
    changed = brought_up_to_date(wanted, check=check)
    for target in changed:
        typer.echo(f"{'differs' if check else 'written'}: {target}")
    if not changed:
        typer.echo("nothing to do: all files are up to date")
    return int(check and bool(changed))


def push(config: Config, *, dry_run: bool, annotations_days: int) -> int:
    """Make Grafana what the configuration says; returns the exit code.

    With ``dry_run`` nothing is written, and 1 says that something would be. ``annotations_days``:
    deploys, references and rollbacks of so many days become annotations too (0: none).
    """
    from dashboards.grafana_http import GrafanaHttp
    from dashboards.grafana_push import Verb, changes
    from dashboards.grafana_push import push as carry_out
    from dashboards.pushed_marks import mark_changes, marks

    settings = config.grafana
    if not settings.url:
        raise UserError("it is not said where Grafana is", "grafana.url", "give its address")
    api = GrafanaHttp(settings.url, _token(config), settings.timeout_ms)
    counted = dict.fromkeys(Verb, 0)

    def follow(found: Iterator[Change]) -> None:
        for change in found:
            counted[change.verb] += 1
            if change.verb is not Verb.KEEP:
                _show(change)
            if not dry_run:
                carry_out(api, change)

    secret = _planned_secret if dry_run else _secret
    follow(changes(api, settings, config.store.database, secret))
    if annotations_days:
        follow(mark_changes(api, marks(_mark_rows(config, annotations_days))))
    done = "would be " if dry_run else ""
    typer.echo(
        f"{counted[Verb.CREATE]} {done}created, {counted[Verb.UPDATE]} {done}updated,"
        f" {counted[Verb.KEEP]} unchanged"
    )
    return int(dry_run and counted[Verb.KEEP] < sum(counted.values()))


def _show(change: Change) -> None:
    typer.echo(f"{change.verb}: {change.kind} {change.name}")
    for line in change.diff:
        typer.echo(f"  {line}")


def _mark_rows(config: Config, days: int) -> Iterator[Any]:
    from dashboards.pushed_marks import statements
    from sinks.clickhouse import connect

    client = connect(config.store)
    try:
        for statement in statements(config.store.database, days):
            yield from client.query(statement).result_rows
    finally:
        client.close()


def _token(config: Config) -> str:
    from dashboards.settings import TOKEN_VARIABLE

    path = config.grafana.token_file
    if not path:
        return _secret(TOKEN_VARIABLE)
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise UserError("cannot be read", path, "check grafana.token_file") from None
    if not token:
        raise UserError("is empty", path, "put the token of a service account into it")
    return token


def _secret(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        raise UserError("the variable is not set", variable, "set it to the secret")
    return value


def _planned_secret(variable: str) -> str:
    """A dry run needs no secrets: it sends nothing."""
    return f"({variable})"

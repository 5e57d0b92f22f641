"""The command line. Every command imports what it needs when it runs, so that help is fast.

Exit codes: 0 done; 1 the work could not be done; 2 the command, its configuration or a file is
wrong; 130 interrupted. ``verdict --exit-code`` has its own: 0 pass, 1 fail, 3 inconclusive, 2 no
answer. What a person can put right is one line on stderr; a traceback is shown only with
DRIFTLINE_DEBUG=1.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from streams.cli_errors import said_of
from streams.cli_groups import GROUPS
from streams.cli_options import (
    LINE_CHARS,
    ConfigFile,
    Format,
    Level,
    exit_with,
    load_settings,
    set_up,
    start,
)
from streams.errors import FAILED, UserError

INTERRUPTED: Final = 130

app = typer.Typer(
    name="driftline",
    help="Watches models in production: Kafka in; verdicts, pages and rollbacks out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for name, group in GROUPS.items():
    app.add_typer(group, name=name)


@app.command()
def up(config: ConfigFile = None, log_level: Level = "info", log_format: Format = "auto") -> None:
    """Run every role on this machine, with an embedded broker and store unless configured."""
    settings = load_settings(config)
    set_up("up", log_level, log_format)
    from streams import up as role

    exit_with(role.run(settings, config))


@app.command()
def summarize(
    config: ConfigFile = None, log_level: Level = "info", log_format: Format = "auto"
) -> None:
    """Role: read events, write summaries. Run as many as there is work for."""
    settings = start("summarize", config, log_level, log_format)
    from streams import summarize_role as role

    exit_with(role.run(settings))


@app.command()
def judge(
    config: ConfigFile = None, log_level: Level = "info", log_format: Format = "auto"
) -> None:
    """Role: merge summaries, decide verdicts."""
    settings = start("judge", config, log_level, log_format)
    from streams import judge_app as role

    exit_with(role.run(settings))


@app.command()
def deliver(
    config: ConfigFile = None, log_level: Level = "info", log_format: Format = "auto"
) -> None:
    """Role: turn verdicts into pages and rollbacks."""
    settings = start("deliver", config, log_level, log_format)
    from streams import deliver_app as role

    exit_with(role.run(settings))


@app.command()
def store(
    config: ConfigFile = None, log_level: Level = "info", log_format: Format = "auto"
) -> None:
    """Role: write results into ClickHouse."""
    settings = start("store", config, log_level, log_format)
    from streams import store as role

    exit_with(role.run(settings))


@app.command()
def serve(
    config: ConfigFile = None, log_level: Level = "info", log_format: Format = "auto"
) -> None:
    """Role: answer deployers over HTTP."""
    settings = start("serve", config, log_level, log_format)
    from streams import serve as role

    exit_with(role.run(settings))


@app.command()
def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running until Ctrl-C.")
    ] = False,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--directory", help="New or empty folder for logs and the store; kept. Default: /tmp."
        ),
    ] = None,
) -> None:
    """Replay real data through the whole line and watch a bad canary being rolled back."""
    # Its name is looked up when it runs: the demo brings data and a deployer of its own, which an
    # installation may leave out.
    exit_with(importlib.import_module("streams.demo").run(keep, directory))


@app.command()
def profile(
    source: Annotated[
        str, typer.Argument(help="Parquet, Arrow, CSV or NDJSON file, or `clickhouse:SELECT …`.")
    ],
    model: Annotated[str, typer.Option("--model", help="The model it is a reference for.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to write it; standard output by default.")
    ] = None,
    features: Annotated[
        str, typer.Option("--features", help="Columns that are features: a,b or * for all others.")
    ] = "",
    latency: Annotated[
        str, typer.Option("--latency", help="Column of latencies in milliseconds.")
    ] = "",
    segments: Annotated[
        str, typer.Option("--segments", help="Columns that name slices of traffic: a,b")
    ] = "",
    rename: Annotated[
        str, typer.Option("--rename", help="Other columns: y=prediction.label,z=label")
    ] = "",
    times: Annotated[
        str, typer.Option("--ts", help="Column of times; one called ts or timestamp by default.")
    ] = "",
    config: ConfigFile = None,
) -> None:
    """Make a reference: what normal looks like, from data you trust."""
    settings = load_settings(config)
    from streams import profile as command
    from streams.profile_selection import Selection

    selection = Selection.of(features, latency, segments, rename, times)
    exit_with(command.run(settings, source, model, out, selection))


@app.command()
def backtest(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", envvar="DRIFTLINE_CONFIG", help="YAML file; or defaults."),
    ] = None,
    events: Annotated[
        str,
        typer.Option(
            "--events", metavar="PATH|TOPIC", help="File or folder of events, or a Kafka topic."
        ),
    ] = "",
    policy: Annotated[
        list[Path] | None,
        typer.Option("--policy", help="Settings to lay over CONFIG; give several to compare them."),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--change", metavar="MODEL@TIME", help="Since when it is bad; or `never`."),
    ] = None,
    bad: Annotated[
        list[str] | None,
        typer.Option("--bad", metavar="MODEL@VERSION", help="Bad from its first event."),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            "--budget",
            help="False alarms accepted of each model: 1 per 30d; by default drift.false_alarms.",
        ),
    ] = "",
    rename: Annotated[
        list[str] | None, typer.Option("--rename", metavar="COLUMN=NAME", help="In tables.")
    ] = None,
    constant: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="In tables: a column of one value."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the verdicts: a name in .svg or .png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
    log_level: Level = "warning",
    log_format: Format = "auto",
) -> None:
    """Replay recorded events: what would have been detected, how late, and at what cost."""
    if not events:
        raise UserError("no events are given", "--events", "name a file, a folder or a topic")
    set_up("backtest", log_level, log_format)
    from streams import backtest_command as command

    options = command.Options(
        events=events,
        policies=policy or (),
        changes=change or (),
        bad=bad or (),
        budget=budget,
        rename=rename or (),
        constants=constant or (),
        plot=plot,
        as_json=as_json,
    )
    exit_with(command.run(config, options))


@app.command()
def migrate(
    config: ConfigFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is missing.")] = False,
) -> None:
    """Bring the tables of the store up to this version."""
    settings = load_settings(config)
    from streams.store_migration import migrate_store

    found = migrate_store(settings.store, dry_run=dry_run)
    for migration in found:
        typer.echo(f"{'missing' if dry_run else 'applied'} {migration.number:04d} {migration.name}")
    if not found:
        typer.echo("nothing to do: the store is up to date")


@app.command()
def verdict(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[str, typer.Argument(help="Version of the release.")],
    role: Annotated[str, typer.Option("--role", help="production|canary|shadow|variant")] = "",
    url: Annotated[
        str, typer.Option("--url", envvar="DRIFTLINE_URL", help="Where `driftline serve` is.")
    ] = "http://127.0.0.1:8780",
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File whose first line is the token.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="PEM of a certificate authority of your own.")
    ] = None,
    cert_file: Annotated[
        Path | None, typer.Option("--cert-file", help="PEM of a client certificate and its key.")
    ] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit 0 pass, 1 fail, 3 inconclusive, 2 no answer.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as it came.")] = False,
) -> None:
    """Ask a running `serve` what is to be thought of a release."""
    from detectors.action import printable
    from streams.verdict_client import EXIT_CODES, ask_verdict, client_tls, read_token

    token, tls = read_token(token_file), client_tls(ca_file, cert_file)
    answer = ask_verdict(url, model, version, role, token, tls=tls)
    if as_json:
        typer.echo(answer.text)
    else:
        # Names come from producers: they must not move the cursor of somebody's terminal.
        said = f"{answer.decision.value}: {answer.status} ({answer.role or '-'})"
        for line in (said, *(f"  {reason}" for reason in answer.reasons)):
            typer.echo(printable(line, LINE_CHARS))
    if exit_code:
        exit_with(int(EXIT_CODES[answer.decision]))


@app.command()
def doctor(
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 for warnings as well.")] = False,
) -> None:
    """Look at a deployment and say what is wrong with it and what to do."""
    set_up("doctor", "error", "auto")
    from streams import doctor_command as command

    exit_with(command.run(lambda: load_settings(config), config, as_json=as_json, strict=strict))


@app.command()
def evidence(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[str, typer.Argument(help="Version of the release.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the files.")] = Path(),
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Judge the records in Kafka again, and compare.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Write all evidence on a release as one HTML page and one JSON file."""
    set_up("evidence", "error", "auto")
    settings = load_settings(config)
    from streams import evidence_command as command
    from streams.clock import wall_ms

    again = command.from_kafka(settings) if recompute else None
    exit_with(command.run(settings, model, version, out, wall_ms(), typer.echo, again))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. Never raises, and never prints a traceback unless
    DRIFTLINE_DEBUG is set."""
    # A command that sets up no logs has none: those of libraries would quote URLs and questions.
    logging.basicConfig(handlers=[logging.NullHandler()])
    try:
        app(args=list(argv) if argv is not None else None, prog_name="driftline")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("DRIFTLINE_DEBUG"):
            raise
        line, code = said_of(error)
        # A reader that went away is no reason for a second complaint.
        try:
            print(f"driftline: {line}", file=sys.stderr)
        except OSError:
            return code
        return code
    return 0

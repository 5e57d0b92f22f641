"""The command line. Every command imports what it needs when it runs, so that help is fast.

Exit codes: 0 done; 1 the work could not be done; 2 the command, its configuration or a file is
wrong; 130 interrupted. ``verdict --exit-code`` has its own: 0 pass, 1 fail, 3 inconclusive, 2 no
answer. What a person can put right is one line on stderr; a traceback is shown only with
DRIFTLINE_DEBUG=1.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from streams.errors import BAD_INPUT, FAILED, Explained, UserError, one_line

if TYPE_CHECKING:
    from streams.config import Config

INTERRUPTED: Final = 130

app = typer.Typer(
    name="driftline",
    help="Watches models in production: Kafka in; verdicts, pages and rollbacks out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
config_app = typer.Typer(help="Check and show the configuration.", no_args_is_help=True)
app.add_typer(config_app, name="config")
grafana_app = typer.Typer(help="Boards and alert rules for Grafana.", no_args_is_help=True)
app.add_typer(grafana_app, name="grafana")
audit_app = typer.Typer(help="The audit trail.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")
deployers_app = typer.Typer(help="Try out and use deployers.", no_args_is_help=True)
app.add_typer(deployers_app, name="deployers")
references_app = typer.Typer(help="References in Kafka.", no_args_is_help=True)
app.add_typer(references_app, name="references")

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="DRIFTLINE_CONFIG",
        help="YAML file. Without one, all defaults. DRIFTLINE__A__B variables override it.",
    ),
]
Level = Annotated[
    str, typer.Option("--log-level", envvar="DRIFTLINE_LOG_LEVEL", help="debug|info|warning|error")
]
Format = Annotated[
    str, typer.Option("--log-format", envvar="DRIFTLINE_LOG_FORMAT", help="auto|json|text")
]


def _load(path: Path | None) -> Config:
    from streams.config import load_config

    return load_config(path, os.environ)


def _logs(role: str, level: str, log_format: str) -> None:
    from streams.logs import LogFormat, LogLevel, set_up_logs

    try:
        set_up_logs(role, LogFormat(log_format.lower()), LogLevel(level.lower()))
    except ValueError:
        raise UserError(
            "unknown log level or format",
            "--log-level, --log-format",
            "use debug|info|warning|error and auto|json|text",
        ) from None


def _start(role: str, config: Path | None, level: str, log_format: str) -> Config:
    """What every role begins with: its settings, its logs, and a broker that it can ask."""
    settings = _load(config)
    _logs(role, level, log_format)
    try:
        _ = settings.kafka.servers
    except ValueError as error:
        raise UserError(str(error)) from None
    return settings


def _exit_with(code: int | None) -> None:
    raise typer.Exit(code or 0)


@app.command()
def up(config: ConfigFile = None, log_level: Level = "info", log_format: Format = "auto") -> None:
    """Run every role on this machine, with an embedded broker and store unless configured."""
    settings = _load(config)
    _logs("up", log_level, log_format)
    from streams import up as role

    _exit_with(role.run(settings, config))


@app.command()
def summarize(
    config: ConfigFile = None, log_level: Level = "info", log_format: Format = "auto"
) -> None:
    """Role: read events, write summaries. Run as many as there is work for."""
    settings = _start("summarize", config, log_level, log_format)
    from streams import summarize as role

    _exit_with(role.run(settings))


@app.command()
def judge(
    config: ConfigFile = None, log_level: Level = "info", log_format: Format = "auto"
) -> None:
    """Role: merge summaries, decide verdicts."""
    settings = _start("judge", config, log_level, log_format)
    from streams import judge_app as role

    _exit_with(role.run(settings))


@app.command()
def deliver(
    config: ConfigFile = None, log_level: Level = "info", log_format: Format = "auto"
) -> None:
    """Role: turn verdicts into pages and rollbacks."""
    settings = _start("deliver", config, log_level, log_format)
    from streams import deliver_app as role

    _exit_with(role.run(settings))


@app.command()
def store(
    config: ConfigFile = None, log_level: Level = "info", log_format: Format = "auto"
) -> None:
    """Role: write results into ClickHouse."""
    settings = _start("store", config, log_level, log_format)
    from streams import store as role

    _exit_with(role.run(settings))


@app.command()
def serve(
    config: ConfigFile = None, log_level: Level = "info", log_format: Format = "auto"
) -> None:
    """Role: answer deployers over HTTP."""
    settings = _start("serve", config, log_level, log_format)
    from streams import serve as role

    _exit_with(role.run(settings))


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
    _exit_with(importlib.import_module("streams.demo").run(keep, directory))


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
    settings = _load(config)
    from streams import profile as command
    from streams.profile_selection import Selection

    selection = Selection.of(features, latency, segments, rename, times)
    _exit_with(command.run(settings, source, model, out, selection))


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
    _logs("backtest", log_level, log_format)
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
    _exit_with(command.run(config, options))


@app.command()
def migrate(
    config: ConfigFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is missing.")] = False,
) -> None:
    """Bring the tables of the store up to this version."""
    settings = _load(config)
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
    from streams.verdict_client import EXIT_CODES, ask_verdict, client_tls, read_token

    token, tls = read_token(token_file), client_tls(ca_file, cert_file)
    answer = ask_verdict(url, model, version, role, token, tls=tls)
    if as_json:
        typer.echo(answer.text)
    else:
        typer.echo(_printable(f"{answer.decision.value}: {answer.status} ({answer.role or '-'})"))
        for reason in answer.reasons:
            typer.echo(_printable(f"  {reason}"))
    if exit_code:
        _exit_with(int(EXIT_CODES[answer.decision]))


def _printable(text: str) -> str:
    """Names come from producers: they must not move the cursor of somebody's terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


@app.command()
def doctor(
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 for warnings as well.")] = False,
) -> None:
    """Look at a deployment and say what is wrong with it and what to do."""
    _logs("doctor", "error", "auto")
    from streams import doctor_command as command

    _exit_with(command.run(lambda: _load(config), config, as_json=as_json, strict=strict))


@config_app.command("check")
def config_check(
    file: Annotated[Path | None, typer.Argument(envvar="DRIFTLINE_CONFIG")] = None,
) -> None:
    """Say whether a file, with the variables, is a valid configuration."""
    settings = _load(file)
    topics = ", ".join(each.topic for each in settings.inputs)
    typer.echo(f"ok: {file or 'defaults'}: reads {topics} from {_broker(settings)}")


def _broker(settings: Config) -> str:
    return settings.kafka.bootstrap


@config_app.command("show")
def config_show(
    file: Annotated[Path | None, typer.Argument(envvar="DRIFTLINE_CONFIG")] = None,
) -> None:
    """Print the configuration in effect, defaults included, secrets masked."""
    from streams.config_view import effective_yaml

    typer.echo(effective_yaml(_load(file)), nl=False)


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of the configuration file."""
    import json

    from streams.config_view import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@grafana_app.command("build")
def grafana_build(
    boards: Annotated[Path, typer.Option("--boards", help="Folder for the boards' JSON.")] = Path(
        "grafana/dashboards"
    ),
    provisioning: Annotated[
        Path, typer.Option("--provisioning", help="Folder for the provisioning files.")
    ] = Path("grafana/provisioning"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if a file differs.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Write boards, alert rules, contact points and the data source as files."""
    settings = _load(config)
    from streams import grafana_command as command

    _exit_with(command.build(settings, boards, provisioning, check=check))


@grafana_app.command("push")
def grafana_push(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the differences; exit 1 if there are any.")
    ] = False,
    annotations_days: Annotated[
        int,
        typer.Option(
            "--annotations-days",
            min=0,
            max=400,
            help="Also push deploys, references and rollbacks of so many days as annotations.",
        ),
    ] = 0,
    config: ConfigFile = None,
) -> None:
    """Bring a running Grafana up to date. What is already so is left alone."""
    settings = _load(config)
    from streams import grafana_command as command

    _exit_with(command.push(settings, dry_run=dry_run, annotations_days=annotations_days))


@app.command()
def evidence(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[str, typer.Argument(help="Version of the release.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the two files.")] = Path(),
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Judge the records in Kafka again, and compare.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Write all evidence on a release as one HTML page and one JSON file."""
    settings = _load(config)
    from streams import evidence_command as command
    from streams.clock import wall_ms

    again = command.from_kafka(settings) if recompute else None
    _exit_with(command.run(settings, model, version, out, wall_ms(), typer.echo, again))


@audit_app.command("verify")
def audit_verify(
    model: Annotated[str, typer.Option("--model", help="One chain only; all by default.")] = "",
    heads: Annotated[
        Path | None, typer.Option("--heads", help="Ends of an earlier run, still to be there.")
    ] = None,
    save_heads: Annotated[
        Path | None, typer.Option("--save-heads", help="Where to write the ends of this run.")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Check that no row of the audit trail was changed, left out or put in. Exit 1 if one was."""
    settings = _load(config)
    from streams import audit_command as command

    _exit_with(command.run(settings, model, heads, save_heads, typer.echo))


@deployers_app.command("check")
def deployers_check(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[str, typer.Argument(help="The version that would be left.")],
    return_to: Annotated[str, typer.Argument(help="The version that would run instead.")],
    config: ConfigFile = None,
) -> None:
    """Roll back as a dry run: says what each deployer would do, and changes nothing."""
    settings = _load(config)
    from streams import deployers_command as command

    order = command.order_for(model, version, return_to)
    _exit_with(command.check(settings, order, os.environ, typer.echo))


@deployers_app.command("promote")
def deployers_promote(
    name: Annotated[str, typer.Argument(help="Name of a deployer of Argo Rollouts.")],
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[str, typer.Argument(help="The canary's version.")],
    config: ConfigFile = None,
) -> None:
    """Promote a canary fully, skipping the steps and analyses that are left."""
    settings = _load(config)
    from streams import deployers_command as command

    _exit_with(command.promote(settings, name, model, version, os.environ, typer.echo))


@references_app.command("publish")
def references_publish(
    config: ConfigFile = None, log_level: Level = "info", log_format: Format = "auto"
) -> None:
    """Put the configured reference files into Kafka. `driftline up` does it by itself."""
    settings = _start("references", config, log_level, log_format)
    from streams import references_command as command

    _exit_with(command.publish(settings, typer.echo))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. Never raises, and never prints a traceback unless
    DRIFTLINE_DEBUG is set."""
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


def said_of(error: Exception) -> tuple[str, int]:
    """One line (one for each problem of a configuration) and the exit code for an error."""
    if isinstance(error, UserError):
        return str(error), error.exit_code
    if isinstance(error, Explained):
        return one_line(error.what, error.where, error.hint), BAD_INPUT
    if isinstance(error, _known_types()):
        return " ".join(str(error).split()), FAILED
    if isinstance(error, OSError):
        where = str(error.filename) if error.filename is not None else ""
        return one_line(error.strerror or type(error).__name__, where), FAILED
    # The text of an error nobody foresaw may hold anything, a secret included.
    return (
        f"internal error ({type(error).__name__} {_place(error)});"
        " set DRIFTLINE_DEBUG=1 to see where, and report it",
        FAILED,
    )


def _known_types() -> tuple[type[Exception], ...]:
    """Errors whose text is one line for people, written by the part that raises them."""
    from detectors.reference import EmptyReference
    from detectors.reference_file import InvalidReference
    from sinks.errors import Permanent, Retryable
    from streams.embedded_broker import EmbeddedBrokerFailed
    from streams.kafka_topics import KafkaProblem
    from streams.summarizer import TooManyDeadLettersError
    from streams.supervise import RoleFailed

    return (
        EmbeddedBrokerFailed,
        EmptyReference,
        InvalidReference,
        KafkaProblem,
        Permanent,
        Retryable,
        RoleFailed,
        TooManyDeadLettersError,
    )


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "somewhere"
    return f"at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"

"""Commands in groups: `config`, `grafana`, `audit`, `deployers`, `references`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli_options import ConfigFile, Format, Level, exit_with, load_settings, start

if TYPE_CHECKING:
    from streams.config import Config

config_app = typer.Typer(help="Check and show the configuration.", no_args_is_help=True)
grafana_app = typer.Typer(help="Boards and alert rules for Grafana.", no_args_is_help=True)
audit_app = typer.Typer(help="The audit trail.", no_args_is_help=True)
deployers_app = typer.Typer(help="Try out and use deployers.", no_args_is_help=True)
references_app = typer.Typer(help="References in Kafka.", no_args_is_help=True)

GROUPS = {
    "config": config_app,
    "grafana": grafana_app,
    "audit": audit_app,
    "deployers": deployers_app,
    "references": references_app,
}


@config_app.command("check")
def config_check(
    file: Annotated[Path | None, typer.Argument(envvar="DRIFTLINE_CONFIG")] = None,
) -> None:
    """Say whether a file, with the variables, is a valid configuration."""
    settings = load_settings(file)
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

    typer.echo(effective_yaml(load_settings(file)), nl=False)


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
    settings = load_settings(config)
    from streams import grafana_command as command

    exit_with(command.build(settings, boards, provisioning, check=check))


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
    settings = load_settings(config)
    from streams import grafana_command as command

    exit_with(command.push(settings, dry_run=dry_run, annotations_days=annotations_days))


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
    settings = load_settings(config)
    from streams import audit_command as command

    exit_with(command.run(settings, model, heads, save_heads, typer.echo))


@deployers_app.command("check")
def deployers_check(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[str, typer.Argument(help="The version that would be left.")],
    return_to: Annotated[str, typer.Argument(help="The version that would run instead.")],
    config: ConfigFile = None,
) -> None:
    """Roll back as a dry run: says what each deployer would do, and changes nothing."""
    settings = load_settings(config)
    from streams import deployers_command as command

    order = command.order_for(model, version, return_to)
    exit_with(command.check(settings, order, os.environ, typer.echo))


@deployers_app.command("promote")
def deployers_promote(
    name: Annotated[str, typer.Argument(help="Name of a deployer of Argo Rollouts.")],
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[str, typer.Argument(help="The canary's version.")],
    config: ConfigFile = None,
) -> None:
    """Promote a canary fully, skipping the steps and analyses that are left."""
    settings = load_settings(config)
    from streams import deployers_command as command

    exit_with(command.promote(settings, name, model, version, os.environ, typer.echo))


@references_app.command("publish")
def references_publish(
    config: ConfigFile = None, log_level: Level = "info", log_format: Format = "auto"
) -> None:
    """Put the configured reference files into Kafka. `driftline up` does it by itself."""
    settings = start("references", config, log_level, log_format)
    from streams import references_command as command

    exit_with(command.publish(settings, typer.echo))

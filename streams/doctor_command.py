"""The command ``doctor``: which parts are looked at, and how it is said."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import confluent_kafka
from rich.console import Console
from rich.table import Table
from rich.text import Text

from detectors.action import printable
from streams.cli_options import LINE_CHARS
from streams.clock import wall_ms
from streams.config import ConfigError
from streams.config_reader import Problem
from streams.doctor import BY_SEVERITY, Check, Level, Look, examine, exit_code
from streams.doctor_api import api_checks
from streams.doctor_kafka import group_checks, topic_checks
from streams.doctor_kafka_ask import ask_group, ask_topics
from streams.doctor_receivers import receiver_checks, rollback_checks
from streams.doctor_references import reference_file_checks, reference_topic_checks
from streams.doctor_secrets import secret_checks
from streams.doctor_store import folder_check, store_checks
from streams.internal_topics import DELIVER, JUDGE, REFERENCES, SUMMARIES, VERDICTS, topic_specs
from streams.kafka import EMBEDDED, embedded_at, whole_topic_consumer
from streams.kafka_topics import check_broker
from streams.reference_book import ReferenceBook
from streams.store_loop import STORED
from streams.up import LOG_FOLDER, RUN_FOLDER

if TYPE_CHECKING:
    from streams.config import Config

_BROKER_MS: Final = 6_000
_REFERENCES_S: Final = 10.0
_STYLES: Final = {
    Level.OK: "green",
    Level.WARNING: "yellow",
    Level.UNKNOWN: "magenta",
    Level.WRONG: "bold red",
}


def run(
    load: Callable[[], Config],
    config_path: Path | None,
    *,
    as_json: bool,
    strict: bool,
    environ: Mapping[str, str] = os.environ,
    say: Callable[[str], None] = print,
) -> int:
    """Look at everything and say it. Returns the exit code: see `streams.doctor.exit_code`."""
    checks = diagnose(load, config_path, environ)
    if as_json:
        say(json.dumps([asdict(check) for check in checks], indent=2, ensure_ascii=False))
    else:
        console = Console(width=None if os.isatty(1) else 140)
        with console.capture() as captured:
            _print(console, checks)
        say(captured.get().rstrip("\n"))
    return exit_code(checks, strict=strict)


def diagnose(
    load: Callable[[], Config], config_path: Path | None, environ: Mapping[str, str]
) -> list[Check]:
    """All checks. With a configuration that is refused there is nothing else to look at."""
    loaded: list[Config] = []

    def configuration() -> list[Check]:
        name = str(config_path) if config_path is not None else "defaults and variables"
        try:
            loaded.append(load())
        except ConfigError as error:
            return [
                Check("configuration", each.path or name, Level.WRONG, _said(each), each.hint)
                for each in error.problems
            ]
        return [Check("configuration", name, Level.OK, "is valid")]

    checks = list(examine([("configuration", str(config_path or "variables"), configuration)]))
    if not loaded:
        return checks
    config = _with_broker(loaded[0])
    return checks + list(examine(_looks(config, config_path, environ)))


def _said(problem: Problem) -> str:
    return f"{problem.where}: {problem.what}" if problem.where else problem.what


def _with_broker(config: Config) -> Config:
    """The configuration with the address of the embedded broker, if one is running here."""
    address_file = RUN_FOLDER / "broker.address"
    if config.kafka.bootstrap != EMBEDDED or not address_file.is_file():
        return config
    address = address_file.read_text(encoding="utf-8").strip()
    try:
        kafka = replace(config.kafka, bootstrap=embedded_at(address))
    except ValueError:
        return config
    return config.model_copy(update={"kafka": kafka})


def _looks(
    config: Config, config_path: Path | None, environ: Mapping[str, str]
) -> list[tuple[str, str, Look]]:
    answered: list[bool] = []
    return [
        ("secrets", "files", lambda: secret_checks(config, config_path)),
        ("machine", "disk", lambda: _folders(config)),
        *_kafka_looks(config, answered),
        ("references", "files", lambda: reference_file_checks(config.references)),
        ("references", "topic", lambda: _references(config) if answered else []),
        ("store", "store", lambda: store_checks(config.store, wall_ms)),
        ("receivers", "receivers", lambda: receiver_checks(config, environ)),
        ("receivers", "deployers", lambda: rollback_checks(config)),
        ("api", "serve", lambda: api_checks(config.serve)),
    ]


def _folders(config: Config) -> list[Check]:
    folders = [LOG_FOLDER]
    if config.store.is_embedded:
        folders.append(Path(config.store.path))
    return [folder_check(folder) for folder in folders]


def _kafka_looks(config: Config, answered: list[bool]) -> list[tuple[str, str, Look]]:
    """The broker, and if it has ``answered`` the rest: one line says that it does not."""
    kafka = config.kafka
    known: dict[str, int] = {}

    def broker() -> list[Check]:
        if kafka.bootstrap == EMBEDDED:
            return [
                Check(
                    "kafka",
                    "broker",
                    Level.WRONG,
                    "the embedded broker is not running",
                    "start `driftline up` in this folder, or set kafka.bootstrap",
                )
            ]
        known.update(check_broker(kafka, timeout_ms=_BROKER_MS))
        answered.append(True)
        kind = "embedded broker" if kafka.embedded else "Kafka"
        return [Check("kafka", "broker", Level.OK, f"{kind} at {kafka.servers} answers")]

    def topics() -> list[Check]:
        if not answered:
            return []  # said already, by the check of the broker
        wanted = topic_specs(kafka)
        inputs = [each.topic for each in config.inputs]
        found = ask_topics(kafka, [*inputs, *wanted], known)
        return topic_checks(wanted, inputs, found, embedded=kafka.embedded)

    def group(name: str, role: str, names: Sequence[str]) -> Look:
        def look() -> list[Check]:
            topics = {each: known[each] for each in names if each in known}
            if not topics:
                return []
            facts = ask_group(kafka, name, role, topics)
            return group_checks(facts, wall_ms(), config.judge.blind_after_ms)

        return look

    inputs = [each.topic for each in config.inputs]
    groups = (
        ("summarize", "summarize", inputs),
        (JUDGE, "judge", [kafka.topic(SUMMARIES)]),
        (DELIVER, "deliver", [kafka.topic(VERDICTS)]),
        ("store", "store", [kafka.topic(name) for name in STORED]),
    )
    return [
        ("kafka", "broker", broker),
        ("kafka", "topics", topics),
        *(
            ("kafka", f"group {kafka.topic(name)}", group(kafka.topic(name), role, names))
            for name, role, names in groups
        ),
    ]


def _references(config: Config) -> list[Check]:
    kafka = config.kafka
    if not (config.models or config.references.files):
        return []
    properties = whole_topic_consumer(kafka, "doctor")
    with ReferenceBook(
        lambda: confluent_kafka.Consumer(properties), kafka.topic(REFERENCES)
    ) as book:
        book.wait_read(_REFERENCES_S)
        return reference_topic_checks(config.references, sorted(config.models), book)


def _print(console: Console, checks: Sequence[Check]) -> None:
    table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
    for name in ("", "area", "what", "found", "to do"):
        table.add_column(name, overflow="fold")
    for check in checks:
        # As plain text: names from outside could hold markup.
        table.add_row(
            Text(check.level.value, style=_STYLES[check.level]),
            *(
                Text(printable(text, LINE_CHARS))
                for text in (check.area, check.subject, check.what, check.todo)
            ),
        )
    console.print(table)
    counts = {level: sum(check.level is level for check in checks) for level in BY_SEVERITY}
    console.print(
        Text(", ".join(f"{count} {level.value}" for level, count in counts.items() if count))
    )

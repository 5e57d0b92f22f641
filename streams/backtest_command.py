"""``driftline backtest``: what a configuration would have done with recorded events."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from streams.backtest import Policy, backtest
from streams.backtest_outcome import Budget, Truth
from streams.backtest_plot import check_name, write_plot
from streams.backtest_report import as_json, show
from streams.clock import wall_ms
from streams.codecs.timestamps import UNREADABLE, parse_time
from streams.config import ConfigError, build_config, load_config
from streams.config_reader import Problem
from streams.durations import DurationError, parse_rate
from streams.errors import UnavailableError, UserError
from streams.inputs import InputSettings
from streams.recorded import Columns, Recording, open_files
from streams.reference_files import load_references
from streams.yaml_file import Fields, YamlError, read_yaml

if TYPE_CHECKING:
    from streams.config import Config
    from streams.recorded_topic import TopicConsumer

MOST_POLICIES: Final = 8
NEVER_WORD: Final = "never"


@dataclass(frozen=True, slots=True)
class Options:
    """The options as they were given; :meth:`truth` and its like read them."""

    events: str
    policies: Sequence[Path] = ()
    changes: Sequence[str] = ()
    bad: Sequence[str] = ()
    budget: str = ""
    rename: Sequence[str] = ()
    constants: Sequence[str] = ()
    plot: Path | None = None
    as_json: bool = False

    def truth(self) -> Truth:
        changes: dict[str, int | None] = {}
        for text in self.changes:
            model, said = _pair(text, "@", "--change", "MODEL@2023-06-13T10:00Z or MODEL@never")
            changes[model] = None if said == NEVER_WORD else _time(said)
        bad = (_pair(text, "@", "--bad", "MODEL@VERSION") for text in self.bad)
        return Truth(changes, frozenset(bad))

    def columns(self) -> Columns:
        return Columns(
            dict(_pair(text, "=", "--rename", "COLUMN=ts") for text in self.rename),
            dict(_pair(text, "=", "--set", "model=NAME") for text in self.constants),
        )


def run(path: Path | None, options: Options, console: Console | None = None) -> int:
    """Replay, print the report (or JSON), draw the plot. Returns the exit code."""
    config = load_config(path, os.environ)
    truth = options.truth()
    accepted = config.drift.false_alarms
    budget = Budget(accepted.count, accepted.period_ms)
    if options.budget:
        budget = budget_of(options.budget)
    policies = policies_of(path, config, options.policies)
    references = load_references(config.references)
    if options.plot is not None:
        check_name(options.plot)
    latest_ms = wall_ms() + config.time.max_ahead_ms
    recording = _open(config, options, latest_ms)
    console = console or Console()
    with _progress(recording, Console(stderr=True)) as advanced:
        outcome = backtest(recording, policies, references, truth, budget, advanced)
    if not any(policy.counted.events for policy in outcome.policies):
        reasons = outcome.policies[0].counted.reasons
        why = f": {reasons[0][0]}" if reasons else ""
        raise UserError(
            f"no event could be read{why}", options.events, "is this driftline's format of events?"
        )
    if options.as_json:
        console.file.write(as_json(outcome).decode() + "\n")
    else:
        show(outcome, console)
    if options.plot is not None:
        write_plot(outcome, options.plot)
    return 0


def policies_of(path: Path | None, config: Config, files: Sequence[Path]) -> tuple[Policy, ...]:
    """The configurations to compare: the given one, or each of ``files`` laid over it. What a
    policy file does not name is as in the configuration; a list that it names replaces the whole
    list. Raises ConfigError."""
    if not files:
        return (Policy(path.name if path is not None else "defaults", config),)
    if len(files) > MOST_POLICIES:
        raise UserError(f"more than {MOST_POLICIES} policies", "--policy", "compare fewer at once")
    try:
        below = read_yaml(path) if path is not None else Fields({}, {}, "the defaults")
        trees = [read_yaml(file) for file in files]
    except YamlError as error:
        raise ConfigError((Problem("", error.where, error.what, error.hint),)) from None
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        names = [str(file) for file in files]
    return tuple(
        Policy(name, build_config(_laid_over(below, tree), os.environ))
        for name, tree in zip(names, trees, strict=True)
    )


def _laid_over(below: Fields, above: Fields) -> Fields:
    merged = dict(below.fields)
    for key, node in above.fields.items():
        known = merged.get(key)
        both = isinstance(known, Fields) and isinstance(node, Fields)
        merged[key] = _laid_over(known, node) if both else node  # type: ignore[arg-type]
    return Fields(merged, {**below.key_where, **above.key_where}, above.where)


def budget_of(text: str) -> Budget:
    """``1 per 30d``. Raises UserError."""
    try:
        count, period_ms = parse_rate(text)
        if period_ms > 0:
            return Budget(count, period_ms)
    except DurationError:
        pass
    raise UserError(f"{text[:40]!r} is not a budget", "--budget", "write it as: 1 per 30d")


def _pair(text: str, sign: str, option: str, example: str) -> tuple[str, str]:
    # From the right, where a model may hold the sign; from the left, where a value may.
    left, found, right = text.rpartition(sign) if sign == "@" else text.partition(sign)
    if not found or not left.strip() or not right.strip():
        raise UserError(f"{text[:60]!r} is incomplete", option, f"write {example}")
    return left.strip(), right.strip()


def _time(text: str) -> int:
    value = parse_time(int(text) if text.isascii() and text.isdigit() else text)
    if value == UNREADABLE:
        raise UserError(
            f"{text[:60]!r} is not a time", "--change", "write it as 2023-06-13T10:00:00Z, or never"
        )
    return value


def _open(config: Config, options: Options, latest_ms: int) -> Recording:
    path = Path(options.events)
    columns = options.columns()
    if path.exists():
        return open_files(path, columns, latest_ms)
    try:
        _ = config.kafka.servers
        settings = next(
            (each for each in config.inputs if each.topic == options.events),
            None,
        ) or InputSettings(topic=options.events)
    except ValueError:
        raise UserError(
            "no such file, and no Kafka is configured that could have such a topic",
            options.events,
            "check --events, or set kafka.bootstrap",
        ) from None
    if columns.rename or columns.constants:
        raise UserError(
            "events of a topic are taken as they are", "--rename, --set", "leave it out"
        )
    return _open_topic(config, settings, latest_ms)


def _open_topic(config: Config, settings: InputSettings, latest_ms: int) -> Recording:
    import confluent_kafka

    from streams.kafka import input_consumer
    from streams.kafka_topics import check_broker
    from streams.recorded_topic import CONSUMER_SETTINGS, open_topic

    partitions = check_broker(config.kafka, [settings.topic])[settings.topic]

    def make_consumer() -> TopicConsumer:
        properties = input_consumer(config.kafka, config.kafka.topic("backtest"))
        return confluent_kafka.Consumer({**properties, **CONSUMER_SETTINGS})

    recording = open_topic(make_consumer, settings, partitions, latest_ms)
    if not recording.streams:
        raise UnavailableError("the topic is empty", settings.topic, "has anybody written to it?")
    return recording


@contextmanager
def _progress(recording: Recording, console: Console) -> Iterator[Callable[[int], None]]:
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = TextColumn("replaying"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=recording.size or None)
        yield lambda size: progress.advance(task, size)

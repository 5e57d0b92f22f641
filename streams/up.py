"""The role ``up``: every role on this machine, watched, and stopped together.

With the embedded defaults the broker and the store run here too, each in a process of its own.
Other processes learn the broker's address through the environment, so one configuration serves
all roles.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from streams.embedded_broker import command as broker_command
from streams.errors import UserError
from streams.internal_topics import topic_specs
from streams.kafka import embedded_at
from streams.kafka_topics import check_broker, ensure_topics
from streams.metrics_port import write_targets
from streams.reference_files import load_references, publish_references
from streams.supervise import Role, Supervisor

if TYPE_CHECKING:
    from streams.config import Config

log = structlog.get_logger()

RUN_FOLDER = Path("var/run")
LOG_FOLDER = Path("var/log")
BOOTSTRAP_VARIABLE = "DRIFTLINE__KAFKA__BOOTSTRAP"
METRICS_VARIABLE = "DRIFTLINE__METRICS__PORT"
TARGETS_FILE = "prometheus.json"
"""In the run folder: the roles' metrics ports, for ``file_sd_configs`` of Prometheus."""
_LAST_PORT = 65_535
_BROKER_READY_MS = 20_000
_ROLE_READY_MS = 180_000
"""A role that ends is seen at once; one that runs may be slow: a new store, on a busy machine."""

EMBEDDED_PROMISE = (
    "embedded mode: events live in memory and are read at least once; "
    "exactly-once across a crash, and durability, need a real Kafka (kafka.bootstrap)"
)


def start_all(
    config: Config, config_path: Path | None, supervisor: Supervisor, input_partitions: int = 4
) -> Config:
    """Start every role and wait until each is ready. Returns the configuration with the broker's
    address in it."""
    references = load_references(config.references)
    environment: dict[str, str] = {}
    ports = metrics_ports(config)
    if config.kafka.embedded:
        config = _start_broker(config, supervisor, input_partitions)
        environment[BOOTSTRAP_VARIABLE] = config.kafka.bootstrap
        log.warning(EMBEDDED_PROMISE)
    check_broker(config.kafka, [item.topic for item in config.inputs])
    ensure_topics(config.kafka, topic_specs(config.kafka))
    publish_references(config.kafka, references)
    for name, arguments, service in _roles(config):
        supervisor.start(
            Role(
                name,
                _argv(arguments, config_path),
                service=service,
                ready_file=RUN_FOLDER / f"{name}.ready",
                environment={**environment, **_port_variable(ports.get(name))},
            )
        )
    for name, _, _ in _roles(config):
        supervisor.wait_ready(name, _ROLE_READY_MS)
    if ports:
        host = config.metrics.host
        targets = {name: f"{host}:{port}" for name, port in ports.items()}
        targets["serve"] = f"{config.serve.host}:{config.serve.port}"
        write_targets(RUN_FOLDER / TARGETS_FILE, targets)
        log.info("metrics_ports", targets=str(RUN_FOLDER / TARGETS_FILE), **ports)
    return config


def metrics_ports(config: Config) -> dict[str, int]:
    """The metrics port of each role, counted on from ``metrics.port``; none if that is 0. ``serve``
    has its metrics where it serves. Raises `UserError` if they go beyond 65535."""
    first = config.metrics.port
    if not first:
        return {}
    names = [name for name, _, _ in _roles(config) if name != "serve"]
    if first + len(names) - 1 > _LAST_PORT:
        raise UserError(
            f"too high for {len(names)} roles", "metrics.port", f"take {_LAST_PORT - 999} or less"
        )
    return {name: first + index for index, name in enumerate(names)}


def _port_variable(port: int | None) -> dict[str, str]:
    return {} if port is None else {METRICS_VARIABLE: str(port)}


def _roles(config: Config) -> list[tuple[str, str, bool]]:
    """Name, command and whether others talk to it, in the order of starting."""
    roles = [("store", "store", True)]
    roles += [(name, name, False) for name in ("judge", "deliver", "serve")]
    workers = range(1, config.summarize.processes + 1)
    return roles + [(f"summarize-{number}", "summarize", False) for number in workers]


def _argv(role: str, config_path: Path | None) -> tuple[str, ...]:
    argv = (sys.executable, "-m", "streams", role)
    return argv if config_path is None else (*argv, "--config", str(config_path))


def _start_broker(config: Config, supervisor: Supervisor, input_partitions: int) -> Config:
    topics = {item.topic: input_partitions for item in config.inputs}
    topics |= {name: spec.partitions for name, spec in topic_specs(config.kafka).items()}
    address_file = RUN_FOLDER / "broker.address"
    address_file.unlink(missing_ok=True)
    supervisor.start(
        Role(
            "broker",
            tuple(broker_command(topics, address_file)),
            service=True,
            restart=False,
            ready_file=address_file,
        )
    )
    address = supervisor.wait_ready("broker", _BROKER_READY_MS)
    kafka = replace(config.kafka, bootstrap=embedded_at(address))
    return config.model_copy(update={"kafka": kafka})


def run(
    config: Config, config_path: Path | None = None, until: Callable[[], bool] = lambda: False
) -> int:
    """Run everything until SIGTERM, SIGINT or a role that cannot be kept running."""
    with Supervisor(LOG_FOLDER) as supervisor:
        config = start_all(config, config_path, supervisor)
        log.info(
            "driftline is up",
            kafka=config.kafka.servers,
            api=f"http://{config.serve.host}:{config.serve.port}",
            logs=str(LOG_FOLDER),
            pid=os.getpid(),
        )
        status = supervisor.run(until)
        if supervisor.failure is not None:
            raise supervisor.failure
        return status

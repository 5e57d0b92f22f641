"""The embedded broker: librdkafka's mock cluster, in a process of its own.

``python -m streams.embedded_broker --topics predictions:8,driftline.verdicts:1 --address-file F``
listens on loopback, writes ``host:port`` to F (atomically, once it can be used) and runs until
SIGTERM or until the process that started it dies. It speaks Kafka's protocol to any client.

What it is not (measured with librdkafka 2.16; none of it can be configured):

- Nothing is durable: the log lives in this process's memory.
- A partition keeps its newest 5 MiB of record batches as they were sent, so compressed batches go
  further; older ones vanish whether or not they were read. A consumer that falls behind is moved
  to ``auto.offset.reset`` with no error: pace producers by the consumers' lag. Batches of one
  message are found by walking a list: let producers linger.
- Transactions are hollow: they succeed, but offsets sent with them are not stored, records can be
  read before and without commit, and a producer with a stolen transactional.id is not fenced.
  Commit offsets plainly on it. Plain commits do keep offset metadata.
- There is no topic creation by admin request; a topic that is not in ``--topics`` comes into being
  at first use, with 4 partitions. Compaction does not exist: "compacted" topics keep 5 MiB.
- An empty fetch is answered only after the client's ``fetch.wait.max.ms``, and data that arrive
  in between do not end the wait: consumers should ask for about 50 ms.
- The port is always an ephemeral one: the library binds port 0 and has no option for it.

Topics with chosen partition counts need the mock cluster's C functions, which are reached through
ctypes in the library that confluent_kafka has loaded. If they are not there, every topic gets 4
partitions, and one line on stderr says so.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import confluent_kafka

from streams.tied_process import end, tied

AUTO_PARTITIONS = 4
"""Partitions of a topic that the broker makes by itself at first use."""

REBALANCE_DELAY_MS = 100
"""How long a new consumer group waits for more members; the library's own default is 3 s."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
_MAX_PARTITIONS = 1000
_START_S = 15.0
_STOP_S = 3.0
_PRODUCER = 0  # rd_kafka_type_t


class EmbeddedBrokerFailed(Exception):
    """The embedded broker's process did not come up; the text ends with what it said."""


class _NoMockFunctions(Exception):
    """The loaded librdkafka cannot be found, or does not export its mock cluster."""


def command(topics: Mapping[str, int], address_file: Path) -> list[str]:
    """The argument list that runs a broker with ``topics`` (name to number of partitions)."""
    listing = ",".join(f"{name}:{count}" for name, count in topics.items())
    module = [sys.executable, "-m", "streams.embedded_broker"]
    return [*module, "--topics", listing, "--address-file", str(address_file)]


@contextmanager
def running(topics: Mapping[str, int]) -> Iterator[str]:
    """Runs a broker for the length of a ``with`` block and gives its ``host:port``.

    Raises `EmbeddedBrokerFailed` if it does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="driftline-broker-") as folder:
        address_file, log = Path(folder, "address"), Path(folder, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                tied(command(topics, address_file)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + _START_S
            while not address_file.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    said = log.read_text(encoding="utf-8", errors="replace").strip()
                    raise EmbeddedBrokerFailed(f"the embedded broker did not start: {said[-500:]}")
                time.sleep(0.01)
            yield address_file.read_text(encoding="utf-8").strip()
        finally:
            end(process, _STOP_S)


def parse_topics(listing: str) -> dict[str, int]:
    """``name:partitions,...`` to a mapping. Raises ValueError naming the entry that is wrong."""
    topics: dict[str, int] = {}
    for entry in filter(None, (part.strip() for part in listing.split(","))):
        name, _, count = entry.rpartition(":")
        if _NAME.fullmatch(name) is None or not count.isascii() or not count.isdigit():
            raise ValueError(f"{entry!r} is not NAME:PARTITIONS with a valid Kafka topic name")
        if not 1 <= int(count) <= _MAX_PARTITIONS:
            raise ValueError(f"{entry!r}: partitions must be between 1 and {_MAX_PARTITIONS}")
        topics[name] = int(count)
    return topics


def write_atomically(path: Path, text: str) -> None:
    """Readers see no file or the whole text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _loaded_library() -> ctypes.CDLL:
    """The librdkafka that confluent_kafka has loaded into this process."""
    paths: list[str] = []
    maps = Path("/proc/self/maps")
    if maps.exists():
        paths = [line.split(None, 5)[-1] for line in maps.read_text().splitlines()]
        paths = [path for path in paths if "librdkafka" in path]
    package = Path(confluent_kafka.__file__).parent
    for folder in (package.with_name("confluent_kafka.libs"), package / ".dylibs"):
        paths += [str(found) for found in sorted(folder.glob("librdkafka*"))]
    for path in dict.fromkeys(paths):
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        if hasattr(library, "rd_kafka_mock_topic_create"):
            return library
    raise _NoMockFunctions


def _cluster_with_topics(topics: Mapping[str, int]) -> tuple[str, object]:
    """A one-broker cluster made by the C functions: its address, and what keeps it alive."""
    library = _loaded_library()
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int

    def function(name: str, result: Any, *arguments: Any) -> Any:
        found = getattr(library, name, None)
        if found is None:
            raise _NoMockFunctions
        found.restype, found.argtypes = result, list(arguments)
        return found

    conf_new = function("rd_kafka_conf_new", pointer)
    conf_set = function("rd_kafka_conf_set", number, pointer, text, text, text, ctypes.c_size_t)
    client_new = function("rd_kafka_new", pointer, number, pointer, text, ctypes.c_size_t)
    cluster_new = function("rd_kafka_mock_cluster_new", pointer, pointer, number)
    bootstraps = function("rd_kafka_mock_cluster_bootstraps", text, pointer)
    topic_create = function("rd_kafka_mock_topic_create", number, pointer, text, number, number)
    rebalance_delay = function(
        "rd_kafka_mock_group_initial_rebalance_delay_ms", None, pointer, ctypes.c_int32
    )

    message = ctypes.create_string_buffer(512)
    conf = conf_new()
    conf_set(conf, b"log_level", b"3", message, len(message))
    client = client_new(_PRODUCER, conf, message, len(message))
    cluster = cluster_new(client, 1) if client else None
    if not cluster:
        raise EmbeddedBrokerFailed("librdkafka could not make a mock cluster")
    rebalance_delay(cluster, REBALANCE_DELAY_MS)
    for name, partitions in topics.items():
        error = topic_create(cluster, name.encode(), partitions, 1)
        if error:
            raise EmbeddedBrokerFailed(f"topic {name} could not be made (librdkafka error {error})")
    return bootstraps(cluster).decode(), library


def _cluster_without_topics() -> tuple[str, object]:
    """The same by configuration alone: topics come into being with 4 partitions."""
    client = confluent_kafka.Producer(
        {"bootstrap.servers": "127.0.0.1:1", "test.mock.num.brokers": 1, "log_level": 3}
    )
    broker = next(iter(client.list_topics(timeout=5).brokers.values()))
    return f"{broker.host}:{broker.port}", client


def _serve(topics: Mapping[str, int], address_file: Path) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        address, alive = _cluster_with_topics(topics)
    except _NoMockFunctions:
        sys.stderr.write(
            "warning: this librdkafka does not export its mock cluster:"
            f" every topic of the embedded broker has {AUTO_PARTITIONS} partitions\n"
        )
        address, alive = _cluster_without_topics()
    write_atomically(address_file, address + "\n")
    try:
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    finally:
        del alive
        address_file.unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m streams.embedded_broker")
    parser.add_argument("--topics", default="", help="NAME:PARTITIONS,... to make at start")
    parser.add_argument("--address-file", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        topics = parse_topics(arguments.topics)
        _serve(topics, arguments.address_file)
    except (ValueError, OSError, EmbeddedBrokerFailed) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

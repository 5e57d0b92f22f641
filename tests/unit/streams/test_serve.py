"""The role serve: reads all verdicts, says when it has, stops quickly, and says what is wrong."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition

from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from sinks.serve_settings import ServeSettings
from sinks.verdict_board import Decision, VerdictBoard
from streams.config import load_config
from streams.errors import UnavailableError, UserError
from streams.serve import listen, serve, settings_of
from streams.verdict_reader import VerdictReader
from streams.wire import decode_verdict, encode_verdict

TOPIC = "verdicts"
NOW = 1_700_000_000_000


def verdict(status: Status, sequence: int = 1, version: str = "2") -> Verdict:
    return Verdict(
        release=Release("m", version, Role.CANARY),
        status=status,
        reason="because",
        sequence=sequence,
        as_of_ms=NOW,
        window_start_ms=NOW,
        window_ms=60_000,
        baseline_version="1",
        events=5,
        p95_latency_ms=1.0,
        p99_latency_ms=1.0,
        findings=(),
        offset=0,
    )


def record(value: bytes | None, at_ms: int = NOW, partition: int = 0, kind: int = 1) -> Message:
    return Message(
        topic=TOPIC, partition=partition, offset=0, key=b"k", value=value, timestamp=(kind, at_ms)
    )


def at_end(partition: int) -> Message:
    return Message(topic=TOPIC, partition=partition, error=KafkaError(KafkaError._PARTITION_EOF))


class _Topic:
    def __init__(self, partitions: int) -> None:
        self.partitions = dict.fromkeys(range(partitions))
        self.error = None


class _Metadata:
    def __init__(self, topics: dict[str, _Topic]) -> None:
        self.topics = topics


class FakeConsumer:
    """Plays a list of messages; an exception in it is raised. Then there is nothing more."""

    def __init__(self, script: list[Message | Exception], partitions: int = 1) -> None:
        self.script = script
        self.partitions = partitions
        self.assigned: list[TopicPartition] = []
        self.closed = False

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        return _Metadata({TOPIC: _Topic(self.partitions)} if self.partitions else {})

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = partitions

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned = [*self.assigned, *partitions]

    def poll(self, timeout: float = -1) -> Message | None:
        if not self.script:
            time.sleep(0.005)
            return None
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        self.closed = True


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for a condition; fail if it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


@contextmanager
def reading(*consumers: FakeConsumer) -> Iterator[tuple[VerdictReader, VerdictBoard]]:
    board, left = VerdictBoard(), list(consumers)
    with VerdictReader(lambda: left.pop(0), decode_verdict, board, TOPIC, lambda: NOW) as reader:
        yield reader, board


def decision(board: VerdictBoard) -> Decision:
    return board.answer("m", "2", Role.CANARY, NOW, 300_000).decision


def test_it_is_ready_only_when_every_partition_was_read_to_its_end() -> None:
    consumer = FakeConsumer([record(encode_verdict(verdict(Status.PASS))), at_end(0)], 2)
    with reading(consumer) as (reader, board):
        until(lambda: not consumer.script)
        assert decision(board) is Decision.PASS
        assert not reader.readiness().ready
        consumer.script.append(at_end(1))
        until(lambda: reader.readiness().ready)
        assert [(p.partition, p.offset) for p in consumer.assigned] == [
            (0, OFFSET_BEGINNING),
            (1, OFFSET_BEGINNING),
        ]
    assert consumer.closed
    assert not reader.readiness().ready


def test_a_verdict_counts_from_when_it_was_written_not_from_when_it_was_read() -> None:
    value = encode_verdict(verdict(Status.PASS))
    for message in (record(value, NOW - 300_001), record(value, NOW, kind=0)):
        with reading(FakeConsumer([message, at_end(0)])) as (reader, board):
            until(lambda: reader.readiness().ready)
            assert decision(board) is Decision.INCONCLUSIVE


def test_a_verdict_from_the_future_is_as_of_now() -> None:
    message = record(encode_verdict(verdict(Status.PASS)), NOW + 10**9)
    with reading(FakeConsumer([message, at_end(0)])) as (reader, board):
        until(lambda: reader.readiness().ready)
        later = board.answer("m", "2", Role.CANARY, NOW + 300_001, 300_000)
        assert later.decision is Decision.INCONCLUSIVE


def test_what_cannot_be_read_is_counted_and_passed_over() -> None:
    values = [b"", b"{", b"null", b'{"verdict":{}}', b"\xff" * 9, b"[" * 10_000, None]
    script: list[Message | Exception] = [record(value) for value in values]
    script += [record(encode_verdict(verdict(Status.PASS))), at_end(0)]
    with reading(FakeConsumer(script)) as (reader, board):
        until(lambda: reader.readiness().ready)
        assert decision(board) is Decision.PASS
        assert reader.unreadable == len(values) - 1


def test_after_a_failure_it_reads_everything_again_and_is_not_ready_meanwhile() -> None:
    broken = FakeConsumer(
        [at_end(0), KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)), at_end(0)]
    )
    whole = FakeConsumer([record(encode_verdict(verdict(Status.FAIL)))])
    with reading(broken, whole) as (reader, board):
        until(lambda: "Kafka does not answer" in reader.readiness().reason)
        assert broken.closed
        until(lambda: decision(board) is Decision.FAIL)
        assert not reader.readiness().ready
        whole.script.append(at_end(0))
        until(lambda: reader.readiness().ready)


def test_it_waits_for_a_topic_that_is_not_there_yet() -> None:
    with reading(FakeConsumer([], 0), FakeConsumer([at_end(0)])) as (reader, _):
        until(lambda: "not there yet" in reader.readiness().reason)
        until(lambda: reader.readiness().ready)


@contextmanager
def serving(settings: ServeSettings, consumer: FakeConsumer) -> Iterator[str]:
    stop, urls = threading.Event(), list[str]()
    thread = threading.Thread(
        target=serve,
        args=(settings, lambda: consumer, decode_verdict, lambda _: []),
        kwargs={"stop": stop.is_set, "on_ready": urls.append, "topic": TOPIC},
    )
    thread.start()
    try:
        until(lambda: bool(urls))
        yield urls[0]
    finally:
        stop.set()
        thread.join(timeout=5)
        assert not thread.is_alive(), "serve did not stop within 5 s"


def test_it_answers_over_http_and_stops_within_five_seconds() -> None:
    now = replace(verdict(Status.PASS), as_of_ms=2**52)
    long_ago = verdict(Status.PASS, version="1")
    said = [record(encode_verdict(each), 2**52) for each in (now, long_ago)]
    consumer = FakeConsumer([*said, at_end(0)])
    with serving(ServeSettings(port=0), consumer) as url:
        with httpx2.Client(base_url=url, trust_env=False) as client:
            until(lambda: client.get("/readyz").status_code == 200)
            body = client.get("/v1/verdict", params={"model": "m", "version": "2"}).json()
            assert body["verdict"] == "pass"
            body = client.get("/v1/verdict", params={"model": "m", "version": "1"}).json()
            assert (body["verdict"], body["status"]) == ("inconclusive", "blind")
            assert body["reasons"][0].startswith("the data behind this are")
            assert "server" not in client.get("/healthz").headers
        # A connection that says nothing must not hold up the stop.
        host, port = url.removeprefix("http://").split(":")
        idle = socket.create_connection((host, int(port)))
        began = time.monotonic()
    idle.close()
    assert time.monotonic() - began < 5
    assert consumer.closed


def test_a_port_in_use_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError) as caught:
            listen(ServeSettings(port=port))
    assert str(caught.value).startswith(f"127.0.0.1:{port}: the port is in use; ")


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_one_clear_error(host: str) -> None:
    with pytest.raises(UserError, match="not an address of this machine"):
        listen(ServeSettings(host=host, port=0))


def test_data_may_always_be_as_old_as_some_panes(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("time: {pane: 1h, windows: [1h, 1d]}\n")
    assert settings_of(load_config(file, {})).max_data_age_ms == 3 * 3_600_000
    assert settings_of(load_config(None, {})).max_data_age_ms == 3_600_000

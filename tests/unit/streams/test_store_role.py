"""The store role on the embedded broker and the embedded store, as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import clickhouse_connect
import pytest
from confluent_kafka import Producer

from sinks.clickhouse import StoreSettings
from sinks.embedded_store import EmbeddedStore
from streams.embedded_broker import running
from streams.errors import UnavailableError
from streams.kafka import embedded_at
from streams.store import run_store
from streams.supervise import READY_FILE_VARIABLE

REPOSITORY = Path(__file__).parents[3]
TOPIC = "driftline.deadletters"


def wait_for(found: Callable[[], bool], seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found():
            return True
        time.sleep(0.1)
    return False


@pytest.fixture
def broker() -> Iterator[str]:
    with running({TOPIC: 1}) as address:
        yield address


def dead_letters(first: int, count: int) -> bytes:
    rows = [
        {
            "topic": "in",
            "partition": 0,
            "offset": offset,
            "row": -1,
            "reason": "not JSON",
            "bytes": 3,
            "seen_at": 1_700_000_000_000,
        }
        for offset in range(first, first + count)
    ]
    return json.dumps({"bytes": "", "rows": rows}).encode()


@pytest.mark.embedded
def test_rows_written_to_kafka_can_be_read_over_http_and_survive_a_restart(
    broker: str, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    environment = {
        **os.environ,
        READY_FILE_VARIABLE: str(ready),
        "DRIFTLINE__KAFKA__BOOTSTRAP": embedded_at(broker),
        "DRIFTLINE__STORE__PATH": str(tmp_path / "store"),
        "DRIFTLINE__STORE__HTTP_PORT": "0",
    }
    producer = Producer({"bootstrap.servers": broker})
    for turn in (0, 1):
        producer.produce(TOPIC, dead_letters(turn * 10, 10))
        producer.produce(TOPIC, b"not for the store")
        producer.flush(10)
        ready.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", "from streams.cli import main; main()", "store"],
            cwd=REPOSITORY,
            env=environment,
        )
        try:
            assert wait_for(ready.exists)
            port = int(ready.read_text().strip().rpartition(":")[2])
            client = clickhouse_connect.get_client(host="127.0.0.1", port=port)
            sql = "SELECT count() FROM driftline.dead_letters FINAL"
            stored = wait_for(lambda: client.query(sql).result_rows[0][0] == 10 * (turn + 1))  # noqa: B023
            client.close()
            assert stored
            process.send_signal(signal.SIGTERM)
            asked = time.monotonic()
            assert process.wait(10) == 0
            assert time.monotonic() - asked < 5
        finally:
            process.kill()
            process.wait(10)


def test_a_locked_store_is_one_line_of_what_to_do(tmp_path: Path) -> None:
    with (
        EmbeddedStore(tmp_path),
        pytest.raises(UnavailableError, match=r"in use by another process.*store\.path"),
    ):
        run_store(StoreSettings(path=str(tmp_path)), {}, lambda: True)


def test_a_server_that_is_not_up_is_waited_for_until_told_to_stop() -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    counts = run_store(StoreSettings(url="http://127.0.0.1:1"), {}, stop)
    assert counts.messages == 0
    assert len(asked) == 4

"""Own metrics: what roles tell Prometheus, bounded and escaped."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from sinks.board_metrics import MAX_RELEASES, BoardMetrics
from sinks.errors import Permanent, Retryable
from sinks.verdict_board import VerdictBoard
from streams import metrics_port as port_module
from streams.config import load_config
from streams.errors import UnavailableError, UserError
from streams.intake import PartitionIntake
from streams.metrics_port import MAX_SCRAPES, MetricsSettings, metrics_port, new_registry, open_port
from streams.metrics_store import SIZES_EVERY_S, StoreMetrics, TableSize, TableSizes
from streams.metrics_summarize import SummarizeMetrics
from streams.metrics_verdicts import DeliverMetrics, JudgeMetrics
from streams.outputs import Outputs
from streams.up import metrics_ports

NOW = 1_700_000_000_000


def samples(registry: CollectorRegistry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What Prometheus would read, through its own text format."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return samples(registry).get((name, frozenset(labels.items())))


def get(port: int, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


# --- the port ------------------------------------------------------------------------------------


def test_a_port_answers_in_prometheus_format_with_what_every_process_has() -> None:
    registry = new_registry()
    Counter("driftline_x", "x", registry=registry).inc(3)
    with open_port("127.0.0.1", 0, registry) as port:
        families = {f.name: f for f in text_string_to_metric_families(get(port))}
    assert families["driftline_x"].samples[0].value == 3
    assert {"process_resident_memory_bytes", "process_cpu_seconds"} <= set(families)


def test_no_port_is_opened_unless_one_is_configured() -> None:
    with metrics_port(MetricsSettings(), new_registry()) as port:
        assert port == 0


def test_a_port_that_is_taken_is_one_line_of_what_to_do() -> None:
    with open_port("127.0.0.1", 0, new_registry()) as port:
        settings = MetricsSettings(port=port)
        with (
            pytest.raises(UnavailableError, match=r"in use.*metrics\.port"),
            metrics_port(settings, new_registry()),
        ):
            pass


def test_after_the_block_the_port_is_free() -> None:
    with open_port("127.0.0.1", 0, new_registry()) as port:
        pass
    with open_port("127.0.0.1", port, new_registry()) as again:
        assert again == port


def test_connections_that_say_nothing_hold_up_nobody_for_long() -> None:
    with open_port("127.0.0.1", 0, new_registry()) as port:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(MAX_SCRAPES + 20)]
        try:
            time.sleep(0.2)
            ended = sum(_ended(each) for each in silent)
            assert ended >= 20  # beyond the bound they were closed at once
            until = time.monotonic() + port_module._SILENCE_S + 5
            answered = ""
            while not answered and time.monotonic() < until:
                try:
                    answered = get(port)
                except OSError:
                    time.sleep(0.2)
            assert "python_info" in answered
        finally:
            for each in silent:
                each.close()


def _ended(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("bad", [{"port": -1}, {"port": 70_000}, {"host": ""}, {"host": " h"}])
def test_an_address_that_cannot_be_is_refused(bad: dict[str, int | str]) -> None:
    with pytest.raises(ValueError, match="metrics"):
        MetricsSettings(**bad)  # type: ignore[arg-type]


def test_up_gives_each_role_a_port_of_its_own() -> None:
    config = load_config(
        None, {"DRIFTLINE__METRICS__PORT": "9400", "DRIFTLINE__SUMMARIZE__PROCESSES": "2"}
    )
    assert metrics_ports(config) == {
        "store": 9400,
        "judge": 9401,
        "deliver": 9402,
        "summarize-1": 9403,
        "summarize-2": 9404,
    }
    assert metrics_ports(load_config(None, {})) == {}


def test_up_refuses_ports_that_are_none() -> None:
    with pytest.raises(UserError, match=r"metrics\.port"):
        metrics_ports(load_config(None, {"DRIFTLINE__METRICS__PORT": "65533"}))


def test_targets_are_written_as_prometheus_discovers_them(tmp_path: Path) -> None:
    port_module.write_targets(tmp_path / "run" / "p.json", {"judge": "127.0.0.1:1"})
    found = json.loads((tmp_path / "run" / "p.json").read_text())
    assert found == [{"targets": ["127.0.0.1:1"], "labels": {"role": "judge"}}]


# --- summarize -----------------------------------------------------------------------------------


def test_what_a_flush_held_is_counted_by_partition_and_fate() -> None:
    registry = CollectorRegistry()
    metrics = SummarizeMetrics(registry)
    intake = PartitionIntake(
        2, newest_ms=NOW - 5_000, messages=10, events=6, dead=1, late=2, capped=1
    )
    for _ in range(2):
        metrics.flushed({("in", 1): intake}, {("in", 1): 7}, 0.2, NOW)
    at = {"topic": "in", "partition": "1"}
    assert value(registry, "driftline_intake_messages_total", **at) == 20
    fates = {"counted": 12, "dead": 2, "late": 4, "folded": 2}
    for fate, count in fates.items():
        assert value(registry, "driftline_intake_rows_total", **at, fate=fate) == count
    assert value(registry, "driftline_input_lag_messages", **at) == 7
    assert value(registry, "driftline_input_watermark_age_seconds", **at) == 5
    assert value(registry, "driftline_flush_seconds_count") == 2


def test_a_partition_that_another_worker_has_is_not_shown_any_more() -> None:
    registry = CollectorRegistry()
    metrics = SummarizeMetrics(registry)
    both = {("in", p): PartitionIntake(2, newest_ms=NOW, messages=1) for p in (0, 1)}
    metrics.flushed(both, dict.fromkeys(both, 0), 0.1, NOW)
    metrics.flushed({("in", 0): both["in", 0]}, dict.fromkeys(both, 0), 0.1, NOW)
    lags = [s for s in samples(registry) if s[0] == "driftline_input_lag_messages"]
    assert len(lags) == 1
    assert value(registry, "driftline_input_partitions") == 1


def test_an_unknown_lag_and_a_partition_without_events_are_not_shown_as_zero() -> None:
    registry = CollectorRegistry()
    SummarizeMetrics(registry).flushed({("in", 0): PartitionIntake(1)}, {("in", 0): -1}, 0.1, NOW)
    shown = {name for name, _ in samples(registry)}
    assert "driftline_input_lag_messages" not in shown
    assert "driftline_input_watermark_age_seconds" not in shown


# --- store ---------------------------------------------------------------------------------------


def test_rows_inserts_and_retries_of_the_store_are_counted() -> None:
    registry = CollectorRegistry()
    metrics = StoreMetrics(registry)
    metrics.retried()
    assert value(registry, "driftline_store_away") == 1
    metrics.inserted("windows", 500, 0.1)
    metrics.stored(NOW)
    assert value(registry, "driftline_store_away") == 0
    assert value(registry, "driftline_store_rows_total", table="windows") == 500
    assert value(registry, "driftline_store_inserts_total", table="windows") == 1
    assert value(registry, "driftline_store_last_stored_seconds") == NOW / 1000


@pytest.mark.parametrize("error", [Retryable("away"), Permanent("refused")])
def test_sizes_are_asked_for_now_and_then_and_a_silent_store_has_none(error: Exception) -> None:
    registry = CollectorRegistry()
    clock, asked, fails = [0.0], [0], [False]

    def ask() -> Sequence[TableSize]:
        asked[0] += 1
        if fails[0]:
            raise error
        return [TableSize("windows", 10, 2_000)]

    registry.register(TableSizes(ask, lambda: clock[0]))
    assert asked == [0]  # registering asks nothing
    for _ in range(5):
        assert value(registry, "driftline_table_bytes", table="windows") == 2_000
    assert asked == [1]
    clock[0], fails[0] = SIZES_EVERY_S, True
    assert value(registry, "driftline_table_bytes", table="windows") is None
    assert value(registry, "driftline_store_answers") == 0


# --- judge and deliver ---------------------------------------------------------------------------


def test_the_judge_counts_verdicts_by_status_and_forgets_partitions() -> None:
    registry = CollectorRegistry()
    metrics = JudgeMetrics(registry)
    outputs = Outputs(windows=[{}, {}], verdicts=[verdict("m")], late=3)
    metrics.published(outputs)
    metrics.applied(4, 17, 0.01, [NOW - 9_000, NOW - 2_000, -(2**62)], NOW)
    assert value(registry, "driftline_judge_verdicts_total", status=Status.FAIL.value) == 1
    assert value(registry, "driftline_judge_windows_total") == 2
    assert value(registry, "driftline_judge_late_total") == 3
    assert value(registry, "driftline_judge_offset", partition="4") == 17
    assert value(registry, "driftline_judge_input_age_seconds", partition="4") == 9
    metrics.forget()
    assert value(registry, "driftline_judge_offset", partition="4") is None


def test_what_waits_for_its_receiver_is_shown() -> None:
    registry = CollectorRegistry()
    metrics = DeliverMetrics(registry)
    metrics.waiting(3)
    metrics.took()
    assert value(registry, "driftline_deliveries_waiting") == 3
    assert value(registry, "driftline_deliver_verdicts_total") == 1


# --- names from outside --------------------------------------------------------------------------

HOSTILE = [
    'quo"te', "back\\slash", 'a"} 1\ndriftline_forged{x="', "new\nline", "{{7*7}}", "<b>",
    "tab\t", "\x1b[31m", "\u2028", "😀", "'; DROP", "x" * 200, "",
]  # fmt: skip


def verdict(model: str) -> Verdict:
    return Verdict(
        release=Release(model, "1", Role.CANARY),
        sequence=1,
        status=Status.FAIL,
        reason="",
        as_of_ms=NOW,
        window_start_ms=NOW,
        window_ms=60_000,
        baseline_version="0",
        events=1,
        findings=(),
        offset=0,
        p95_latency_ms=float("nan"),
        p99_latency_ms=float("nan"),
        further_events=None,
        further_ms=None,
        upstream=(),
    )


@pytest.mark.parametrize("most", [MAX_RELEASES, 10**9], ids=["H6-guard", "H6-no-guard"])
def test_series_of_releases_are_bounded_and_what_is_left_out_is_said(most: int) -> None:
    registry = CollectorRegistry()
    board = VerdictBoard(10_000, 300_000)
    for number in range(2_000):
        board.update(verdict(f"model-{number}"), NOW)
    registry.register(BoardMetrics(board, lambda: NOW, 300_000, lambda: True, most))
    found = samples(registry)
    guarded = most == MAX_RELEASES
    assert (len(found) < 3 * MAX_RELEASES + 50) is guarded
    assert found["driftline_releases_left_out", frozenset()] == (
        2_000 - MAX_RELEASES if guarded else 0
    )


def test_names_from_outside_can_neither_forge_nor_break_a_metric() -> None:
    registry = CollectorRegistry()
    board = VerdictBoard(100, 300_000)
    for model in HOSTILE:
        board.update(verdict(model), NOW)
    registry.register(BoardMetrics(board, lambda: NOW, 300_000, lambda: True))
    found = samples(registry)
    models = {dict(labels).get("model") for name, labels in found if name.endswith("_status")}
    assert models == set(HOSTILE)
    assert not any(name == "driftline_forged" for name, _ in found)


def test_without_escaping_a_name_would_forge_a_metric() -> None:
    """The guard removed: labels are written as they are."""
    text = "".join(f'driftline_release_status{{model="{name}"}} 4\n' for name in HOSTILE[2:3])
    names = {s.name for family in text_string_to_metric_families(text) for s in family.samples}
    assert "driftline_forged" in names

"""What ``judge`` and ``deliver`` tell Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from streams.outbox import ActionRow
from streams.outputs import Outputs

_RECORD_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)


class JudgeMetrics:
    """Counters of one judge, changed after each record."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._records = Counter(
            "driftline_judge_records", "Records of summaries applied.", registry=registry
        )
        self._seconds = Histogram(
            "driftline_judge_record_seconds",
            "From taking a record to having written its state.",
            buckets=_RECORD_S,
            registry=registry,
        )
        self._windows = Counter(
            "driftline_judge_windows", "Rows of closed windows published.", registry=registry
        )
        self._findings = Counter(
            "driftline_judge_findings", "Findings published.", ("outcome",), registry=registry
        )
        self._verdicts = Counter(
            "driftline_judge_verdicts",
            "Verdicts published, repeated ones included.",
            ("status",),
            registry=registry,
        )
        self._late = Counter(
            "driftline_judge_late", "Events too late for a window, left out.", registry=registry
        )
        self._refused = Counter(
            "driftline_judge_records_refused", "Records that cannot be read.", registry=registry
        )
        self._made_again = Counter(
            "driftline_judge_topics_made_again",
            "Partitions of summaries whose topic was found to be another one than before.",
            registry=registry,
        )
        self._watermark = Gauge(
            "driftline_judge_input_age_seconds",
            "Wall clock less the newest event time of the input partition that is furthest behind"
            " and not idle, as told to a partition of summaries.",
            ("partition",),
            registry=registry,
        )
        self._offset = Gauge(
            "driftline_judge_offset",
            "Offset of summaries applied last.",
            ("partition",),
            registry=registry,
        )

    def published(self, outputs: Outputs) -> None:
        """One model's results of a record are in Kafka."""
        self._windows.inc(len(outputs.windows))
        self._late.inc(outputs.late)
        for finding in outputs.findings:
            self._findings.labels(finding.outcome.value).inc()
        for verdict in outputs.verdicts:
            self._verdicts.labels(verdict.status.value).inc()

    def applied(
        self, partition: int, offset: int, seconds: float, newest_ms: Iterable[int], now_ms: int
    ) -> None:
        """A record is applied. ``newest_ms``: of the input partitions that are not idle."""
        self._records.inc()
        self._seconds.observe(seconds)
        self._offset.labels(str(partition)).set(offset)
        oldest = min((ms for ms in newest_ms if ms > 0), default=None)
        if oldest is not None:
            self._watermark.labels(str(partition)).set((now_ms - oldest) / 1000)

    def forget(self) -> None:
        """Partitions have changed hands: what was said of them is not ours to say any more."""
        self._watermark.clear()
        self._offset.clear()

    def made_again(self) -> None:
        """A partition of ``summaries`` is of another topic than the state was."""
        self._made_again.inc()

    def refused(self) -> None:
        """A record could not be read."""
        self._refused.inc()


class DeliverMetrics:
    """Counters of one deliver role, changed when its state was written."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._steps = Counter(
            "driftline_delivery_steps",
            "Steps in the life of actions, by kind, receiver and the state reached.",
            ("kind", "receiver", "state"),
            registry=registry,
        )
        self._waiting = Gauge(
            "driftline_deliveries_waiting",
            "Actions decided and not yet acknowledged by their receiver.",
            registry=registry,
        )
        self._verdicts = Counter(
            "driftline_deliver_verdicts", "Verdicts taken in.", registry=registry
        )

    def took(self) -> None:
        """A verdict was taken in."""
        self._verdicts.inc()

    def kept(self, rows: Iterable[ActionRow]) -> None:
        """Steps that are published and remembered."""
        for row in rows:
            self._steps.labels(row.kind.value, row.receiver, row.state.value).inc()

    def waiting(self, count: int) -> None:
        """How many entries all outboxes hold."""
        self._waiting.set(count)

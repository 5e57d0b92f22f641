"""What ``summarize`` tells Prometheus. Counts are of what is committed; series are by partition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from streams.intake import PartitionIntake, Place
from streams.timeline import NEVER

_FLUSH_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LABELS: Final = ("topic", "partition")


class SummarizeMetrics:
    """Counters and gauges of one worker, changed at each flush."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, what: str) -> Counter:
            return Counter(f"driftline_intake_{name}", what, _LABELS, registry=registry)

        self._messages = counter("messages", "Messages read and committed.")
        self._lost = counter(
            "messages_lost",
            "Messages deleted before they were read; 1 for a topic that was made again.",
        )
        self._rows = Counter(
            "driftline_intake_rows",
            "What became of rows: counted, folded (counted under __other__ beyond a cap), late, or"
            " dead (unreadable).",
            (*_LABELS, "fate"),
            registry=registry,
        )
        self._lag = Gauge(
            "driftline_input_lag_messages",
            "Messages of a partition not read yet, also what an open transaction holds back.",
            _LABELS,
            registry=registry,
        )
        self._age = Gauge(
            "driftline_input_watermark_age_seconds",
            "Wall clock less the newest event time of a partition.",
            _LABELS,
            registry=registry,
        )
        self._flush = Histogram(
            "driftline_flush_seconds",
            "From a flush's begin to its commit.",
            buckets=_FLUSH_S,
            registry=registry,
        )
        self._refused = Counter(
            "driftline_flushes_refused",
            "Flushes that Kafka did not take; what was in them is read again.",
            registry=registry,
        )
        self._partitions = Gauge(
            "driftline_input_partitions", "Partitions assigned to this worker.", registry=registry
        )
        self._names = Counter(
            "driftline_names_turned_away",
            "How often a name was beyond its cap in `limits`, by what it is a name of.",
            ("kind",),
            registry=registry,
        )
        self._turned_away: dict[str, int] = {}
        self._shown: set[Place] = set()

    def flushed(
        self,
        partitions: Mapping[Place, PartitionIntake],
        left: Mapping[Place, int],
        seconds: float,
        now_ms: int,
    ) -> None:
        """A flush was committed; ``partitions`` still say what was in it. ``left``: what of each
        is not read yet; -1 or missing where that is not known."""
        self._flush.observe(seconds)
        self._partitions.set(len(partitions))
        for place, intake in partitions.items():
            labels = (place[0], str(place[1]))
            if intake.messages:
                self._messages.labels(*labels).inc(intake.messages)
                for fate, rows in (
                    ("counted", intake.events),
                    ("folded", intake.capped),
                    ("late", intake.late),
                    ("dead", intake.dead),
                ):
                    self._rows.labels(*labels, fate).inc(rows)
            if intake.lost:
                self._lost.labels(*labels).inc(max(intake.lost, 1))
            lag = left.get(place, -1)
            if lag >= 0:
                self._lag.labels(*labels).set(lag)
            if intake.newest_ms != NEVER:
                self._age.labels(*labels).set((now_ms - intake.newest_ms) / 1000)
            self._shown.add(place)
        for topic, partition in self._shown - set(partitions):
            # Another worker has it now, and tells of it.
            for gauge in (self._lag, self._age):
                gauge.remove(topic, str(partition))
            self._shown.discard((topic, partition))

    def turned_away(self, totals: Mapping[str, int]) -> None:
        """``totals`` since the start, or since what was read was last forgotten."""
        for kind, total in totals.items():
            before = self._turned_away.get(kind, 0)
            self._names.labels(kind).inc(total - before if total >= before else total)
            self._turned_away[kind] = total

    def refused(self) -> None:
        """A flush was refused."""
        self._refused.inc()

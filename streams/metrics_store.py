"""What ``store`` tells Prometheus: rows, inserts, and how large the tables are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sinks.errors import Permanent, Retryable

_INSERT_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZES_EVERY_S: Final = 15.0
"""A scrape asks the store no more often than this, however often it comes."""
SIZES_SQL: Final = (
    "SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts"
    " WHERE active AND database = {db:String} GROUP BY table ORDER BY table LIMIT 100"
)


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table as it lies on disk: rows include those that a merge will replace."""

    table: str
    rows: int
    bytes: int


class StoreMetrics:
    """Counters of one store role, changed by its loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rows = Counter("driftline_store_rows", "Rows stored.", ("table",), registry=registry)
        self._inserts = Counter(
            "driftline_store_inserts", "Inserts that succeeded.", ("table",), registry=registry
        )
        self._seconds = Histogram(
            "driftline_store_insert_seconds",
            "Time of an insert that succeeded.",
            buckets=_INSERT_S,
            registry=registry,
        )
        self._retries = Counter(
            "driftline_store_retries",
            "Inserts that failed and were tried again.",
            registry=registry,
        )
        self._refused = Counter(
            "driftline_store_messages_refused",
            "Messages that could not be read as rows.",
            registry=registry,
        )
        self._away = Gauge(
            "driftline_store_away", "1 while inserts fail and are repeated.", registry=registry
        )
        self._stored = Gauge(
            "driftline_store_last_stored_seconds",
            "Unix time at which everything read was last stored.",
            registry=registry,
        )

    def inserted(self, table: str, rows: int, seconds: float) -> None:
        self._rows.labels(table).inc(rows)
        self._inserts.labels(table).inc()
        self._seconds.observe(seconds)
        self._away.set(0)

    def retried(self) -> None:
        self._retries.inc()
        self._away.set(1)

    def refused(self) -> None:
        self._refused.inc()

    def stored(self, now_ms: int) -> None:
        """All that was read is stored and committed."""
        self._stored.set(now_ms / 1000)


class TopicsMadeAgain:
    """Counts them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._count = Counter(
            "driftline_store_topics_made_again",
            "Partitions whose topic was found to be another one than before.",
            registry=registry,
        )

    def found(self, partitions: int) -> None:
        """So many partitions at once."""
        self._count.inc(partitions)


class TableSizes(Collector):
    """Sizes of the tables, asked of the store at a scrape and kept for a while."""

    def __init__(
        self,
        ask: Callable[[], Sequence[TableSize]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``ask`` may raise Retryable or Permanent: then the store is shown as not answering."""
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_s: float | None = None
        self._kept: Sequence[TableSize] | None = None

    def collect(self) -> Iterator[Metric]:
        sizes = self._sizes()
        yield GaugeMetricFamily(
            "driftline_store_answers",
            "1 if the store answered when it was last asked for its sizes.",
            value=0 if sizes is None else 1,
        )
        rows = GaugeMetricFamily(
            "driftline_table_rows", "Rows on disk, replaced ones included.", labels=["table"]
        )
        size = GaugeMetricFamily("driftline_table_bytes", "Bytes on disk.", labels=["table"])
        for each in sizes or ():
            rows.add_metric([each.table], each.rows)
            size.add_metric([each.table], each.bytes)
        yield from (rows, size)

    def describe(self) -> list[Metric]:
        """Nothing: registering must not ask the store."""
        return []

    def _sizes(self) -> Sequence[TableSize] | None:
        with self._lock:
            now = self._clock()
            if self._asked_s is None or now - self._asked_s >= SIZES_EVERY_S:
                self._asked_s = now
                try:
                    self._kept = self._ask()
                except (Retryable, Permanent):
                    self._kept = None
            return self._kept

"""The verdict board as Prometheus metrics, read at each scrape.

Series are bounded: the counts by status cover every release, the per-release series only the
`MAX_RELEASES` most recently confirmed, and ``driftline_releases_left_out`` says how many are not
shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from detectors.verdict import Status
from sinks.verdict_board import VerdictBoard

MAX_RELEASES: Final = 500

STATUS_CODES: Final = {
    Status.PASS: 0.0,
    Status.INSUFFICIENT: 1.0,
    Status.BLIND: 2.0,
    Status.HOLD: 3.0,
    Status.FAIL: 4.0,
}
"""``driftline_release_status`` from healthy to broken, so that a rule can say ``> 0``."""


class BoardMetrics(Collector):
    """Collects from a board; ``ready`` says whether it has read everything there is.
    ``most_releases``: with series of their own."""

    def __init__(
        self,
        board: VerdictBoard,
        now_ms: Callable[[], int],
        max_age_ms: int,
        ready: Callable[[], bool],
        most_releases: int = MAX_RELEASES,
    ) -> None:
        self._most_releases = most_releases
        self._board = board
        self._now_ms = now_ms
        self._max_age_ms = max_age_ms
        self._ready = ready

    def collect(self) -> Iterator[Metric]:
        now_ms = self._now_ms()
        by_status = GaugeMetricFamily(
            "driftline_releases", "Releases by status; an old verdict is blind.", labels=["status"]
        )
        for status, count in self._board.counts(now_ms, self._max_age_ms).items():
            by_status.add_metric([status.value], count)
        yield by_status
        total, shown = self._board.answers(now_ms, self._max_age_ms, None, self._most_releases)
        labels = ["model", "version", "role"]
        status_of = GaugeMetricFamily(
            "driftline_release_status",
            "0 pass, 1 insufficient, 2 blind, 3 hold, 4 fail.",
            labels=labels,
        )
        age_of = GaugeMetricFamily(
            "driftline_verdict_age_seconds", "Since the verdict was written.", labels=labels
        )
        data_age_of = GaugeMetricFamily(
            "driftline_data_age_seconds",
            "Wall clock less the event time the verdict rests on.",
            labels=labels,
        )
        for answer in shown:
            release = [answer.model, answer.version, answer.role]
            status_of.add_metric(release, STATUS_CODES[answer.status])
            age_of.add_metric(release, answer.verdict_age_seconds)
            data_age_of.add_metric(release, answer.data_age_seconds)
        yield from (status_of, age_of, data_age_of)
        yield GaugeMetricFamily(
            "driftline_releases_left_out",
            "Releases held, but without series of their own.",
            value=total - len(shown),
        )
        yield GaugeMetricFamily(
            "driftline_releases_dropped",
            "Releases forgotten because there were too many.",
            value=self._board.dropped,
        )
        yield GaugeMetricFamily(
            "driftline_serve_ready",
            "1 if every verdict in Kafka has been read.",
            value=1 if self._ready() else 0,
        )

"""What a batch of summaries is computed to take is what a real Kafka keeps of it."""

from __future__ import annotations

import pytest

from bench.wire import sizes
from bench.wire_case import MIXES, flushes
from deploy.kafka.server import RealKafka

CLOCK_BYTES = 300
"""Of the record with the worker's clock: in the log it shares its batch with the summaries, which
are then fewer bytes more by what both have in common, the header first."""


@pytest.mark.kafka
@pytest.mark.parametrize("rate", [10, 10_000])
def test_the_log_of_kafka_grows_by_what_is_computed(real_kafka: RealKafka, rate: int) -> None:
    found = sizes(list(flushes(MIXES[0], rate, 2)), real_kafka)
    assert found.logged is not None
    assert found.batch.low - CLOCK_BYTES < found.logged.low <= found.batch.low
    assert found.batch.high - CLOCK_BYTES < found.logged.high <= found.batch.high

"""B7: a topic is made again under a worker, or while none runs, and has as many messages as the old
one had. The same on a real Kafka stands in tests/faults/gap_cells.py.
"""

from __future__ import annotations

import pytest

from streams.internal_topics import DEADLETTERS, SUMMARIES
from tests.faults.checker import merged
from tests.faults.traffic import Sent
from tests.faults.worker_model import (
    BASE_MS,
    Cluster,
    Fate,
    start,
)


def sent_at(second: int) -> Sent:
    ts = BASE_MS + 1_000 * second
    body = f'{{"ts": {ts}, "model": "m", "version": "1"}}'.encode()
    return Sent(body, ((ts, "m", "1"),))


def made_again(*, running: bool, kept: bool, ids: bool) -> tuple[int, int]:
    """The topic is made again and has more messages than were read of the old one: while a worker
    runs, or while none does; its offsets stay (``kept``) or go with it. How many events of the new
    topic were counted, of six, and how many letters say that it is another one."""
    cluster = Cluster()
    for second in range(3):
        cluster.log.messages[0].append(sent_at(second))
    worker, client = start(cluster, Fate(), ids)
    worker._take(client.take(0, 10))
    worker._flush()
    cluster.topic_id = "two"
    cluster.log.messages[0] = [sent_at(100 + second) for second in range(6)]
    if not kept:
        cluster.committed.clear()
    if not running:
        worker, client = start(cluster, Fate(), ids)
    for _ in range(2):
        worker._take(client.take(0, 10))
        worker._flush_or_rewind()
    found = merged(value for _, value in cluster.records[SUMMARIES])
    counted = sum(each.events for key, each in found.items() if key[4] >= BASE_MS + 100_000)
    letters = [value for _, value in cluster.records.get(DEADLETTERS, ())]
    return counted, sum(b"made again" in letter for letter in letters)


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("kept", [True, False])
def test_a_topic_that_was_made_again_is_read_from_its_first_message_and_told_of(
    running: bool, kept: bool
) -> None:
    counted, letters = made_again(running=running, kept=kept, ids=True)
    assert (counted, letters) == (6, 1)


@pytest.mark.parametrize(
    ("running", "kept", "counted"), [(True, True, 3), (False, True, 3), (False, False, 6)]
)
def test_without_ids_nobody_notices(running: bool, kept: bool, counted: int) -> None:
    """The guard removed."""
    assert made_again(running=running, kept=kept, ids=False) == (counted, 0)

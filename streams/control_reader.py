"""Reads the topic ``control`` into a `ControlBoard`, and goes on reading.

Nobody may act before its end was reached once: an order to stop may be the last record.
"""

from __future__ import annotations

from collections.abc import Callable

import confluent_kafka

from sinks.control import ControlBoard, decode_control
from streams.whole_topic import WholeTopic


def control_reader(
    make_consumer: Callable[[], confluent_kafka.Consumer], board: ControlBoard, topic: str
) -> WholeTopic:
    """What reads ``topic`` into ``board``, while its ``with`` block lasts."""
    return WholeTopic(make_consumer, topic, lambda value, _: board.take(decode_control(value)))

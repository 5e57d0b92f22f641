"""The process that is measured by ``consume``: reads one topic to its end and decodes nothing.

``python -m bench.consume_reader ADDRESS TOPIC MESSAGES GROUP SETTING`` prints one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from operator import methodcaller
from typing import Any

import confluent_kafka
from confluent_kafka import Message

from bench.measure import resident_mb
from streams.batches import MOST_WAIT_S, Batches
from streams.kafka import KafkaSettings, embedded_at, input_consumer
from streams.summarizer import SummarizeSettings

_GIVE_UP_S = 90.0
_VALUE, _ERROR = methodcaller("value"), methodcaller("error")


def read(consumer: confluent_kafka.Consumer, messages: int, batch: int | None) -> int:
    """Take messages as the worker of summarize does, until there are so many; gives how many."""
    batches = Batches(SummarizeSettings().batch_messages)
    deadline = time.monotonic() + _GIVE_UP_S
    count = 0
    while count < messages and time.monotonic() < deadline:
        taken: list[Message] = consumer.consume(batch or batches.ask, timeout=MOST_WAIT_S)
        if any(map(_ERROR, taken)):
            raise RuntimeError(next(filter(None, map(_ERROR, taken))).name())
        for part in batches.cut(taken):
            list(map(_VALUE, part))
            count += len(part)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.consume_reader")
    parser.add_argument("address")
    parser.add_argument("topic")
    parser.add_argument("messages", type=int)
    parser.add_argument("group")
    parser.add_argument("setting", type=json.loads)
    given = parser.parse_args()
    kafka = KafkaSettings(bootstrap=embedded_at(given.address))
    settings = input_consumer(kafka, given.group) | {"auto.offset.reset": "earliest"}
    consumer = confluent_kafka.Consumer(settings | given.setting["properties"])
    began: list[float] = []
    consumer.subscribe([given.topic], on_assign=lambda *_: began.append(time.process_time()))
    gc.collect()
    gc.freeze()
    if not given.setting["collector"]:
        gc.disable()
    count = read(consumer, given.messages, given.setting["batch"])
    consumer.close()
    found: dict[str, Any] = {
        "cpu_s": time.process_time() - began[0],
        "peak_rss_mb": resident_mb(peak=True),
    }
    if count != given.messages:
        sys.exit(f"read {count} of {given.messages} messages")
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

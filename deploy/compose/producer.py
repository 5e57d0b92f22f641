"""Models that log, for deploy/compose.yaml: the demo's traffic into Kafka.

    python producer.py --bootstrap kafka:9092 --deployer http://deployer:8790

Five hours that lie behind are replayed in a few minutes, in which the canary gets worse and is
rolled back. Then the same traffic goes on in real time, so that the boards stay alive. What the
deployer has taken out of service gets no traffic.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from importlib import resources
from typing import Any

import confluent_kafka

from detectors.release import Role
from streams.clock import wall_ms
from streams.demo_traffic import LENGTH_MS, Message, start_of, traffic
from streams.kafka import KafkaSettings, input_consumer, producer
from streams.replay import Replay, unread_by

TOPICS = ("answers", "loans")
PARTITIONS = 4
_ASK_S = 2.0
_STEP_S = 0.05


class Deployed:
    """Which releases get traffic: those that the deployer runs; all while it has not said anything.

    ``state``: its list of models with ``production`` and ``canary``, None while it does not answer.
    """

    def __init__(
        self,
        state: Callable[[], Any],
        clock_s: Callable[[], float] = time.monotonic,
        every_s: float = _ASK_S,
    ) -> None:
        self._state = state
        self._clock_s = clock_s
        self._every_s = every_s
        self._asked_s = -math.inf
        self._running: set[tuple[str, str]] | None = None

    def serves(self, message: Message) -> bool:
        """Whether the release of ``message`` runs. A shadow runs whatever the deployer says."""
        now_s = self._clock_s()
        if now_s - self._asked_s > self._every_s:
            self._asked_s = now_s
            state = self._state()
            if state is not None:
                self._running = {
                    (entry["model"], version)
                    for entry in state
                    for version in (entry["production"], entry["canary"])
                }
        release = message.release
        if self._running is None or release.role is Role.SHADOW:
            return True
        return (release.model, release.version) in self._running


def ask(url: str) -> Any:
    """What the example deployer runs; None if it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310 - ours
            return json.load(reply)["running"]
    except (OSError, ValueError, KeyError):
        return None


def play(replay: Replay, wanted: Callable[[Message], bool]) -> None:
    """Until every message has had its time."""
    while not replay.done:
        replay.step(wanted)
        time.sleep(_STEP_S)


def main() -> None:
    """Replay, then go on for ever."""
    parser = argparse.ArgumentParser(description="The demo's traffic, into Kafka, for ever.")
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--deployer", required=True)
    parser.add_argument("--replay-seconds", type=float, default=180.0)
    arguments = parser.parse_args()
    kafka = KafkaSettings(bootstrap=arguments.bootstrap)
    deployed = Deployed(lambda: ask(f"{arguments.deployer}/state"))
    log = confluent_kafka.Producer(producer(kafka, "models"))
    group = confluent_kafka.Consumer(input_consumer(kafka, kafka.topic("summarize")))
    unread = unread_by(group, TOPICS, PARTITIONS)
    with resources.as_file(resources.files("examples")) as samples:
        start_ms, seconds = start_of(wall_ms()), arguments.replay_seconds
        sent = -unread(0)  # what an earlier producer sent, and was read
        while True:
            replay = Replay(
                traffic(samples, start_ms),
                log,
                length_ms=LENGTH_MS,
                seconds=seconds,
                unread=partial(_unread, unread, sent),
                partitions=PARTITIONS,
            )
            play(replay, deployed.serves)
            log.flush(30)
            sent += replay.sent.messages
            start_ms, seconds = wall_ms(), LENGTH_MS / 1000


def _unread(of: Callable[[int], int], before: int, sent: int) -> int:
    return of(before + sent)


if __name__ == "__main__":
    main()

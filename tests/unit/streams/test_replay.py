"""The pace of a replay, and what it sends."""

from __future__ import annotations

from dataclasses import dataclass, field

from streams.demo_traffic import CANARY, PRODUCTION, Message
from streams.replay import Replay


@dataclass
class Kept:
    """A log that keeps what was sent, and a clock that is set by hand."""

    sent: list[tuple[str, int]] = field(default_factory=list)
    now_s: float = 1_000.0
    unread: int = 0

    def produce(self, topic: str, value: bytes, key: bytes, partition: int) -> None:
        self.sent.append((key.decode(), partition))

    def poll(self, timeout: float) -> int:
        return 0


def messages() -> list[Message]:
    """A message every 100 ms, of production and canary in turn; every canary's answer is bad."""
    return [
        Message(n * 100, "t", f"m{n}".encode(), b"{}", 1, (PRODUCTION, CANARY)[n % 2], n % 2 == 1)
        for n in range(20)
    ]


def replay_of(log: Kept) -> Replay:
    """Two seconds of messages in one second."""
    return Replay(
        messages(),
        log,
        length_ms=2_000,
        seconds=1,
        unread=lambda _: log.unread,
        most_unread=5,
        partitions=3,
        clock_s=lambda: log.now_s,
        wall_ms=lambda: int(log.now_s * 1000),
    )


def play(replay: Replay, log: Kept, seconds: float) -> None:
    for _ in range(round(seconds * 20)):
        log.now_s += 0.05
        replay.step(lambda _: True)


def test_a_message_is_sent_when_its_time_has_come_and_to_the_partitions_in_turn() -> None:
    log = Kept()
    replay = replay_of(log)
    replay.step(lambda _: True)
    assert log.sent == [("m0", 0)]
    play(replay, log, 0.5)
    assert len(log.sent) in (10, 11)
    assert [partition for _, partition in log.sent[:4]] == [0, 1, 2, 0]
    play(replay, log, 1)
    assert replay.done
    assert len(log.sent) == 20


def test_the_replay_stands_still_while_too_much_is_unread() -> None:
    log = Kept(unread=6)
    replay = replay_of(log)
    play(replay, log, 5)
    assert len(log.sent) == 1
    log.unread = 5
    play(replay, log, 5)
    assert replay.done


def test_a_process_that_was_held_up_does_not_catch_up_in_one_burst() -> None:
    log = Kept()
    replay = replay_of(log)
    replay.step(lambda _: True)
    log.now_s += 60
    replay.step(lambda _: True)
    assert len(log.sent) == 5


def test_what_nobody_wants_is_withheld_and_counted() -> None:
    log = Kept()
    replay = replay_of(log)
    for _ in range(40):
        log.now_s += 0.05
        replay.step(lambda message: message.release is PRODUCTION)
    assert replay.done
    assert (replay.sent.events, replay.sent.withheld, replay.sent.bad) == (10, 10, 0)


def test_the_first_bad_answer_is_noted_with_its_time_on_both_clocks() -> None:
    log = Kept()
    replay = replay_of(log)
    play(replay, log, 2)
    assert replay.sent.bad == 10
    assert replay.sent.first_bad_at_ms == 100
    # The first step only starts the clock; two more of 50 ms are 200 ms of the recording.
    assert 1_000_050 < replay.sent.first_bad_ms <= 1_000_150
    assert replay.reached_ms(100) == replay.sent.first_bad_ms
    assert replay.reached_ms(10**9) == 0

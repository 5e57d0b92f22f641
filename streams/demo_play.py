"""The course of the demo, and the report at its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from streams import demo_view
from streams.demo_outcome import first_fail_ms, missing, timeline, wrong
from streams.demo_shell import Shell
from streams.demo_traffic import CANARY
from streams.demo_view import View
from streams.demo_watch import Addresses, Watcher
from streams.replay import Replay

SETTLE_S = 3.0
"""After everything expected has happened: time for what must not happen to show."""
PATIENCE_S = 30.0
"""After the last event: time for what must happen."""


class Play:
    """The course of the demo: replay, wait for what must happen, then for what must not."""

    def __init__(
        self,
        replay: Replay,
        watcher: Watcher,
        view: View,
        start_ms: int,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.replay = replay
        self.seen = watcher.latest
        self.failures: tuple[str, ...] = ()
        self.over = False
        self._watcher = watcher
        self._view = view
        self.start_ms = start_ms
        self._clock_s = clock_s
        self._replayed_s = self._complete_s = 0.0

    def step(self) -> bool:
        """To be called some times a second; True once it is over."""
        self.seen = self._watcher.latest
        if not self.replay.done:
            # The deployer decides who gets traffic: after the rollback the canary gets none.
            self.replay.step(lambda message: self.seen.runs(message.release))
            self._replayed_s = self._clock_s()
        self._view.show(self.replay, self.seen)
        self.over = self.replay.done and self._settled()
        return self.over

    def _settled(self) -> bool:
        now_s = self._clock_s()
        unread = self.replay.sent.events - self.seen.intake.total
        waiting = missing(self.seen)
        if unread > 0:
            waiting = (*waiting, f"{unread} events were sent and never read")
        if self._watcher.problem:
            waiting = (*waiting, f"the line does not answer ({self._watcher.problem})")
        if waiting:
            self._complete_s = 0.0
            if now_s - self._replayed_s < PATIENCE_S:
                return False
        elif not self._complete_s:
            self._complete_s = now_s
        if not waiting and now_s - self._complete_s < SETTLE_S:
            return False
        self.failures = (*waiting, *wrong(self.seen, self.start_ms))
        return True


@dataclass(frozen=True, slots=True)
class Report:
    """What is printed when it is over."""

    console: Console
    play: Play
    addresses: Addresses
    folder: Path
    shell: Shell
    keep: bool

    def show(self) -> None:
        play = self.play
        decided_ms = first_fail_ms(play.seen, CANARY)
        reached_ms = play.replay.reached_ms(decided_ms - play.start_ms) if decided_ms else 0
        moments = timeline(play.seen, play.replay.sent, play.start_ms, reached_ms)
        self.console.print()
        demo_view.show_timeline(self.console, moments)
        logs = self.folder / "var" / "log"
        demo_view.show_end(self.console, play.replay, play.seen, play.failures, logs)
        demo_view.show_next(
            self.console,
            self.addresses,
            self.folder,
            shell=self.shell,
            running=self.keep,
        )

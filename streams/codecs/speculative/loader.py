"""Kernels that are made in the background, once, while the work goes on without them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

import structlog

log = structlog.get_logger()

Made = TypeVar("Made")


class Loader(Generic[Made]):
    """Makes kernels once, in whatever thread asks first."""

    def __init__(self, what: str, make: Callable[[], Made], prepare: Callable[[], None]) -> None:
        """``what``: whose kernels they are, for the log; ``prepare``: what makes ``make`` quick;
        only the background waits for it."""
        self._what = what
        self._make = make
        self._prepare = prepare
        self._lock = threading.Lock()
        self._kernels: Made | None = None
        self._thread: threading.Thread | None = None
        self._failed = False

    def ready(self) -> Made | None:
        """The kernels, if they can be used by now. Never waits."""
        return self._kernels

    def load(self) -> Made | None:
        """The kernels; waits for them. None if they cannot be had here."""
        with self._lock:
            if self._kernels is not None or self._failed:
                return self._kernels
            started = time.perf_counter()
            try:
                self._kernels = self._make()
            except ImportError:
                self._failed = True
                log.info(f"{self._what} kernels not installed", hint="pip install driftline[fast]")
            except Exception as error:
                self._failed = True
                log.warning(f"{self._what} kernels not usable", error=type(error).__name__)
            else:
                seconds = round(time.perf_counter() - started, 2)
                log.info(f"{self._what} kernels ready", seconds=seconds)
            return self._kernels

    def warm_up(self) -> None:
        """Start to load in the background; does nothing the second time."""
        with self._lock:
            if self._thread is None and self._kernels is None:
                self._thread = threading.Thread(target=self._work, name="kernels", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        # What goes wrong here goes wrong again in load, which says so.
        with suppress(Exception):
            self._prepare()
        self.load()

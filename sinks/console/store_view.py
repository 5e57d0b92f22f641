"""What the console knows of the store: answers, how old they are, and why there are no newer ones.

**Guarantee.** An answer is never shown as newer than it is: where the store does not answer, the
last answer comes back with its age and the problem, or nothing comes back with the problem.

Many viewers cost the store no more than one: an answer counts for `FRESH_S`, the same question is
asked once at a time, and after a failure the store is left alone for `AWAY_S`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sinks.errors import Permanent, Retryable
from sinks.finding_history import Ask

FRESH_S: Final = 2.0
AWAY_S: Final = 3.0
KEPT: Final = 128
"""Answers kept for when the store is away; each is bounded by the LIMIT of its question."""

_LOCKS: Final = 16

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Told:
    """An answer. ``rows`` is None where there never was one; ``problem`` is "" if it is fresh,
    and otherwise says why not; ``age_s`` counts from when the rows were read."""

    rows: Rows | None
    problem: str = ""
    age_s: float = 0.0

    def __iter__(self) -> Any:
        return iter(self.rows or ())


@dataclass(frozen=True, slots=True)
class _Kept:
    rows: Rows
    at_s: float


class StoreView:
    """Asks the store through ``ask``. ``clock`` is a monotonic one, in seconds. Thread-safe."""

    def __init__(self, ask: Ask, clock: Callable[[], float], database: str) -> None:
        self._ask = ask
        self._clock = clock
        self._database = f"`{database.replace('`', '')}`"
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._away_until_s = 0.0
        self._problem = ""
        self._lock = threading.Lock()
        self._asking = tuple(threading.Lock() for _ in range(_LOCKS))

    def told(self, sql: str, parameters: Mapping[str, Any]) -> Told:
        """The answer to ``sql``, in which ``{db}`` is the database and everything that came from
        outside is a bound parameter."""
        key = (sql, repr(sorted(parameters.items())))
        with self._asking[hash(key) % _LOCKS]:
            with self._lock:
                kept = self._kept.get(key)
                now_s = self._clock()
                if kept is not None and now_s - kept.at_s <= FRESH_S:
                    return Told(kept.rows)
                if now_s < self._away_until_s:
                    return self._old(kept, self._problem, now_s)
            try:
                rows = self._ask(sql.replace("{db}", self._database), parameters)
            except (Retryable, Permanent) as error:
                # Texts of these errors are ours: they hold neither rows nor credentials.
                with self._lock:
                    now_s = self._clock()
                    if isinstance(error, Retryable):
                        self._away_until_s, self._problem = now_s + AWAY_S, str(error)
                    return self._old(kept, str(error), now_s)
            with self._lock:
                self._kept[key] = _Kept(rows, self._clock())
                self._kept.move_to_end(key)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return Told(rows)

    @staticmethod
    def _old(kept: _Kept | None, problem: str, now_s: float) -> Told:
        if kept is None:
            return Told(None, problem)
        return Told(kept.rows, problem, now_s - kept.at_s)

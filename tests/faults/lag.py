"""How far a group is behind, in seconds."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from tests.faults.scene import Scene
from tests.faults.topic_reading import Committed, ends

LAG_S: Final = 5.0


class Lag:
    """Whether a group has committed what internal topics held `LAG_S` ago. Something has to be
    written to them meanwhile: markers of transactions at an end are never committed."""

    def __init__(self, scene: Scene, group: str, topics: Sequence[str]) -> None:
        self._scene = scene
        self._topics = [scene.internal(name) for name in topics]
        found = scene.broker.partitions()
        self._readers = {
            topic: Committed(scene.address, scene.internal(group), topic, found[topic])
            for topic in self._topics
        }
        self._history: deque[tuple[float, dict[str, int]]] = deque()

    def caught_up(self) -> bool:
        now = time.monotonic()
        here = {t: sum(ends(self._scene.address, t, True).values()) for t in self._topics}
        self._history.append((now, here))
        while len(self._history) > 1 and self._history[1][0] <= now - LAG_S:
            self._history.popleft()
        at, then = self._history[0]
        if now - at < LAG_S:
            return False
        return all(
            sum(reader.offsets().values()) >= then[topic] for topic, reader in self._readers.items()
        )

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()

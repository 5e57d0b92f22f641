"""From the versions and roles of rows to their releases."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.release import Role
from streams.codecs.fields import UNATTRIBUTED
from streams.codecs.speculative.vocabulary import TextForms

Coding = tuple[NDArray[np.int32], tuple[tuple[str, Role], ...]]


class Releases:
    """The coding of the releases of one vocabulary; the last one is kept, for it seldom changes."""

    def __init__(self, version: TextForms, role: TextForms) -> None:
        self._version = version
        self._role = role
        self._last: tuple[int, bytes, Coding] | None = None
        self._known: dict[tuple[int, int], tuple[str, Role]] = {}

    def column(self, versions: NDArray[np.int32], roles: NDArray[np.int32]) -> Coding:
        """``versions``, ``roles``: numbers of forms or NO_VALUE, by row, at least one. Returns the
        index of each row into the releases, which are sorted and all in use."""
        width = len(self._role.table())
        pairs = (versions.astype(np.int64) + 1) * width + (roles + 1)
        used = np.bincount(pairs) > 0
        key = used.tobytes()
        if self._last is None or self._last[:2] != (width, key):
            self._last = (width, key, self._coding(np.flatnonzero(used), width))
        recode, releases = self._last[2]
        return recode[pairs], releases

    def _coding(self, pairs: NDArray[np.int64], width: int) -> Coding:
        found = [self._release(pair // width - 1, pair % width - 1) for pair in pairs.tolist()]
        releases: list[tuple[str, Role]] = []
        recode = np.zeros(int(pairs[-1]) + 1, dtype=np.int32)
        # Without a set: an enum's hash is slow, and there may be a hundred in each chunk.
        for i in sorted(range(len(found)), key=found.__getitem__):
            if not releases or found[i] != releases[-1]:
                releases.append(found[i])
            recode[pairs[i]] = len(releases) - 1
        return recode, tuple(releases)

    def _release(self, version: int, role: int) -> tuple[str, Role]:
        known = self._known.get((version, role))
        if known is None:
            known = self._known[version, role] = (
                self._version.name(version) if version >= 0 else UNATTRIBUTED,
                Role(self._role.name(role)) if role >= 0 else Role.PRODUCTION,
            )
        return known

"""Counts of categories under a cap, mergeable exactly.

**Guarantee.** At most ``cap`` categories are kept by name; which ones does not depend on the order
of arrival or on how the stream was split, and the counts of those kept are exact. All others are
added up in ``other``, so the total is always exact.

How: of all categories seen, those with the ``cap`` smallest hashes are kept (a bottom-k sample, as
in Cohen and Kaplan, 2007). If a category is among the smallest of the whole stream, it was among
the smallest of each part, so no part has folded it away: that makes merging associative. A
category that must never be folded belongs into the reference, which gives it a bin of its own.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

from detectors.release import OTHER

DEFAULT_CAP = 64


class Unmergeable(ValueError):
    """Two summaries with unlike parameters were to be merged: that would be a wrong number."""


@lru_cache(maxsize=65536)
def _rank(category: str) -> tuple[int, str]:
    # JSON can carry half a surrogate pair, which plain UTF-8 refuses.
    digest = blake2b(category.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big"), category


@dataclass(frozen=True, slots=True)
class CategoryCounts:
    """``counts``: exact counts of the categories kept; ``other``: events in all the rest."""

    counts: Mapping[str, int] = field(default_factory=dict)
    other: int = 0
    cap: int = DEFAULT_CAP

    @classmethod
    def of(cls, counts: Mapping[str, int], cap: int = DEFAULT_CAP) -> CategoryCounts:
        """Cut ``counts`` to the cap.

        >>> CategoryCounts.of({"a": 2, "b": 1}, cap=1).total
        3
        """
        positive = {name: n for name, n in counts.items() if n and name != OTHER}
        other = counts.get(OTHER, 0)
        if len(positive) <= cap:
            return cls(positive, other, cap)
        kept = heapq.nsmallest(cap, positive, key=_rank)
        kept_counts = {name: positive[name] for name in kept}
        folded = sum(positive.values()) - sum(kept_counts.values())
        return cls(kept_counts, other + folded, cap)

    @property
    def total(self) -> int:
        return sum(self.counts.values()) + self.other

    def merge(self, more: CategoryCounts) -> CategoryCounts:
        """The counts of both streams together."""
        if self.cap != more.cap:
            raise Unmergeable(f"category caps differ: {self.cap} and {more.cap}")
        if not more.counts and not more.other:
            return self
        if not self.counts and not self.other:
            return more
        counts = dict(self.counts)
        for name, n in more.counts.items():
            counts[name] = counts.get(name, 0) + n
        counts[OTHER] = self.other + more.other
        return CategoryCounts.of(counts, self.cap)

"""The cells in which columns without common bins are compared: buckets of both sides' sketches, and
categories by name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.categories import CategoryCounts
from detectors.release import OTHER
from detectors.sketch import Sketch, bucket_middle
from detectors.summary import CategoricalSummary

Counts = NDArray[np.int64]

MOST_CATEGORIES = 30
_DECILES = np.arange(1, 10) / 10


def shared_buckets(usual: Sketch, now: Sketch) -> tuple[Counts, Counts, NDArray[np.float64]]:
    """Counts of both sketches in the buckets that either has, and the buckets' middles."""
    both = np.concatenate((usual.keys, now.keys))
    # Two ordered runs: the stable sort merges them.
    both.sort(kind="stable")
    keys = both[np.append(True, both[1:] != both[:-1])] if len(both) else both
    expected, observed = np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
    expected[np.searchsorted(keys, usual.keys)] = usual.counts
    observed[np.searchsorted(keys, now.keys)] = now.counts
    return expected, observed, bucket_middle(keys)


def deciles(expected: Counts, observed: Counts) -> tuple[Counts, Counts]:
    """The buckets merged into at most ten cells of about equal weight in both sides together."""
    if not len(expected):
        return expected, observed
    upto = np.cumsum((expected + observed).astype(np.float64))
    cuts = np.searchsorted(upto, _DECILES * upto[-1], side="left")
    firsts = np.unique(np.concatenate(([0], cuts)))
    return np.add.reduceat(expected, firsts), np.add.reduceat(observed, firsts)


def shared_categories(
    usual: CategoricalSummary, now: CategoricalSummary
) -> tuple[tuple[str, ...], Counts, Counts]:
    """Counts by name. Under the cap each side may keep other names; those that a merge of both
    keeps are exactly those counted exactly on both sides, and only they are told apart."""
    cap = max(usual.rest.cap, now.rest.cap)
    theirs, ours = _all_counts(usual, cap), _all_counts(now, cap)
    both = theirs.merge(ours).counts
    ranked = sorted(both, key=lambda name: (-both[name], name))[:MOST_CATEGORIES]
    expected = [theirs.counts.get(name, 0) for name in ranked]
    observed = [ours.counts.get(name, 0) for name in ranked]
    expected.append(theirs.total - sum(expected))
    observed.append(ours.total - sum(observed))
    return (*ranked, OTHER), np.array(expected, np.int64), np.array(observed, np.int64)


def _all_counts(summary: CategoricalSummary, cap: int) -> CategoryCounts:
    return CategoryCounts.of({**summary.counts(), OTHER: summary.rest.other}, cap)

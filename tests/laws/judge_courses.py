"""Records in which much happens to a judge, for it to be killed in the middle of."""

from __future__ import annotations

import numpy as np

from detectors.pairs import Differences, PairCounts
from streams.intake import Place
from streams.pair_delta import encode_pairs, pair_deltas
from tests.laws.judge_on_disk import (
    BASE_MS,
)
from tests.laws.summarize_plan import TOPIC, Plan, as_message, reference, summarized

KNOWN = (reference("n"),)
"""Of the scenario: the other model has to learn."""


def scenario() -> list[bytes]:
    """Records in which panes and windows close, rows come late, a reference is learnt, a model
    drifts from the one it has, and a canary is worse than production."""
    rng = np.random.default_rng(4)
    log: dict[Place, list[bytes]] = {}
    for partition in range(2):
        messages = []
        for at in range(24):
            late = 6_000 if at % 6 == 5 else 0
            some = [
                {
                    "ts": BASE_MS + at * 1_000 + int(rng.integers(0, 900)) - late,
                    "model": model,
                    "version": "2" if i % 2 else "1",
                    "role": "canary" if i % 2 else "production",
                    "scores": {"quality": float(rng.random() < (0.2 if i % 2 else 0.9))},
                    "features": {"x": float(rng.normal(9e5 if at > 12 else 0.0, 1e5))},
                }
                for model in ("m", "n")
                for i in range(8)
            ]
            messages.append(as_message(some))
        log[TOPIC, partition] = messages
    steps = [step for at in range(12) for step in ((0, 2), (0, 0), (1, 2), (1, 0))]
    records = summarized(log, Plan(2, (0, 1), tuple(steps)), *KNOWN)
    scored = {("scores.quality", 1.0): Differences(n=20, higher=2, lower=5, first=-(2**20))}
    pairs = PairCounts(pairs=20, labelled=20, differ=3, shadow_failed=2, scored=scored)
    joined = [
        encode_pairs(delta)
        for at in range(0, 24_000, 1_000)
        for delta in pair_deltas("w", "n", BASE_MS, {("3", "1", BASE_MS + at): pairs}, {})
    ]
    # Pairs come between the other records, and after their pane has closed.
    at_each = len(records) // len(joined)
    return [
        each
        for i, record in enumerate(records)
        for each in (
            (record, joined[i // at_each])
            if i % at_each == 0 and i // at_each < len(joined)
            else (record,)
        )
    ]


def crowded() -> list[bytes]:
    """Records of which so many have something for the same open pane that they are merged before it
    closes; some of them with late rows as well, and a pane that is never closed."""
    log: dict[Place, list[bytes]] = {}
    for partition in range(2):
        messages: list[bytes] = []
        for at in [0] * 30 + [3_000] * 5 + [9_000] * 4 + [8_000] * 40 + [21_500] * 3:
            late = 4_000 if len(messages) >= 40 and at == 8_000 else 0
            some = [
                {
                    "ts": BASE_MS + at + partition,
                    "model": "m",
                    "version": version,
                    "role": "production",
                    "features": {"x": len(messages)},
                }
                for version, at in (("1", at), ("2", at), ("2", at - late))
            ]
            messages.append(as_message(some))
        log[TOPIC, partition] = messages
    steps = [step for _ in range(82) for step in ((0, 1), (0, 0), (1, 1), (1, 0))]
    return summarized(log, Plan(2, (0, 1), tuple(steps)))

"""Two workers, killed at any step: the counts of pairs are those of every request, once."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from streams.pair_delta import PairKey
from streams.pair_settings import Enabled, PairSettings
from tests.laws.pairing_line import NOW_MS, PLACES, Broker, Worker, counted, event, score_event


def random_answers(rng: random.Random, most: int) -> list[dict[str, Any]]:
    return [
        {
            "request": rng.choice([None, *range(12)]),
            "version": rng.choice("12"),
            "second": rng.randrange(3),
            "label": rng.choice("AB"),
            "score": rng.randrange(9) / 8,
            "latency": rng.randrange(1, 1000),
            "failed": rng.random() < 0.3,
        }
        for _ in range(rng.randrange(most))
    ]


def random_scores(rng: random.Random, most: int) -> list[dict[str, Any]]:
    """Events of scores alone, of the same requests as the answers."""
    return [
        {
            "request": rng.choice([None, *range(12)]),
            "version": rng.choice("12"),
            "second": rng.randrange(3),
            "scores": {
                name: rng.randrange(9) / 8 for name in rng.sample("stu", rng.randrange(1, 4))
            },
        }
        for _ in range(rng.randrange(most))
    ]


def expected_scores(
    production: list[dict[str, Any]], shadow: list[dict[str, Any]]
) -> tuple[Counter[tuple[str, str, int, str]], Counter[tuple[str, str, int, str]]]:
    """By shadow version, production version, pane and score: pairs, and the sum of differences in
    steps. Each score of a request is joined by itself."""
    first: dict[tuple[int, str], tuple[str, float]] = {}
    for scored in production:
        for name, value in scored["scores"].items():
            if scored["request"] is not None:
                first.setdefault((scored["request"], name), (scored["version"], value))
    pairs: Counter[tuple[str, str, int, str]] = Counter()
    sums: Counter[tuple[str, str, int, str]] = Counter()
    seen = set()
    for scored in shadow:
        for name, value in scored["scores"].items():
            whose = scored["request"], scored["version"], name
            partner = first.get((scored["request"], name))
            if scored["request"] is None or whose in seen or partner is None:
                continue
            seen.add(whose)
            version, other = partner
            key = scored["version"], version, NOW_MS + 1000 * scored["second"], f"scores.{name}"
            pairs[key] += 1
            sums[key] += int((value - other) * 2**20)
    return pairs, sums


def expected(
    production: list[dict[str, Any]], shadow: list[dict[str, Any]]
) -> tuple[dict[PairKey, tuple[int, ...]], int]:
    """By shadow version, production version and pane: pairs, unlike labels, shadow slower by more
    than a tenth, sum of score differences in steps. And how many halves there are."""
    first: dict[int, dict[str, Any]] = {}
    for answer in production:
        if answer["request"] is not None:
            first.setdefault(answer["request"], answer)
    seen: set[tuple[int, str]] = set()
    sums: dict[PairKey, tuple[int, ...]] = {}
    for answer in shadow:
        if answer["request"] is None or (answer["request"], answer["version"]) in seen:
            continue
        seen.add((answer["request"], answer["version"]))
        partner = first.get(answer["request"])
        if partner is None:
            continue
        key = answer["version"], partner["version"], NOW_MS + 1000 * answer["second"]
        found = (
            1,
            int(answer["label"] != partner["label"]),
            int(answer["latency"] - partner["latency"] > 0.1 * partner["latency"]),
            int((answer["score"] - partner["score"]) * 2**20),
        )
        before = sums.get(key, (0, 0, 0, 0))
        sums[key] = tuple(a + b for a, b in zip(before, found, strict=True))
    return sums, len(seen) + len(first)


def mixed(rng: random.Random, *logs: list[bytes]) -> list[bytes]:
    """All records of the logs, each log in its order."""
    left = [list(reversed(log)) for log in logs]
    found = []
    while any(left):
        found.append(rng.choice([log for log in left if log]).pop())
    return found


@pytest.mark.parametrize("seed", range(120))
def test_every_request_is_paired_once_whoever_is_killed_and_however_flushes_fall(
    seed: int,
) -> None:
    rng = random.Random(seed)
    production, shadow = random_answers(rng, 30), random_answers(rng, 30)
    scored, shadow_scored = random_scores(rng, 30), random_scores(rng, 30)
    broker = Broker(
        {
            ("production", 0): mixed(
                rng,
                [event("production", answer) for answer in production],
                [score_event("production", each) for each in scored],
            ),
            ("shadow", 0): mixed(
                rng,
                [event("shadow", answer) for answer in shadow],
                [score_event("shadow", each) for each in shadow_scored],
            ),
        }
    )
    pairs = PairSettings(enabled=Enabled.ON)
    workers = {name: Worker(name, broker, pairs) for name in PLACES}
    for _ in range(rng.randrange(40)):
        name = rng.choice("ab")
        dies = rng.random() < 0.3
        workers[name].read(rng.randrange(6))
        if rng.random() < 0.7:
            workers[name].flush(dies=dies)
        if dies or rng.random() < 0.1:
            workers[name] = Worker(name, broker, pairs)
    for _ in range(4):  # read all, send all halves, join them
        for worker in workers.values():
            worker.read(1_000)
            worker.flush(dies=False)
    found_pairs, all_halves = counted(broker)
    found_halves = {key: each for key, each in all_halves.items() if not key[2]}
    sums, halves = expected(production, shadow)
    assert {
        key: (
            counts.pairs,
            counts.differ,
            counts.measures["latency_ms", 1024.0].higher,
            counts.measures["scores.s", 1.0].first,
        )
        for key, counts in found_pairs.items()
        if counts.pairs
    } == sums
    answers = [*production, *shadow]
    assert sum(each.halves for each in found_halves.values()) == halves
    assert sum(each.without_id for each in found_halves.values()) == sum(
        answer["request"] is None for answer in answers
    )
    assert sum(each.halves + each.repeated for each in found_halves.values()) == sum(
        answer["request"] is not None for answer in answers
    )
    score_pairs, score_sums = expected_scores(scored, shadow_scored)
    found_scores = {
        (*key, score): each
        for key, counts in found_pairs.items()
        for (score, _), each in counts.scored.items()
    }
    assert {key: each.n for key, each in found_scores.items()} == score_pairs
    assert {key: each.first for key, each in found_scores.items()} == score_sums
    sent: Counter[tuple[str, bool]] = Counter()
    for each in (*scored, *shadow_scored):
        sent.update((f"scores.{name}", each["request"] is not None) for name in each["scores"])
    entered: Counter[tuple[str, bool]] = Counter()
    for (_, _, score), counts in all_halves.items():
        if score:
            entered[score, True] += counts.halves + counts.repeated
            entered[score, False] += counts.without_id
    assert +entered == +sent

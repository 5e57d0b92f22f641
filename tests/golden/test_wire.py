"""What others read from our topics keeps its form: a change here is a change for them.

To accept one: ``python tests/golden/test_wire.py`` writes the files again; say so in the changelog.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

from detectors.finding import Finding, Outcome
from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from sinks.dead_letters import DeadLetter
from streams.wire import decode_verdict, encode_verdict, verdict_key

FOLDER = Path(__file__).parent
CANARY = Release("gpt-4", "0613", Role.CANARY)


def verdict() -> Verdict:
    finding = Finding(
        release=CANARY,
        segment="all",
        column="scores.usable_code",
        window_ms=60_000,
        window_start_ms=1_686_650_400_000,
        revision=0,
        detector="mean_worse",
        against="production:0314",
        statistic=0.84,
        threshold=0.2,
        n=250,
        n_against=251,
        outcome=Outcome.FAIL,
        reason="mean 0.1, was 0.52",
        decides=True,
        critical=True,
    )
    return Verdict(
        release=CANARY,
        status=Status.FAIL,
        reason="scores.usable_code mean_worse 0.84 > 0.2 (mean 0.1, was 0.52)",
        sequence=4712,
        as_of_ms=1_686_650_461_250,
        window_start_ms=1_686_650_400_000,
        window_ms=60_000,
        baseline_version="0314",
        events=501,
        p95_latency_ms=6412.5,
        p99_latency_ms=math.nan,
        findings=(finding,),
        offset=4711,
        configuration="c0ffee" + "0" * 58,
        reference="5eed" + "0" * 28,
    )


def letter() -> DeadLetter:
    return DeadLetter("predictions", 3, 42, -1, "not JSON", b'{"ts": ', 1_686_650_461_250)


def written() -> dict[str, bytes]:
    return {
        "verdict.json": encode_verdict(verdict()),
        "dead_letter.json": letter().encode(),
        "verdict_key.json": verdict_key(CANARY),
    }


def test_messages_are_written_as_before() -> None:
    for name, value in written().items():
        assert json.loads(value) == json.loads((FOLDER / name).read_bytes()), name


def test_a_verdict_read_back_is_the_verdict_that_was_written() -> None:
    again = decode_verdict((FOLDER / "verdict.json").read_bytes())
    assert math.isnan(again.p99_latency_ms)
    assert repr(again) == repr(verdict())


def test_a_verdict_of_an_older_version_is_read_without_what_it_does_not_name() -> None:
    body = json.loads((FOLDER / "verdict.json").read_bytes())
    for name in ("configuration", "reference", "upstream", "further_ms", "further_events"):
        del body["verdict"][name]
    again = decode_verdict(json.dumps(body).encode())
    assert repr(again) == repr(replace(verdict(), configuration="", reference=""))


if __name__ == "__main__":
    for name, value in written().items():
        text = json.dumps(json.loads(value), indent=2, ensure_ascii=False)
        (FOLDER / name).write_text(text + "\n", encoding="utf-8")

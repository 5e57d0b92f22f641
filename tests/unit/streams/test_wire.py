"""What is written on our topics is read back as it was, or refused."""

from __future__ import annotations

from math import inf, isnan, nan

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from detectors.finding import Finding, Outcome
from detectors.layout import Layout
from detectors.release import Release, Role
from detectors.table import summarize_table
from detectors.verdict import Status, Verdict
from streams.wire import (
    Delta,
    Group,
    PartitionProgress,
    Progress,
    Unreadable,
    decode,
    decode_verdict,
    encode,
    encode_verdict,
    finding_row,
    pack,
    partition_for,
    unpack,
    verdict_key,
)

SUMMARIES = summarize_table(
    pa.table({"features.x": [1.0, -2.0, None, 1e300], "features.t": ["a", "b", "a", None]})
)
CANARY = Release("m", "2", Role.CANARY)


def finding(statistic: float) -> Finding:
    outcome = Outcome.INSUFFICIENT if isnan(statistic) else Outcome.FAIL
    return Finding(
        release=CANARY,
        segment="all",
        column="features.x",
        window_ms=60_000,
        window_start_ms=0,
        revision=0,
        detector="psi",
        against="reference:0",
        statistic=statistic,
        threshold=0.25,
        n=10,
        n_against=20,
        outcome=outcome,
        reason="why",
        decides=True,
        critical=False,
    )


def verdict(*findings: Finding) -> Verdict:
    return Verdict(CANARY, Status.FAIL, "bad", 8, 5, 0, 60_000, "1", 10, nan, 2.5, findings, 7)


def test_summaries_survive_packing_bit_for_bit() -> None:
    again = unpack(pack(SUMMARIES), SUMMARIES.layout)
    assert again.vector.tolist() == SUMMARIES.vector.tolist()
    assert again.extremes.tobytes() == SUMMARIES.extremes.tobytes()
    assert pack(again) == pack(SUMMARIES)


def test_summaries_of_another_layout_are_refused() -> None:
    with pytest.raises(Unreadable, match="do not fit"):
        unpack(pack(SUMMARIES), Layout.of(""))


def test_records_survive_the_wire() -> None:
    columns = tuple(spec.key for spec in SUMMARIES.layout.columns)
    group = Group("2", Role.CANARY, "all", 1_000, pack(SUMMARIES))
    delta = Delta("w", "m", "", columns, ("t",), 5, (group,))
    place = PartitionProgress("t", 0, 4, 9, True, 0, 3, 3, 2, 1, 0, 0)
    for record in (delta, Progress("w", 5, (place,))):
        assert decode(encode(record)) == record


@pytest.mark.parametrize("value", [None, b"", b"\x02", b"\x01", b"\x01garbage", b"{}"])
def test_what_is_not_ours_is_refused(value: bytes | None) -> None:
    with pytest.raises(Unreadable):
        decode(value)


def test_a_models_partition_is_always_the_same() -> None:
    # The literal holds across processes and versions: a change would move every model's state.
    assert [partition_for(model, 8) for model in ("m", "gpt-4", "é")] == [4, 3, 7]


def test_a_verdict_survives_the_wire_with_its_findings() -> None:
    again = decode_verdict(encode_verdict(verdict(finding(0.5))))
    assert again.findings == (finding(0.5),)
    assert isnan(again.p95_latency_ms)
    assert (again.release, again.status, again.p99_latency_ms) == (CANARY, Status.FAIL, 2.5)


@pytest.mark.parametrize("statistic", [nan, inf])
def test_no_number_is_null_on_the_wire(statistic: float) -> None:
    assert finding_row(finding(statistic), 3)["statistic"] is None
    again = decode_verdict(encode_verdict(verdict(finding(statistic))))
    assert isnan(again.findings[0].statistic)


@pytest.mark.parametrize(
    "value",
    [b"", b"{}", b"[]", b'{"verdict": "x"}', b'{"verdict": {}}', b'{"verdict": null}', b"[" * 9999],
)
def test_what_is_no_verdict_is_refused(value: bytes) -> None:
    with pytest.raises(Unreadable):
        decode_verdict(value)


def test_a_verdicts_key_tells_releases_apart() -> None:
    other = Release("m", "2", Role.SHADOW)
    assert verdict_key(CANARY) != verdict_key(other)
    assert msgspec.json.decode(verdict_key(CANARY)) == ["m", "2", "canary"]


def test_an_offset_is_the_address_of_a_finding() -> None:
    row = finding_row(finding(0.5), 3)
    assert (row["offset"], row["window_end"]) == (3, 60_000)
    assert np.isfinite(row["threshold"])

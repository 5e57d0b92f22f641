"""Verdicts judged anew from the records that led to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from detectors.action import Action
from detectors.reference import Reference
from streams.backtest import Line, Policy
from streams.backtest_outcome import Budget, Truth
from streams.config import Config, load_config
from streams.errors import UserError
from streams.inputs import InputSettings
from streams.internal_topics import SUMMARIES
from streams.judged_by import JudgedBy
from streams.outputs import Outputs
from streams.recompute import Recomputed, in_words, recompute
from streams.recorded import Block, Written
from streams.wire import Row, verdict_row
from tests.dashboards.conftest import BEGIN_MS, CONFIG, events

MODEL = "fraud"
MINUTES = 36
"""The canary is bad from minute 25 on."""


class Kept(Line):
    """The line of a backtest that keeps the records of ``summaries``, by offset, and the verdicts;
    nothing is taken out of the recording."""

    def __init__(self, config: Config) -> None:
        super().__init__(
            Policy("kept", config), InputSettings("predictions"), (), Truth(), Budget(1, 1)
        )
        self.config = config
        self.records: list[tuple[int, bytes]] = []
        self.verdicts: list[Row] = []
        self.learnt: dict[str, Reference] = {}
        flush = self._summarizer.flush

        def kept(now_ms: int, at_end: Mapping[Any, bool]) -> Any:
            records = flush(now_ms, at_end)
            for record in records:
                if record.topic == SUMMARIES:
                    self.records.append((len(self.records) + 1, record.value))
            return records

        self._summarizer.flush = kept  # type: ignore[method-assign]

    def _publish(self, outputs: Outputs) -> None:
        self.learnt |= {each.id: each for each in outputs.learnt}
        self.verdicts += [verdict_row(each) for each in outputs.verdicts]
        super()._publish(outputs)

    def _act(self, model: str, state: Any, actions: Sequence[Action]) -> None:
        self._policies[model] = state

    def stored(self) -> list[Row]:
        """The canary's verdicts, as the store would give them."""
        return [row for row in self.verdicts if (row["model"], row["version"]) == (MODEL, "2")]


def configured(folder: Path, more: str = "") -> Config:
    file = folder / "driftline.yaml"
    file.write_text(CONFIG + more)
    return load_config(file, {})


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    line = Kept(configured(tmp_path_factory.mktemp("kept")))
    rng = np.random.default_rng(7)
    mine = [each for each in events(MODEL, rng) if each[0] < BEGIN_MS + MINUTES * 60_000]
    others = [each for each in events("other", rng) if each[0] < BEGIN_MS + 5 * 60_000]
    timed = sorted([*mine, *others], key=lambda each: each[0])
    written = [msgspec.json.encode(event) for _, event in timed]
    clock = np.array([ts for ts, _ in timed], np.int64)
    line.take(Block(clock, lambda low, high: [Written(v, 0) for v in written[low:high]], 0))
    line.finish()
    return line


def again(kept: Kept, stored: Sequence[Row], **more: Any) -> Recomputed:
    config: Config = more.get("config", kept.config)
    records = more.get("records", kept.records)
    known = more.get("known", {}).get
    return recompute(config, MODEL, "2", stored, records, known, more.get("lost", 0))


def test_the_same_records_and_configuration_give_the_stored_verdicts(kept: Kept) -> None:
    stored = kept.stored()
    assert {row["status"] for row in stored} >= {"fail", "insufficient"}
    found = again(kept, stored)
    assert (found.equal, found.differences) == (True, ())
    assert (found.compared, found.verdicts) == (len(stored), len(stored))
    (said,) = in_words(found)
    assert said.startswith(f"equal: {len(stored)} stored verdicts")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "pass"),
        ("reason", "fine"),
        ("events", 1),
        ("upstream", ["x"]),
        ("reference", "another"),
    ],
)
def test_a_verdict_that_was_changed_in_the_store_is_found(
    kept: Kept, name: str, value: Any
) -> None:
    stored = kept.stored()
    stored[-3] = {**stored[-3], name: value}
    found = again(kept, stored)
    assert not found.equal
    assert found.differences == (f"canary at offset {stored[-3]['offset']}: {name} differ",)
    assert in_words(found)[0].startswith("unequal: 1 of ")
    assert found.configuration[:12] in in_words(found)[0]


def test_a_verdict_that_was_left_out_or_put_in_is_found(kept: Kept) -> None:
    stored = kept.stored()
    (left_out,) = again(kept, [*stored[:5], *stored[6:]]).differences
    assert left_out.endswith("the store has no such verdict")
    (put_in,) = again(kept, [*stored, {**stored[-1], "sequence": 10**9}]).differences
    assert put_in.endswith("no such verdict comes out")


def test_another_configuration_is_found(kept: Kept, tmp_path: Path) -> None:
    other = configured(tmp_path, "canary: {alpha: 0.000001}\n")
    found = again(kept, kept.stored(), config=other)
    assert not found.equal
    then, now = JudgedBy(kept.config), JudgedBy(other)
    count = len(kept.stored())
    assert found.others == ((then.settings(MODEL).configuration, count),)
    first, second, *_ = in_words(found)
    assert first.startswith("cannot be said")
    names = [each.settings(MODEL).configuration[:12] for each in (then, now)]
    assert second.strip() == (
        f"{count} were judged with configuration {names[0]}, the present one is {names[1]}"
    )


def test_the_settings_that_are_kept_by_their_hash_give_the_verdicts_again(
    kept: Kept, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(JudgedBy(kept.config).text(MODEL))
    found = again(kept, kept.stored(), config=load_config(file, {}))
    assert (found.equal, found.others) == (True, ())


def test_another_configuration_that_gives_the_same_is_named_though_all_is_equal(
    kept: Kept, tmp_path: Path
) -> None:
    other = configured(tmp_path, "online: {hold: 11m}\n")
    found = again(kept, kept.stored(), config=other)
    assert found.equal
    _, said = in_words(found)
    assert said.strip().startswith(f"{len(kept.stored())} were judged with configuration ")


def test_verdicts_of_a_version_that_did_not_name_its_settings_are_compared_without(
    kept: Kept,
) -> None:
    stored = [{**row, "configuration": "", "reference": ""} for row in kept.stored()]
    found = again(kept, stored)
    assert found.equal
    _, said = in_words(found)
    assert said.strip() == f"{len(stored)} do not say which configuration they were judged with"
    stored[-1]["status"] = "pass"
    assert in_words(again(kept, stored))[0].startswith("cannot be said: 1 of ")


def test_what_kafka_has_deleted_is_no_equality(kept: Kept) -> None:
    gone = len(kept.records) // 2
    left = kept.records[gone:]
    found = again(kept, kept.stored(), records=left, lost=gone, known=kept.learnt)
    assert not found.equal
    assert in_words(found)[0].startswith("cannot be said")
    # A reference that was learnt before, and is not in its topic any more, is named.
    with pytest.raises(UserError, match="is not in the topic any more"):
        again(kept, kept.stored(), records=left, lost=gone)


def test_without_a_stored_verdict_nothing_is_equal(kept: Kept) -> None:
    found = again(kept, [])
    assert not found.equal
    assert in_words(found) == ["no verdict is stored: there is nothing to recompute"]

"""H: names without end. What is beyond a cap is folded into ``__other__``, still counted and said;
what the configuration names is followed whoever came first; memory stays below 600 MB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from detectors.layout import Header
from detectors.reference import Reference, layout_for, reference_from_table
from detectors.release import ALL, OTHER
from streams.cardinality import Limits
from streams.config import load_config
from streams.event import Bounds
from streams.inputs import InputFormat, InputSettings
from streams.internal_topics import INTAKE, SUMMARIES
from streams.metrics_summarize import SummarizeMetrics
from streams.sampling import SampleSettings
from streams.summarizer import Summarizer, SummarizeSettings, named_codec
from streams.timeline import NEVER, TimeSettings
from streams.wire import Delta, decode, unpack
from tests.faults.naive_reader import naive_codec
from tests.faults.worker_line import NOW, TOPIC, CodecOf, message

TIME: Final = TimeSettings(pane_ms=10_000, windows_ms=(60_000,))
SMALL: Final = Limits(models=5, versions_per_model=3, segments_per_model=10, columns_per_model=20)
MOST_MEMORY: Final = 600 * 2**20
UNBOUNDED: Final = Limits(
    models=10**9, versions_per_model=10**9, segments_per_model=10**9, columns_per_model=10**9
)


class Flooded:
    """A summarizer under flood, and what came out of it."""

    def __init__(
        self,
        limits: Limits,
        references: dict[str, Reference] | None = None,
        codec_of: CodecOf = named_codec,
    ) -> None:
        known = references or {}
        self.summarizer = Summarizer(
            (InputSettings(TOPIC, InputFormat.JSON),),
            TIME,
            SummarizeSettings(),
            limits,
            SampleSettings(),
            known.get,
            1,
            "w",
            codec_of=codec_of,
        )
        self.known = {each.id: each for each in known.values()}
        self.summarizer.intake.assign((TOPIC, 0), 1, NEVER, NOW)
        self.offset = 0
        self.models: Counter[str] = Counter()
        self.names: dict[str, set[str]] = {"version": set(), "segment": set(), "column": set()}
        self.segments: Counter[str] = Counter()
        self.ledger: Counter[str] = Counter()

    def take(self, bodies: list[bytes]) -> None:
        messages = [message(self.offset + i, body) for i, body in enumerate(bodies)]
        self.offset += len(messages)
        self.summarizer.take(messages, NOW)

    def flush(self) -> None:
        for record in self.summarizer.flush(NOW, {}):
            if record.topic == INTAKE:
                for row in json.loads(record.value)["rows"]:
                    names = ("messages", "events", "dead", "late", "capped")
                    self.ledger.update({name: row[name] for name in names})
            if record.topic != SUMMARIES:
                continue
            delta = decode(record.value)
            if isinstance(delta, Delta):
                self._note(delta)
        self.summarizer.committed()

    def _note(self, delta: Delta) -> None:
        layout = layout_for(self.known.get(delta.reference), delta.columns)
        self.names["column"].update(name for name, _ in delta.columns)
        for group in delta.groups:
            self.names["version"].add(group.version)
            self.names["segment"].add(group.segment)
            count = unpack(group.summaries, layout).header(Header.PREDICTIONS)
            if group.segment == ALL:
                self.models[delta.model] += count
            else:
                self.segments[group.segment.partition("=")[0]] += count


def body(model: str = "m", version: str = "1", **more: Any) -> bytes:
    return json.dumps({"ts": NOW, "model": model, "version": version, **more}).encode()


def flooded(limits: Limits, bodies: list[bytes], codec_of: CodecOf = named_codec) -> Flooded:
    line = Flooded(limits, codec_of=codec_of)
    for at in range(0, len(bodies), 100):
        line.take(bodies[at : at + 100])
    line.flush()
    return line


# --- H1: more names than there is room for -------------------------------------------------------


@pytest.mark.parametrize("limits", [SMALL, UNBOUNDED], ids=["H1-models", "H1-models-no-guard"])
def test_models_beyond_the_cap_are_counted_as_other(limits: Limits) -> None:
    line = flooded(limits, [body(f"model-{i}") for i in range(300)])
    guarded = limits is SMALL
    assert sum(line.models.values()) == 300
    assert (line.models[OTHER] == 295) is guarded
    assert (len(line.models) == 6) is guarded
    assert line.ledger["capped"] == (295 if guarded else 0)
    assert line.ledger["events"] + line.ledger["capped"] == line.ledger["messages"] == 300


@pytest.mark.parametrize("limits", [SMALL, UNBOUNDED], ids=["H1-versions", "H1-versions-no-guard"])
def test_versions_beyond_the_cap_are_counted_as_other(limits: Limits) -> None:
    line = flooded(limits, [body(version=f"v{i}") for i in range(300)])
    assert sum(line.models.values()) == 300
    assert (OTHER in line.names["version"]) is (limits is SMALL)
    assert (len(line.names["version"]) == 4) is (limits is SMALL)
    assert (line.ledger["capped"] == 297) is (limits is SMALL)


@pytest.mark.parametrize("limits", [SMALL, UNBOUNDED], ids=["H1-segments", "H1-segments-no-guard"])
def test_segments_beyond_the_cap_are_folded_and_counts_still_add_up(limits: Limits) -> None:
    bodies = [body(segments={"user": f"u{i}"}) for i in range(300)]
    line = flooded(limits, bodies)
    assert line.segments["user"] == 300
    assert (len(line.names["segment"]) <= 12) is (limits is SMALL)
    assert (f"user={OTHER}" in line.names["segment"]) is (limits is SMALL)


@pytest.mark.parametrize("limits", [SMALL, UNBOUNDED], ids=["H1-keys", "H1-keys-no-guard"])
def test_segment_keys_without_end_are_left_to_all(limits: Limits) -> None:
    line = flooded(limits, [body(segments={f"key{i}": "x"}) for i in range(300)])
    assert sum(line.models.values()) == 300
    most = 2 * SMALL.segments_per_model + 1
    assert (len(line.names["segment"]) <= most) is (limits is SMALL)


@pytest.mark.parametrize("kind", ["number", "text"], ids=["H3-numbers", "H3-texts"])
@pytest.mark.parametrize("limits", [SMALL, UNBOUNDED], ids=["guard", "no-guard"])
def test_columns_beyond_the_cap_are_left_out(limits: Limits, kind: str) -> None:
    value = 1.0 if kind == "number" else "x"
    line = flooded(limits, [body(features={f"f{i}": value}) for i in range(300)])
    assert (len(line.names["column"]) == SMALL.columns_per_model) is (limits is SMALL)
    away = line.summarizer.accumulator.turned_away()["column"]
    assert (away >= 280) is (limits is SMALL)


def test_h1_what_is_turned_away_is_in_the_metrics() -> None:
    line = flooded(SMALL, [body(f"model-{i}", features={"x": i}) for i in range(300)])
    registry = CollectorRegistry()
    metrics = SummarizeMetrics(registry)
    metrics.turned_away(line.summarizer.accumulator.turned_away())
    metrics.turned_away(line.summarizer.accumulator.turned_away())
    found = {
        sample.labels["kind"]: sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if sample.name == "driftline_names_turned_away_total"
    }
    assert found["model"] == line.summarizer.accumulator.turned_away()["model"] > 0
    assert set(found) == {"model", "version", "segment", "column"}


# --- H2: names that are no names -----------------------------------------------------------------

_COMPOSED, _DECOMPOSED = "caf\u00e9", unicodedata.normalize("NFD", "caf\u00e9")


@pytest.mark.parametrize(
    "name",
    ["", " ", "\t", "x" * 65_536, "x" * 201, OTHER, "a\x00b", "a\r\nb", "a\u202eb", "a\u2028b"],
    ids=["H2-empty", "H2-space", "H2-tab", "H2-64kB", "H2-long", "H2-other", "H2-nul", "H2-crlf",
         "H2-bidi", "H2-line"],
)  # fmt: skip
@pytest.mark.parametrize("field", ["model", "version"])
@pytest.mark.parametrize("codec_of", [named_codec, naive_codec], ids=["guard", "no-guard"])
def test_what_is_no_name_is_a_dead_letter(field: str, name: str, codec_of: CodecOf) -> None:
    line = flooded(SMALL, [body(), body(**{field: name}), body()], codec_of)
    refused = line.ledger == Counter(messages=3, events=2, dead=1)
    assert (refused and set(line.models) == {"m"}) is (codec_of is named_codec)


@pytest.mark.parametrize(
    "name", ["x" * 65_536, OTHER, "a\x00b"], ids=["H2-64kB", "H2-other", "H2-nul"]
)
@pytest.mark.parametrize("codec_of", [named_codec, naive_codec], ids=["guard", "no-guard"])
def test_a_segment_or_column_that_is_no_name_harms_no_event(name: str, codec_of: CodecOf) -> None:
    bodies = [body(segments={name: "x", "k": name}, features={name: 1.0, "x": 1.0})]
    line = flooded(SMALL, bodies, codec_of)
    assert line.models == Counter({"m": 1})
    assert "features.x" in line.names["column"]
    names = (line.names["column"] | line.names["segment"]) - {OTHER, f"k={OTHER}"}
    assert any(name in each for each in names) is (codec_of is naive_codec)


@pytest.mark.parametrize(
    "codec_of", [named_codec, naive_codec], ids=["H2-forms", "H2-forms-no-guard"]
)
def test_look_alikes_in_two_normal_forms_are_one_name(codec_of: CodecOf) -> None:
    assert _COMPOSED != _DECOMPOSED
    line = flooded(SMALL, [body(_COMPOSED), body(_DECOMPOSED)], codec_of)
    assert (line.models == Counter({_COMPOSED: 2})) is (codec_of is named_codec)


def test_h2_case_and_other_alphabets_are_other_names() -> None:
    names = ["model", "Model", "m\u043edel"]  # the last with a Cyrillic o
    line = flooded(SMALL, [body(name) for name in names])
    assert line.models == Counter(dict.fromkeys(names, 1))


# --- H4: who comes late --------------------------------------------------------------------------


@pytest.mark.parametrize("guard", [True, False], ids=["H4-listed", "H4-listed-no-guard"])
def test_a_listed_model_is_followed_though_the_cap_is_full(guard: bool) -> None:
    config = load_config(
        None,
        {"DRIFTLINE__MODELS": "{vip: {}}", "DRIFTLINE__LIMITS__ALWAYS_MODELS": "[star]"},
    )
    always = config.followed_models() if guard else ()
    limits = Limits(models=5, always_models=always)
    flood = [body(f"flood-{i}") for i in range(50)]
    line = flooded(limits, [*flood, *[body("vip")] * 40, *[body("star")] * 20])
    assert (line.models["vip"] == 40) is guard
    assert (line.models["star"] == 20) is guard
    assert line.models[OTHER] == (45 if guard else 105)


@pytest.mark.parametrize("guard", [True, False], ids=["H4-reference", "H4-reference-no-guard"])
def test_a_model_with_a_reference_is_followed_though_the_cap_is_full(guard: bool) -> None:
    import pyarrow as pa

    table = pa.table({"features.x": np.linspace(0, 1, 100)})
    known = {"vip": reference_from_table("vip", table, "test")} if guard else {}
    line = Flooded(Limits(models=5), known)
    line.take([body(f"flood-{i}") for i in range(50)])
    line.take([body("vip", features={"x": 0.5})] * 40)
    line.flush()
    assert (line.models["vip"] == 40) is guard


# --- memory --------------------------------------------------------------------------------------


def flood(events: int) -> Iterator[bytes]:
    """Everything at once: models, versions, segments and their keys, columns, categories, and
    names as long as they may be."""
    pad = "n" * 150
    for i in range(events):
        yield json.dumps(
            {
                "ts": NOW - i % 20_000,
                "model": f"{pad}{i % 5_003 if i % 3 else 0}",
                "version": f"{pad}{i % 10_007}",
                "segments": {"user": f"{pad}{i}", f"{pad}k{i % 50_021}": "x"},
                "features": {
                    **{f"{pad}f{(i * 7 + j) % 5_003}": float(j) for j in range(4)},
                    **{f"t{(i * 3 + j) % 997}": f"{pad}{i * 5 + j}" for j in range(2)},
                },
                "prediction": f"{pad}{i}",
            }
        ).encode()


def resident() -> int:
    """Most bytes that this process had in memory. Not of ``getrusage``, which for a child begins
    with what its parent had."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main(events: int, limits: Limits) -> None:
    """In a process of its own: the flood, a flush when it is time, and the peak of memory."""
    line = Flooded(limits)
    before = resident()
    some: list[bytes] = []
    slowest = 0.0
    for each in flood(events):
        some.append(each)
        if len(some) < 500:
            continue
        line.take(some)
        some = []
        if line.summarizer.full or line.offset == events:
            began = time.process_time()
            line.summarizer.flush(NOW, {})
            line.summarizer.committed()
            slowest = max(slowest, time.process_time() - began)
    print(
        json.dumps(
            {
                "peak": resident(),
                "grown": resident() - before,
                "slowest": slowest,
                "away": line.summarizer.accumulator.turned_away(),
            }
        )
    )


def told_of_a_flood(repository: Path, events: int, limits: str) -> dict[str, Any]:
    """What `main` says of so many events."""
    names = "import Limits, SMALL, UNBOUNDED, main"
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} {names}; main({events}, {limits})"],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=3_600,
        check=True,
    )
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def test_h5_memory_stays_below_600_mb_under_a_flood_of_names(repository: Path) -> None:
    """DRIFTLINE_FLOOD makes it as long as an evening's run may be."""
    events = int(os.environ.get("DRIFTLINE_FLOOD", "4000"))
    said = told_of_a_flood(repository, events, "Limits()")
    assert all(count > 0 for count in said["away"].values()), said
    assert said["slowest"] < 30, said  # Kafka gives a worker up after 60 s
    assert 100 * 2**20 < said["peak"] < MOST_MEMORY, f"{said['peak'] / 2**20:.0f} MB"


@pytest.mark.parametrize("limits", ["SMALL", "UNBOUNDED"], ids=["H5-small", "H5-small-no-guard"])
def test_what_a_flood_of_names_takes_is_bounded_by_the_limits(
    repository: Path, limits: str
) -> None:
    """At a small scale, for without the guard memory and time of the flood above have no end."""
    said = told_of_a_flood(repository, 500, limits)
    assert (said["grown"] < 30 * 2**20) is (limits == "SMALL"), f"{said['grown'] / 2**20:.0f} MB"


def test_h3_a_decoder_learns_no_more_shapes_than_it_keeps() -> None:
    """5,000 features, each event with others: no event is lost, and columns are bounded."""
    line = flooded(Limits(), [body(features={f"f{i}": 1.0}) for i in range(5_000)])
    assert line.models == Counter({"m": 5_000})
    assert len(line.names["column"]) == Limits().columns_per_model
    assert Bounds(0, 1).max_columns >= Limits().columns_per_model

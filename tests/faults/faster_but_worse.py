"""F11: a canary that answers sooner than production, and worse. Real answers of GPT-4 of March and
of June 2023, in an order of questions that a seed draws, through the judge that a backtest replays.
"""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet

from detectors.verdict import Verdict
from streams.backtest import Line, Policy
from streams.backtest_outcome import Budget, Truth
from streams.config import load_config
from streams.demo_traffic import ANSWERS_TOPIC, CANARY, Message, traffic
from streams.recorded import Columns, in_order, open_files
from streams.wire import encode_verdict

EXAMPLES = Path(__file__).parents[2] / "examples"
_START_MS = 1_699_999_200_000
_QUALITY = ("scores", "prediction")


class _Listening(Line):
    """Keeps the verdicts on the canary as deliver would read them, of the model that the cells
    know."""

    def heard_from(self, path: Path) -> list[bytes]:
        self._heard: list[bytes] = []
        recording = open_files(path, Columns(), _START_MS + 30 * 24 * 3_600_000)
        for block in in_order(recording, self._config.time.pane_ms):
            self.take(block)
        self.finish()
        return self._heard

    def _decide(self, verdict: Verdict) -> None:
        if verdict.release == CANARY:
            release = replace(verdict.release, model="m")
            self._heard.append(encode_verdict(replace(verdict, release=release)))


def verdicts(seed: int, *, quality: bool = True) -> list[bytes]:
    """What the judge says of the canary, in its order; without ``quality`` it sees latency, tokens
    and cost alone."""
    config = load_config(EXAMPLES / "demo.yaml", {})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.ndjson"
        answers = [each for each in _shuffled(Path(folder), seed) if each.topic == ANSWERS_TOPIC]
        path.write_bytes(b"\n".join(_seen(each.value, quality=quality) for each in answers))
        source = open_files(path, Columns(), _START_MS).input
        line = _Listening(Policy("demo", config), source, (), Truth(), Budget(1, 1))
        return line.heard_from(path)


def _shuffled(folder: Path, seed: int) -> list[Message]:
    table = pyarrow.parquet.read_table(EXAMPLES / "llmdrift.parquet")
    questions = sorted(set(table.column("question").to_pylist()))
    # Within fifties: the first fifty numbers are those of the code questions, too.
    drawn = random.Random(seed)
    to: dict[int, int] = {}
    for at in range(0, len(questions), 50):
        some = questions[at : at + 50]
        to.update(zip(some, drawn.sample(some, len(some)), strict=True))
    renamed = pa.array([to[number] for number in table.column("question").to_pylist()])
    at = table.schema.get_field_index("question")
    pyarrow.parquet.write_table(
        table.set_column(at, "question", renamed), folder / "llmdrift.parquet"
    )
    loans = "car_loan_analysis.parquet"
    (folder / loans).symlink_to(EXAMPLES / loans)
    return traffic(folder, _START_MS)


def _seen(value: bytes, *, quality: bool) -> bytes:
    event = msgspec.json.decode(value)
    if not quality:
        event = {name: of for name, of in event.items() if name not in _QUALITY}
    return msgspec.json.encode(event)

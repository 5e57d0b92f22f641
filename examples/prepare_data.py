"""Makes the samples beside this file from the original data sets. Kept for the record.

    python -m examples.prepare_data FOLDER

FOLDER holds ``llmdrift/`` (OPINIONQA_EVAL.csv and LEETCODE_EASY_EVAL.csv of LLMDrift) and
``nannyml_car_loan/`` (synthetic_car_loan_*.parquet of NannyML). examples/DATA.md names the sources
and says what is changed. The same input gives the same samples.
"""

from __future__ import annotations

import argparse
import random
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

HERE = Path(__file__).parent
VERSIONS = ("gpt-4-0314", "gpt-4-0613", "gpt-3.5-turbo-0613")
SEED = 20230613
EVERY = 4
"""Of the car loans, one row in so many is kept."""

_OPTION = re.compile(r"\s*\(([A-Z])\)")


def answers(folder: Path) -> pa.Table:
    """One row for each question and version, without the texts of questions and answers."""
    rows: list[dict[str, Any]] = []
    for name, dataset in (("OPINIONQA_EVAL", "OPINIONQA"), ("LEETCODE_EASY_EVAL", "LEETCODE")):
        recorded = pyarrow.csv.read_csv(
            folder / f"{name}.csv",
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        ).to_pylist()
        by_version = {
            version: [row for row in recorded if row["model"] == f"openaichat/{version}"]
            for version in VERSIONS
        }
        prompts = [[row["query"] for row in by_version[version]] for version in VERSIONS]
        if any(asked != prompts[0] for asked in prompts):
            raise SystemExit(f"{name}: the versions were not asked the same questions")
        order = list(range(len(prompts[0])))
        random.Random(SEED).shuffle(order)
        for question, at in enumerate(order):
            rows += [
                _answer(by_version[version][at], dataset, question, version) for version in VERSIONS
            ]
    integer = pa.int32()
    return pa.Table.from_pylist(
        rows,
        pa.schema(
            [
                ("question", integer),
                ("version", pa.string()),
                ("segments.dataset", pa.string()),
                ("features.prompt_chars", integer),
                ("features.max_tokens", integer),
                ("features.temperature", pa.float64()),
                ("prediction.label", pa.string()),
                ("scores.answer_format", integer),
                ("scores.usable_code", integer),
                ("latency_ms", pa.float64()),
                ("tokens_out", integer),
                ("cost", pa.float64()),
            ]
        ),
    )


def _answer(row: dict[str, Any], dataset: str, question: int, version: str) -> dict[str, Any]:
    made = {
        "question": question,
        "version": version,
        "segments.dataset": dataset,
        "features.prompt_chars": len(row["query"]),
        "features.max_tokens": row["max_tokens"],
        "features.temperature": row["temperature"],
        "latency_ms": round(row["latency"] * 1000, 1),
        "tokens_out": row["answer_token"],
        "cost": round(row["cost"], 6),
    }
    if dataset == "LEETCODE":
        return {**made, "scores.usable_code": row["Directly Usable"]}
    option = _OPTION.match(row["answer"] or "")
    return {
        **made,
        "prediction.label": option[1] if option else "no option",
        "scores.answer_format": int(option is not None),
    }


def loans(path: Path) -> pa.Table:
    """Every fourth row, whole numbers as such, others with three decimals."""
    source = pyarrow.parquet.read_table(path)
    source = source.take(list(range(0, source.num_rows, EVERY)))

    def column(name: str, type_: pa.DataType | None = None) -> Any:
        values = source.column(name)
        return values if type_ is None else values.cast(type_)

    def rounded(name: str) -> Any:
        # Not to 32-bit floats: 0.99 would become another number, on another side of a bin's edge.
        return pyarrow.compute.round(source.column(name), ndigits=3)

    paid = [("repaid" if each else "not_repaid") for each in column("y_pred").to_pylist()]
    return pa.table(
        {
            "recorded_at": column("timestamp", pa.timestamp("ms")),
            "features.car_value": column("car_value", pa.int32()),
            "features.salary_range": column("salary_range"),
            "features.debt_to_income_ratio": rounded("debt_to_income_ratio"),
            "features.loan_length": column("loan_length", pa.int8()),
            "features.repaid_loan_on_prev_car": column("repaid_loan_on_prev_car"),
            "features.size_of_downpayment": column("size_of_downpayment"),
            "features.driver_tenure": rounded("driver_tenure"),
            "prediction.label": pa.array(paid),
            "prediction.probabilities.repaid": rounded("y_pred_proba"),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.prepare_data", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    car = folder / "nannyml_car_loan"
    for name, table in (
        ("llmdrift", answers(folder / "llmdrift")),
        ("car_loan_reference", loans(car / "synthetic_car_loan_reference.parquet")),
        ("car_loan_analysis", loans(car / "synthetic_car_loan_analysis.parquet")),
    ):
        out = HERE / f"{name}.parquet"
        pyarrow.parquet.write_table(table, out, compression="zstd", compression_level=19)
        print(f"{out.name}: {table.num_rows} rows, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()

"""One peer, once, in its own process and its own environment: ``python peers_worker.py NAME
FOLDER``. It prints one JSON line: the CPU time of its own step, without loading and without
imports; memory; and its answers by column.

Runs in environments that hold neither driftline nor the rest of bench, so it imports nothing of
ours but for the peer called driftline. Every peer gets the data in the form it likes best, loaded
before; what can be prepared from the reference alone is prepared before, if the tool lets one.
Every peer first does the whole work on few rows, so that no import and no compilation is counted.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

for _variable in ("OPENBLAS", "OMP", "MKL", "NUMEXPR", "NUMBA"):
    os.environ.setdefault(f"{_variable}_NUM_THREADS", "1")

WARM_ROWS = 2_000
ADWIN_ROWS = 20_000
MOST_RUNS = 3
LONG_S = 5.0
"""A step that takes so long is not repeated in one process."""
SQL_EDGES = "edges.json"

Answers = dict[str, Any]
Step = Callable[[], Answers]
Prepare = Callable[[Any, Any, Path], Step]
"""Takes the reference, the current data (Arrow tables, texts as dictionaries) and the folder."""


def _numbers(table: Any) -> list[str]:
    return [name for name in table.column_names if name.startswith("n")]


def _texts(table: Any) -> list[str]:
    return [name for name in table.column_names if name.startswith("c")]


def _plain(table: Any) -> Any:
    """Texts as strings."""
    pa = import_module("pyarrow")
    return pa.table(
        {
            n: table[n].cast(pa.string()) if n.startswith("c") else table[n]
            for n in table.schema.names
        }
    )


def _arrays(table: Any) -> dict[str, Any]:
    """Numbers as float64, texts as int32 codes."""
    return {
        name: (
            table[name].combine_chunks().indices.to_numpy()
            if name.startswith("c")
            else table[name].to_numpy()
        )
        for name in table.column_names
    }


def _driftline(reference: Any, current: Any, workshop: Any) -> Step:
    detect, place = import_module("detectors.thresholds"), _place()
    table = import_module("detectors.table")
    normal = table.reference_of(reference)
    settings = detect.ThresholdSettings()

    def step() -> Answers:
        summaries = table.summarize_table(current, normal, workshop=workshop)
        comparison = detect.Comparison(
            summaries, normal.summaries, normal.id, detect.Against.REFERENCE
        )
        findings = detect.judge_columns(settings, comparison, place)
        answers: Answers = {name: {} for name in current.column_names}
        for finding in findings:
            if finding.column in answers:
                answers[finding.column][str(finding.detector)] = finding.statistic
        for column in summaries.columns():
            answers[column.spec.name]["bins"] = column.bins.tolist()
            if column.spec.kind == "numeric":
                answers[column.spec.name] |= {"mean": column.mean, "sd": column.sd}
        return answers

    return step


def _place() -> Any:
    release = import_module("detectors.release")
    detect = import_module("detectors.thresholds")
    return detect.Place(
        release.Release("bench", "1", release.Role.PRODUCTION), "all", 60_000, 1_780_000_000_000, 0
    )


def _driftline_codes(reference: Any, current: Any, folder: Path) -> Step:
    return _driftline(reference, current, _workshop(folder))


def _driftline_strings(reference: Any, current: Any, folder: Path) -> Step:
    return _driftline(_plain(reference), _plain(current), _workshop(folder))


def _driftline_plain(reference: Any, current: Any, _: Path) -> Step:
    return _driftline(_plain(reference), _plain(current), None)


def _workshop(folder: Path) -> Any:
    """Compiled in the first round, read from the folder in the others."""
    os.environ.setdefault("NUMBA_CACHE_DIR", str(folder / "numba"))
    compiled, kernels = import_module("detectors.compiled"), import_module("detectors.kernels")
    return kernels.Workshop(compiled.compile_all(cache=True))


def _evidently(reference: Any, current: Any, _: Path) -> Step:
    core, presets = import_module("evidently"), import_module("evidently.presets")
    definition = core.DataDefinition(
        numerical_columns=_numbers(current), categorical_columns=_texts(current)
    )
    normal, now = _plain(reference).to_pandas(), _plain(current).to_pandas()

    def step() -> Answers:
        preset = presets.DataDriftPreset(num_method="psi", cat_method="psi")
        done = core.Report([preset]).run(
            core.Dataset.from_pandas(now, definition), core.Dataset.from_pandas(normal, definition)
        )
        found = {m["config"].get("column"): m["value"] for m in done.dict()["metrics"]}
        return {name: {"psi": float(found[name])} for name in now.columns}

    return step


def _whylogs(reference: Any, current: Any, _: Path) -> Step:
    why = import_module("whylogs")
    drift = import_module("whylogs.viz.drift.column_drift_algorithms")
    now = _plain(current).to_pandas()
    normal = why.log(_plain(reference).to_pandas()).view()

    def step() -> Answers:
        scores = drift.calculate_drift_scores(why.log(now).view(), normal)
        return {
            name: {"kolmogorov_smirnov": float(score["statistic"])} if score else {}
            for name, score in scores.items()
        }

    return step


def _nannyml(reference: Any, current: Any, _: Path) -> Step:
    nannyml = import_module("nannyml")
    now = _plain(current).to_pandas()
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=list(now.columns),
        treat_as_categorical=_texts(current),
        continuous_methods=["jensen_shannon"],
        categorical_methods=["jensen_shannon"],
        chunk_number=1,
    )
    calculator.fit(_plain(reference).to_pandas())

    def step() -> Answers:
        found = calculator.calculate(now).filter(period="analysis").to_df()
        return {
            name: {"jensen_shannon": float(found[name, "jensen_shannon", "value"].iloc[0])}
            for name in now.columns
        }

    return step


def _scipy(reference: Any, current: Any, _: Path) -> Step:
    np, stats = import_module("numpy"), import_module("scipy.stats")
    normal, now = _arrays(reference), _arrays(current)

    def step() -> Answers:
        answers: Answers = {}
        for name, values in now.items():
            if name.startswith("n"):
                found = stats.ks_2samp(normal[name], values, method="asymp")
                answers[name] = {"kolmogorov_smirnov": float(found.statistic)}
                continue
            size = int(max(normal[name].max(), values.max())) + 1
            table = [np.bincount(side, minlength=size) for side in (normal[name], values)]
            chi = stats.chi2_contingency(np.stack(table), correction=False)
            answers[name] = {"chi_square": float(chi.statistic)}
        return answers

    return step


def _frouros(reference: Any, current: Any, _: Path) -> Step:
    psi = import_module("frouros.detectors.data_drift").PSI
    normal, now = _arrays(reference), _arrays(current)
    detectors = {}
    for name in _numbers(current):
        detectors[name] = psi(num_bins=10)
        detectors[name].fit(X=normal[name])

    def step() -> Answers:
        return {
            name: {"psi": float(detector.compare(X=now[name])[0].distance)}
            for name, detector in detectors.items()
        }

    return step


def _alibi(reference: Any, current: Any, _: Path) -> Step:
    np, cd = import_module("numpy"), import_module("alibi_detect.cd")
    names = current.column_names
    normal, now = (np.column_stack(list(_arrays(t).values())) for t in (reference, current))
    categories = {i: None for i, name in enumerate(names) if name.startswith("c")}
    detector = cd.TabularDrift(normal, p_val=0.05, categories_per_feature=categories)

    def step() -> Answers:
        found = detector.predict(now, return_distance=True)["data"]["distance"]
        return {
            name: {"chi_square" if i in categories else "kolmogorov_smirnov": float(found[i])}
            for i, name in enumerate(names)
        }

    return step


def _river(reference: Any, current: Any, _: Path) -> Step:
    """Half of the rows from the reference, then half from the current data: it has to learn what
    is normal first."""
    adwin = import_module("river.drift").ADWIN
    half = min(ADWIN_ROWS, current.num_rows) // 2
    streams = {
        name: reference[name].slice(0, half).to_pylist() + current[name].slice(0, half).to_pylist()
        for name in _numbers(current)
    }

    def step() -> Answers:
        answers: Answers = {}
        for name, values in streams.items():
            low, high = min(values), max(values)
            detector, alarms = adwin(), []
            unit = high - low
            for at, value in enumerate(values):
                detector.update((value - low) / unit)
                if detector.drift_detected:
                    alarms.append(at)
            answers[name] = {"drift": bool(alarms) and max(alarms) >= half}
        return answers

    return step


def _chdb(_: Any, current: Any, folder: Path) -> Step:
    """Counts in the bins of driftline's reference, and the moments that findings also need, by SQL
    over a MergeTree table, with one thread."""
    chdb = import_module("chdb")
    edges: Mapping[str, list[float]] = json.loads((folder / SQL_EDGES).read_text("utf-8"))
    # chDB reads a variable of this name as a table, if it is in sight of the query.
    handle: Any = chdb.connect(":memory:")
    kinds = [f"`{n}` Float64" for n in _numbers(current)]
    kinds += [f"`{n}` LowCardinality(String)" for n in _texts(current)]
    handle.query("DROP TABLE IF EXISTS current")
    handle.query(f"CREATE TABLE current ({', '.join(kinds)}) ENGINE = MergeTree ORDER BY ()")
    sink = import_module("pyarrow").BufferOutputStream()
    with import_module("pyarrow.ipc").new_file(sink, current.schema) as to:
        to.write_table(current)
    inserter = handle.send_insert("INSERT INTO current", "Arrow")
    inserter.append(sink.getvalue().to_pybytes())
    inserter.finish()
    handle.query("SET max_threads = 1")
    moments = "count({0}), avg({0}), stddevPop({0}), min({0}), max({0})"
    counted = ", ".join(
        f"[{', '.join(f'countIf(`{name}` >= {edge!r})' for edge in edges[name])}],"
        f" [{moments.format(f'`{name}`')}]"
        for name in _numbers(current)
    )
    numbers = f"SELECT count(), {counted} FROM current"  # noqa: S608 - the names are our own
    texts = [
        f"SELECT toString(`{name}`) AS v, count() FROM current GROUP BY v"  # noqa: S608
        for name in _texts(current)
    ]

    def ask(query: str) -> list[list[Any]]:
        text = handle.query(query, "JSONCompact").data()
        rows: list[list[Any]] = json.loads(text)["data"]
        return rows

    def step() -> Answers:
        (row,) = ask(numbers)
        total = int(row[0])
        answers: Answers = {}
        for name, above, moment in zip(_numbers(current), row[1::2], row[2::2], strict=True):
            upto = [total, *map(int, above), 0]
            bins = [a - b for a, b in pairwise(upto)]
            answers[name] = {"bins": bins, "mean": moment[1], "sd": moment[2]}
        for name, query in zip(_texts(current), texts, strict=True):
            counts = {value: int(count) for value, count in ask(query)}
            answers[name] = {"bins": [counts[value] for value in sorted(counts)]}
        return answers

    return step


PEERS: Mapping[str, Prepare] = {
    "driftline, codes": _driftline_codes,
    "driftline, strings": _driftline_strings,
    "driftline, strings, without numba": _driftline_plain,
    "evidently PSI": _evidently,
    "whylogs": _whylogs,
    "nannyml JS": _nannyml,
    "scipy KS + chi-square": _scipy,
    "chDB SQL": _chdb,
    "frouros PSI": _frouros,
    "alibi-detect TabularDrift": _alibi,
    "river ADWIN": _river,
}


def run(name: str, folder: Path) -> dict[str, Any]:
    """Do the work of one peer, three times if it is quick. ``cpu_s``: CPU time of each, all
    threads; ``rows``: how many rows that is for."""
    reference, current = _read(folder / "reference.arrow"), _read(folder / "current.arrow")
    prepare = PEERS[name]
    prepare(reference.slice(0, WARM_ROWS), current.slice(0, WARM_ROWS), folder)()
    step = prepare(reference, current, folder)
    spent: list[float] = []
    answers: Answers = {}
    while len(spent) < MOST_RUNS and sum(spent) < LONG_S:
        start = time.process_time()
        answers = step()
        spent.append(time.process_time() - start)
    rows = current.num_rows
    return {
        "cpu_s": spent,
        "rows": min(rows, ADWIN_ROWS) if name == "river ADWIN" else rows,
        "peak_rss_mb": _peak_mb(),
        "answers": answers,
    }


def _read(path: Path) -> Any:
    pa = import_module("pyarrow")
    with pa.OSFile(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], Path(sys.argv[2]))), flush=True)

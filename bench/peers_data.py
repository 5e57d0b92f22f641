"""The data that all peers compare: 25 columns, the same bytes for each of them.

20 numbers and 5 texts; every fifth number and the first text have moved since the reference was
taken. Numbers are bounded (Beta), so that no bin of equal width is empty: what tools put into an
empty cell differs, and would hide whether they agree on the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

NUMBERS: Final = tuple(f"n{index:02d}" for index in range(20))
TEXTS: Final = tuple(f"c{index}" for index in range(5))
COLUMNS: Final = (*NUMBERS, *TEXTS)
MOVED: Final = frozenset((*NUMBERS[::5], TEXTS[0]))
"""The columns whose distribution is another one in the current data."""
_CATEGORIES: Final = (3, 5, 10, 20, 40)
_SEED: Final = 20_261_121

REFERENCE: Final = "reference.arrow"
CURRENT: Final = "current.arrow"


def make(rows: int, *, moved: bool) -> pa.Table:
    """``rows`` rows; texts are dictionaries. ``moved``: as the current data, else as the
    reference. The same arguments give the same table."""
    random = np.random.default_rng((_SEED, rows, moved))
    columns: dict[str, pa.Array] = {}
    for index, name in enumerate(NUMBERS):
        a, b = (2.2, 2.8) if moved and name in MOVED else (2.0, 3.0)
        values = random.beta(a, b, rows)
        # Scales from thousandths to thousands: nothing may depend on them.
        columns[name] = pa.array(values * 10.0 ** (index % 7 - 3))
    for name, size in zip(TEXTS, _CATEGORIES, strict=True):
        weights = 1.0 / np.arange(1, size + 1)
        if moved and name in MOVED:
            weights = weights[::-1]
        codes = random.choice(size, rows, p=weights / weights.sum()).astype(np.int32)
        names = pa.array([f"{name}-value-{code:02d}" for code in range(size)])
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(codes), names)
    return pa.table(columns)


def write(folder: Path, reference_rows: int, current_rows: int) -> None:
    """Both tables as Arrow files in ``folder``."""
    for name, rows, moved in ((REFERENCE, reference_rows, False), (CURRENT, current_rows, True)):
        table = make(rows, moved=moved)
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_file(sink, table.schema) as to:
            to.write_table(table)

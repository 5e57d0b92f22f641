"""The texts of the text columns: raw bytes to codes (in kernels), codes to categories (here)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.codecs.columns import WRONG
from streams.codecs.placing import NO_VALUE
from streams.codecs.speculative.arrays import Words
from streams.event import Categorical

MAX_TEXTS = 32_768
_ARENA_WORDS = 512 * 1024
"""4 MiB of raw texts, all columns together. Both are reserved, and touched only as they fill."""

_FEW = 64

Form = Callable[[str], str | int]
"""The one form of a text in its column, or NO_VALUE, or WRONG."""


class Vocabulary:
    """The texts seen in each column. Bounded: when it is half full, the next call starts anew."""

    def __init__(self, forms: Sequence[Form]) -> None:
        self._forms = tuple(forms)
        self._clear()

    def _clear(self) -> None:
        self.words = Words(
            slots=np.zeros(2 * MAX_TEXTS, dtype=np.int32),
            entries=np.zeros((MAX_TEXTS, 4), dtype=np.uint64),
            arena=np.zeros(_ARENA_WORDS, dtype=np.uint64),
            used=np.zeros(2, dtype=np.int64),
            codes=np.zeros(len(self._forms), dtype=np.int64),
        )
        self._known = 0
        self.columns = tuple(map(TextForms, self._forms))

    def begin(self) -> None:
        """Before a call: make room."""
        texts, words = self.words.used.tolist()
        if 2 * texts > MAX_TEXTS or 2 * words > _ARENA_WORDS:
            self._clear()

    def absorb(self) -> None:
        """After a call: find the forms of the texts that were new in it."""
        entries = self.words.entries
        count = int(self.words.used[0])
        if count == self._known:
            return
        new = entries[self._known : count].tolist()
        self._known = count
        for _, key, start, _ in new:
            size = key & 0xFFFFFFFF
            raw = self.words.arena[start : start + (size + 7) // 8].tobytes()[:size]
            self.columns[key >> 32].add(text_of(raw))


def text_of(raw: bytes) -> str:
    """The text of what stands between the quotes; the kernels have checked it: this cannot fail."""
    return msgspec.json.decode(b'"%b"' % raw, type=str) if b"\\" in raw else raw.decode()


class TextForms:
    """The texts of one column by code, and the coding of the last columns made of them."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._names: list[str] = []
        self._code_of: dict[str, int] = {}
        self._of_raw: list[int] = []
        self._table = np.array([WRONG, NO_VALUE], dtype=np.int32)
        self._last: tuple[bytes, NDArray[np.int32], tuple[str, ...], bool] | None = None

    def add(self, text: str) -> None:
        """The text of the next code."""
        form = self._form(text)
        if isinstance(form, str):
            code = self._code_of.setdefault(form, len(self._names))
            if code == len(self._names):
                self._names.append(form)
            form = code
        self._of_raw.append(form)

    def table(self) -> NDArray[np.int32]:
        """Number of the form by code; the codes NO_VALUE and WRONG stand for themselves."""
        if len(self._table) != len(self._of_raw) + 2:
            self._table = np.array([*self._of_raw, WRONG, NO_VALUE], dtype=np.int32)
            self._last = None
        return self._table

    def name(self, form: int) -> str:
        return self._names[form]

    def column(
        self, codes: NDArray[np.int32]
    ) -> tuple[Categorical | None, NDArray[np.int64] | None]:
        """The column with its categories sorted and all in use (None: no value in it), and the
        rows that are errors (None: none)."""
        table = self.table()
        if len(table) > 2 * len(codes) + _FEW:
            seen, place = np.unique(codes, return_inverse=True)
            recode, categories, any_wrong = self._recode(table, seen)
            codes = place.astype(np.int32)
        else:
            used = np.bincount(codes + np.int32(2), minlength=len(table)) > 0
            key = used.tobytes()
            if self._last is None or self._last[0] != key:
                recode = np.full(len(table), NO_VALUE, dtype=np.int32)
                used_codes = np.flatnonzero(used) - 2
                recode[used_codes], categories, any_wrong = self._recode(table, used_codes)
                self._last = (key, recode, categories, any_wrong)
            _, recode, categories, any_wrong = self._last
        column = recode[codes] if categories or any_wrong else None
        wrong = None
        if any_wrong and column is not None:
            wrong = np.flatnonzero(column == WRONG)
            column[wrong] = NO_VALUE
        return Categorical(column, categories) if column is not None and categories else None, wrong

    def _recode(
        self, table: NDArray[np.int32], seen: NDArray[np.signedinteger]
    ) -> tuple[NDArray[np.int32], tuple[str, ...], bool]:
        """The new codes of the codes ``seen``, their categories, and whether one is wrong."""
        forms = table[seen]
        used = np.unique(forms[forms >= 0]).tolist()
        categories = sorted(map(self._names.__getitem__, used))
        place = {name: code for code, name in enumerate(categories)}
        new = np.full(len(self._names) + 2, NO_VALUE, dtype=np.int32)
        new[used] = [place[self._names[form]] for form in used]
        new[WRONG] = WRONG
        return new[forms], tuple(categories), bool((forms == WRONG).any())

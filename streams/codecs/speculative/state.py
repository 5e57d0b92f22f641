"""Everything that the compiled parts share, as one value that costs nothing to hand on."""

from __future__ import annotations

from typing import Any, NamedTuple

from streams.codecs.speculative.machine import kernel, view_of


class State(NamedTuple):
    """Views of the arrays of Plan, Words and Out, in one. ``stride``: rows of a column."""

    literals: Any
    slots: Any
    templates: Any
    limits: Any
    table: Any
    entries: Any
    arena: Any
    used: Any
    next_codes: Any
    numbers: Any
    codes: Any
    ts_ms: Any
    template: Any
    source: Any
    span: Any
    ids: Any
    hits: Any
    min_ts_ms: Any
    max_ts_ms: Any
    keep_ids: Any
    stride: Any


@kernel
def state_of(plan: Any, words: Any, out: Any) -> Any:
    return State(
        view_of(plan.literals),
        view_of(plan.slots),
        view_of(plan.templates),
        view_of(plan.limits),
        view_of(words.slots),
        view_of(words.entries),
        view_of(words.arena),
        view_of(words.used),
        view_of(words.codes),
        view_of(out.numbers),
        view_of(out.codes),
        view_of(out.ts_ms),
        view_of(out.template),
        view_of(out.source),
        view_of(out.span),
        view_of(out.ids),
        view_of(out.hits),
        out.bounds[0],
        out.bounds[1],
        out.keep_ids[0] != 0,
        out.template.size,
    )

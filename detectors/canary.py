"""A canary, or an A/B arm, against production at the same time: one alpha, valid at every peek.

**Guarantee.** A release that is no worse than its margins is ever failed with probability at most
``alpha``, over all its measures and panes together, whenever and however often one looks. Each
measure has its own part of alpha, fixed before its first bet; within it, see
:mod:`detectors.canary_ledger` for what is exact and what is asymptotic. A PASS is given only when
the interval of every critical measure lies inside its margin, so a release that is worse than a
margin passes with probability about alpha at most, as intervals are asymptotic. All else is
INSUFFICIENT and says how much longer it will take; a broken split is HOLD.

Pure: the state is a frozen value with the same bytes for the same panes in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from detectors.answer_kernels import answers_by
from detectors.canary_answers import answers
from detectors.canary_book import book_of
from detectors.canary_cast import Cast, rulebook
from detectors.canary_kernels import CanaryKernels, entered_by
from detectors.canary_ledger import Ledger, entered, fitted
from detectors.canary_metric import ArmsPane, CanaryMetric, metrics_of
from detectors.canary_pane import Counted, count
from detectors.canary_rows import BLANK_ROW, Row, rows_of
from detectors.canary_rules import CanarySettings
from detectors.canary_verdict import CanaryVerdict, verdict_of
from detectors.release import Role
from detectors.sample_ratio import SampleRatio
from detectors.upstream import Movement


@dataclass(frozen=True, slots=True, eq=False)
class CanaryState:
    """``row``: all that was learnt from panes, in arrays that releases may share; ``late``: how
    many measures came after the first pane; ``one_sided``: panes in which only one arm had
    events."""

    row: Row = BLANK_ROW
    split: SampleRatio = field(default_factory=SampleRatio)
    panes: int = 0
    one_sided: int = 0
    late: int = 0

    @property
    def ledger(self) -> Ledger:
        """All that was learnt from panes."""
        return self.row.ledger

    @property
    def metrics(self) -> tuple[CanaryMetric, ...]:
        """Every measure of every column, in the order of (column, measure). Made when asked."""
        ledger = self.ledger
        return metrics_of(ledger, ledger.factor(CanarySettings()))

    @property
    def settled(self) -> bool:
        """Whether the cells of all measures are fixed: what came before is not needed any more."""
        return self.row.rows.cast.settled

    @property
    def failed(self) -> bool:
        """Whether any measure has failed. Costs no more than a look."""
        return self.row.failed

    @property
    def proven(self) -> bool:
        """Whether the evidence against the release, or against its split, is complete."""
        return self.failed or self.split.broken is not None

    def alone(self) -> CanaryState:
        """The same state, which keeps nothing of other releases in memory."""
        return replace(self, row=self.row.alone()) if self.row.shared else self


def step(
    state: CanaryState,
    settings: CanarySettings,
    pane: ArmsPane,
    counts: Mapping[Role, int] | None = None,
) -> CanaryState:
    """The state after one more pane, in the order of time. Never raises for what panes hold.

    ``counts``: events of the pane by role, for the split. From a broken split nothing is learnt.
    """
    return step_all([state], settings, [pane], counts)[0]


def step_all(
    states: Sequence[CanaryState],
    settings: CanarySettings,
    panes: Sequence[ArmsPane],
    counts: Mapping[Role, int] | None = None,
    kernels: CanaryKernels | None = None,
) -> list[CanaryState]:
    """:func:`step` of several releases, each with its own pane. Bit for bit the same as one by one,
    at a fraction of the cost where they have columns and cells in common; and the same with
    compiled ``kernels`` as without."""
    found = [_split(state, settings, counts or {}) for state in states]
    judged: list[int] = []
    for at, (state, pane) in enumerate(zip(found, panes, strict=True)):
        if state.split.broken is not None:
            continue
        ours, theirs = pane.canary.events, pane.production.events
        if ours and theirs:
            judged.append(at)
        else:
            found[at] = replace(state, one_sided=state.one_sided + bool(ours or theirs))
    known = [(found[at].row.rows.cast, found[at].late) for at in judged]
    reading = kernels.reading if kernels is not None else None
    for counted in count(known, settings, [panes[at] for at in judged], reading):
        places = [judged[at] for at in counted.of]
        pane = panes[places[0]]
        with_kernels = kernels if len(counted.book.betting) else None
        if len(places) == 1 and with_kernels is None:
            rows = [Row(_after(counted.alone(), found[places[0]].ledger, settings, pane))]
        else:
            before = rows_of([found[at].row for at in places], counted.book)
            after = _after(counted, before, settings, pane, with_kernels)
            rows = [Row(after, at) for at in range(len(places))]
        for at, row, late in zip(places, rows, counted.late, strict=True):
            state = found[at]
            found[at] = CanaryState(row, state.split, state.panes + 1, state.one_sided, late)
    return found


def _after(
    counted: Counted,
    ledger: Ledger,
    settings: CanarySettings,
    pane: ArmsPane,
    kernels: CanaryKernels | None = None,
) -> Ledger:
    """``pane``: any of those that were counted, of which all have these times and this variance.
    ``kernels`` take ledgers whose arrays have a row for each release."""
    return (entered if kernels is None else partial(entered_by, kernels))(
        fitted(ledger, counted.book),
        counted.book,
        settings,
        pane.start_ms,
        pane.length_ms,
        counted.arms,
        counted.ready,
        pane.variance,
    )


def _split(state: CanaryState, settings: CanarySettings, counts: Mapping[Role, int]) -> CanaryState:
    split = state.split.step(settings.split, counts)
    return state if split is state.split else replace(state, split=split)


def verdict(
    state: CanaryState, settings: CanarySettings, production: Iterable[Movement] = ()
) -> CanaryVerdict:
    """What is to be thought of the canary now. ``production``: what drifts in production itself,
    against its reference."""
    return verdict_all([state], settings, [production])[0]


def verdict_all(
    states: Sequence[CanaryState],
    settings: CanarySettings,
    production: Sequence[Iterable[Movement]],
    kernels: CanaryKernels | None = None,
) -> list[CanaryVerdict]:
    """:func:`verdict` of several releases: the same as one by one, at a fraction of the cost where
    they have columns and cells in common; and the same with compiled ``kernels`` as without."""
    rules = rulebook(settings)
    groups: dict[tuple[Cast, bytes], list[int]] = {}
    for at, state in enumerate(states):
        key = state.row.rows.cast, state.row.rows.bets.tobytes()
        groups.setdefault(key, []).append(at)
    found: dict[int, CanaryVerdict] = {}
    for (cast, _), places in groups.items():
        ledger = rows_of([states[at].row for at in places])
        book = book_of(cast, rules)
        if kernels is None:
            told = answers(ledger, book, settings)
        else:
            told = answers_by(kernels.answers, ledger, book, settings)
        for at, answer in zip(places, told, strict=True):
            state = states[at]
            found[at] = verdict_of(answer, state.panes, state.split.broken, production[at])
    return [found[at] for at in range(len(states))]

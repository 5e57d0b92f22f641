"""The pairs of one model's shadows with production, as the judge keeps them: in the model's state,
so that a record of pairs that is processed again after a crash is passed over like any other."""

from __future__ import annotations

from detectors import paired_board
from detectors.finding import Finding
from detectors.paired_evidence import PairedSettings
from detectors.thresholds import Place
from streams.model_state import ModelState
from streams.pair_delta import PairDelta, counts_of, halves_of


class Pairs:
    """Writes itself to ``state.paired`` whenever it changes."""

    def __init__(self, state: ModelState, settings: PairedSettings, pane_ms: int) -> None:
        self._state = state
        self._settings = settings
        self._pane_ms = pane_ms
        self._board = paired_board.from_bytes(state.paired)

    def enter(self, delta: PairDelta) -> None:
        """Take in what a worker joined. It waits for its pane: :meth:`fold`."""
        self._keep(
            paired_board.enter(
                self._board,
                [((g.shadow, g.production), g.pane_ms, counts_of(g)) for g in delta.pairs],
                [((h.version, h.role), halves_of(h)) for h in delta.halves],
                [((s.version, s.role, s.score), halves_of(s)) for s in delta.scores],
            )
        )

    def fold(self, closed_ms: int) -> None:
        """Turn the panes that have ended into evidence."""
        self._keep(paired_board.fold(self._board, closed_ms, self._pane_ms, self._settings))

    def findings(self, place: Place, production: str) -> list[Finding]:
        """Of a shadow against one production version, as things stand."""
        if not self._settings.enabled:
            return []
        return paired_board.findings(
            self._board,
            place.release,
            production,
            place.window_ms,
            place.window_start_ms,
            self._settings,
        )

    def _keep(self, board: paired_board.PairedBoard) -> None:
        if board is not self._board:
            self._board = board
            self._state.paired = paired_board.to_bytes(board)

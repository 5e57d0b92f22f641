"""The online detectors that people know, over panes: ADWIN, Page-Hinkley, KSWIN and the DDM family.

**No guarantee.** None of them keeps a budget of false alarms, and each finding says so. They are
here to be compared with; :mod:`detectors.drift` is what keeps a promise. By default none is on, and
one that is on decides only where it was told to (``OnlineWatch.decides``) and for production only,
which nothing rolls back.

**Replay.** A step is a pure function of the state, the pane and the reference; what is drawn is
drawn by a hash. A state is a few numbers for each column followed: the methods are written out
here, not kept as objects of a library, so that a state can be read back without running anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np

from detectors.finding import Finding, Outcome
from detectors.online_adwin import Memory
from detectors.online_feed import Figures, figures, followed, given
from detectors.online_rules import ALGORITHMS, Feed, OnlineSettings, OnlineWatch, Quantity
from detectors.release import Role
from detectors.summary import Summaries
from detectors.thresholds import Place

NO_BUDGET = "without a false-alarm budget"
_FADING = 0.7
"""What the recent level keeps from pane to pane: it is told as the level after a change."""


@dataclass(frozen=True, slots=True)
class OnlineAlarm:
    """``before``, ``after``: the level since the detector started, and of the last few panes."""

    at_ms: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Track:
    """One detector on one column. ``owner``: its settings, by hash: others start anew; ``values``:
    given to it since it started; ``way``: how far it is on the way to an alarm (1); ``panes``,
    ``usual``, ``recent``: the level's mean since it started, over so many panes, and lately."""

    name: str
    column: str
    owner: str
    memory: Memory = ()
    values: int = 0
    way: float = 0.0
    panes: int = 0
    usual: float = 0.0
    recent: float = 0.0
    alarm: OnlineAlarm | None = None


@dataclass(frozen=True, slots=True)
class OnlineState:
    """``upto_ms``: end of the last pane taken in; ``reference``: on which it stands."""

    upto_ms: int = 0
    reference: str = ""
    tracks: tuple[Track, ...] = ()


def step(
    state: OnlineState,
    pane: Summaries,
    normal: Summaries,
    start_ms: int,
    length_ms: int,
    settings: OnlineSettings,
) -> OnlineState:
    """The state after one more pane of a (release, segment), in the order of time.

    ``normal``: the reference's summaries, on which the pane's stand (``ValueError`` if they do
    not). A pane that is not newer than the last one changes nothing; so does, for its column, one
    with too few events.
    """
    if not settings.watches or start_ms < state.upto_ms or length_ms <= 0:
        return state
    reference = normal.layout.reference
    if pane.layout.reference != reference:
        raise ValueError(
            f"the pane stands on reference {pane.layout.reference or 'none'}, not on "
            f"{reference or 'none'}"
        )
    known = {}
    if state.reference == reference:
        known = {(track.name, track.column): track for track in state.tracks}
    end_ms = start_ms + length_ms
    owners = {id(watch): _owner(watch, settings) for watch in settings.watches}
    tracks = []
    for watch, column in followed(settings, normal):
        owner = owners[id(watch)]
        track = known.get((watch.name, column))
        if track is None or track.owner != owner:
            track = Track(watch.name, column, owner)
        seen = figures(watch, column, pane, normal)
        if seen.n >= settings.min_events and not math.isnan(seen.score):
            values = given(watch, column, seen, pane, normal, start_ms, settings.sample)
            track = _fed(track, watch, values, seen.level, end_ms)
        tracks.append(track)
    return OnlineState(end_ms, reference, tuple(tracks))


def findings_of(
    state: OnlineState,
    window: Summaries,
    normal: Summaries,
    place: Place,
    settings: OnlineSettings,
) -> list[Finding]:
    """A finding for each detector and column; its statistic is the way to an alarm, which is
    raised at 1. ``window``: the summaries of the window that is told of. Of releases other than
    production they are shown only: a failing canary would be rolled back."""
    known = {(track.name, track.column): track for track in state.tracks}
    found = []
    for watch, column in followed(settings, normal):
        track = known.get((watch.name, column)) or Track(watch.name, column, "")
        seen = figures(watch, column, window, normal)
        outcome, reason = _judge(track, watch, seen, state.upto_ms, settings)
        told = track.alarm if outcome is Outcome.FAIL else None
        found.append(
            Finding(
                release=place.release,
                segment=place.segment,
                column=column,
                window_ms=place.window_ms,
                window_start_ms=place.window_start_ms,
                revision=place.revision,
                detector=watch.name,
                against=f"reference:{normal.layout.reference}",
                statistic=1.0 if told else track.way,
                threshold=1.0,
                n=seen.n,
                n_against=seen.n_against,
                outcome=outcome,
                reason=reason,
                decides=watch.decides and place.release.role is Role.PRODUCTION,
                critical=False,
                effect=told.after - told.before if told else math.nan,
                direction=_direction(told) if told else "",
            )
        )
    return found


def _fed(track: Track, watch: OnlineWatch, values: list[float], level: float, end_ms: int) -> Track:
    update, used = ALGORITHMS[watch.method].update, watch.used
    memory, way, alarm = track.memory, track.way, False
    for value in values:
        memory, raised, towards = update(memory, value, used)
        # ADWIN looks only now and then; in between the last look stands.
        way = towards if towards or not memory else way
        alarm |= raised
    panes = track.panes + 1
    recent = level if not track.panes else _FADING * track.recent + (1 - _FADING) * level
    # In two terms: the difference of two very large levels could overflow.
    usual = track.usual * (track.panes / panes) + level / panes
    fed = replace(
        track,
        memory=memory,
        values=track.values + len(values),
        way=way,
        panes=panes,
        usual=usual,
        recent=recent,
    )
    if not alarm:
        return fed
    raised_now = OnlineAlarm(end_ms, track.usual if track.panes else level, recent)
    return replace(fed, values=0, way=0.0, panes=0, usual=0.0, recent=0.0, alarm=raised_now)


def _judge(
    track: Track, watch: OnlineWatch, seen: Figures, now_ms: int, settings: OnlineSettings
) -> tuple[Outcome, str]:
    """No answer is INSUFFICIENT with a reason; it is never PASS."""
    alarm = track.alarm
    if alarm is not None and now_ms <= alarm.at_ms + settings.hold_ms:
        at = np.datetime64(alarm.at_ms, "ms").astype("datetime64[s]")
        return Outcome.FAIL, f"{_in_words(watch, alarm)}, raised at {at}Z; {NO_BUDGET}"
    if not seen.n:
        return Outcome.INSUFFICIENT, "no events to judge in this window"
    if track.values < watch.warm:
        what = "panes" if watch.feed is Feed.PANES else "values"
        return Outcome.INSUFFICIENT, f"{track.values} {what} seen, {watch.warm} needed"
    return Outcome.PASS, f"at {min(track.way, 1.0):.2g} of an alarm; {NO_BUDGET}"


_WORDS = {
    Quantity.MEAN: "mean",
    Quantity.NULL_RATE: "share of missing values",
    Quantity.ERROR_RATE: "share of errors",
    Quantity.SHARE: "share of a category",
    Quantity.P95: "95th percentile",
}


def _in_words(watch: OnlineWatch, alarm: OnlineAlarm) -> str:
    rate = watch.quantity not in (Quantity.MEAN, Quantity.P95)
    shown = "{:.3%}" if rate else "{:.4g}"
    way = _direction(alarm) or "changed"
    words = f"{_WORDS[watch.quantity]} {way}, {shown}, was {shown}"
    return words.format(alarm.after, alarm.before)


def _direction(alarm: OnlineAlarm) -> str:
    if alarm.after == alarm.before or math.isnan(alarm.after) or math.isnan(alarm.before):
        return ""
    return "up" if alarm.after > alarm.before else "down"


def _owner(watch: OnlineWatch, settings: OnlineSettings) -> str:
    """What a memory depends on, by hash: a detector with other settings starts anew."""
    text = repr((watch.name, watch.category, sorted(watch.used.items()), settings.sample))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

"""A backtest as a picture: each release a bar in the colours of its verdicts, over event time.

Drawn as SVG by hand, as it is rectangles, marks and text and nothing else; a PNG is made of it by
CairoSVG where that is installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

from detectors.action import ActionKind, printable
from detectors.verdict import Status
from streams.backtest_outcome import AlarmKind, BacktestOutcome, PolicyOutcome, ReleaseCourse
from streams.backtest_report import moment
from streams.errors import UnavailableError, UserError

_LEFT, _RIGHT, _WIDTH = 260, 30, 1_180
_TOP, _ROW, _BAR = 64, 30, 14
_TICKS: Final = 4
_MOST_ROWS: Final = 100
_NOT_YET: Final = "#e3e6ea"
_STATUS: Final = {
    Status.PASS: "#3a9d5d",
    Status.FAIL: "#d1383d",
    Status.INSUFFICIENT: "#b9c0c9",
    Status.BLIND: "#5b4a8a",
    Status.HOLD: "#e0a030",
}
_ALARM: Final = {
    AlarmKind.DETECTION: ("#1c6b3a", "detected"),
    AlarmKind.FALSE_ALARM: ("#d1383d", "false alarm"),
    AlarmKind.ALARM: ("#b07400", "alarm"),
}


def write_plot(outcome: BacktestOutcome, path: Path) -> None:
    """Write the picture as ``path``, which ends in .svg or .png. Raises UserError."""
    check_name(path)
    picture = svg(outcome).encode()
    try:
        if path.suffix.lower() == ".png":
            picture = _cairosvg(path).svg2png(bytestring=picture, scale=2)
        path.write_bytes(picture)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UserError(f"cannot be written: {why}", str(path), "give another --plot") from None


def check_name(path: Path) -> None:
    """Refuse, before the work and not after it, a name that says of no picture what kind it is,
    a folder that is not there, and a PNG where none can be made. Raises UserError."""
    if not path.parent.is_dir():
        raise UserError("its folder is not there", str(path), "give another --plot")
    match path.suffix.lower():
        case ".svg":
            return
        case ".png":
            _cairosvg(path)
        case _:
            raise UserError("ends in neither .svg nor .png", str(path), "name it: --plot run.svg")


def _cairosvg(path: Path) -> Any:
    try:
        return importlib.import_module("cairosvg")
    except (ImportError, OSError):  # OSError: the package is there and the library cairo is not
        raise UnavailableError(
            "a PNG needs CairoSVG, which is not installed here",
            str(path),
            "give a name that ends in .svg, or: pip install cairosvg",
        ) from None


def svg(outcome: BacktestOutcome) -> str:
    """The picture. Names in it come from producers, so every text is escaped."""
    rows = sum(min(len(p.courses), _MOST_ROWS) for p in outcome.policies)
    height = _TOP + rows * _ROW + len(outcome.policies) * _ROW + 50
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
            f' viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
            f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
            _text(12, 22, f"backtest of {outcome.recording}", size=15),
            *_legend(),
            *_body(outcome, height),
            "</svg>\n",
        ]
    )


def _legend() -> Iterator[str]:
    x = 12
    for status, colour in _STATUS.items():
        yield _rect(x, 36, 12, 12, colour)
        yield _text(x + 16, 46, status.value)
        x += 100
    for colour, words in _ALARM.values():
        yield _triangle(x + 6, 48, colour)
        yield _text(x + 16, 46, words)
        x += 100
    yield _diamond(x + 6, 42)
    yield _text(x + 16, 46, "rollback")
    yield _diamond(x + 86, 42, hollow=True)
    yield _text(x + 96, 46, "not sent (dry run)")
    yield _line(x + 222, 36, 48, "#1f4fa3", dashed=True)
    yield _text(x + 230, 46, "known change")


def _body(outcome: BacktestOutcome, height: int) -> Iterator[str]:
    scale = _Scale(outcome.first_ms, outcome.last_ms)
    bottom = height - 34
    for tick in range(_TICKS + 1):
        at_ms = outcome.first_ms + (outcome.last_ms - outcome.first_ms) * tick // _TICKS
        yield _line(scale.x(at_ms), _TOP, bottom, "#e3e6ea")
        anchor = "end" if tick == _TICKS else "middle"
        label = moment(at_ms).removesuffix("Z")[5:]
        yield _text(
            scale.x(at_ms), bottom + 18, f"{label} UTC" if tick == 0 else label, anchor=anchor
        )
    changes = dict(outcome.changes)
    y = _TOP
    for policy in outcome.policies:
        yield _text(12, y + 20, policy.name, size=13, bold=True)
        y += _ROW
        for course in policy.courses[:_MOST_ROWS]:
            yield from _bar(course, policy, scale, y)
            changed_ms = changes.get(course.release.model)
            if changed_ms is not None:
                yield _line(scale.x(changed_ms), y - 6, y + _BAR + 6, "#1f4fa3", dashed=True)
            y += _ROW


class _Scale:
    """From event time to the horizontal position."""

    def __init__(self, first_ms: int, last_ms: int) -> None:
        self._first_ms = first_ms
        self._per_ms = (_WIDTH - _LEFT - _RIGHT) / max(last_ms - first_ms, 1)

    def x(self, ms: int) -> float:
        at = _LEFT + (ms - self._first_ms) * self._per_ms
        return round(min(max(at, _LEFT), _WIDTH - _RIGHT), 1)


def _bar(course: ReleaseCourse, policy: PolicyOutcome, scale: _Scale, y: int) -> Iterator[str]:
    release = course.release
    yield _text(24, y + 12, printable(str(release), 38))
    rollbacks = [
        acted
        for acted in policy.acted
        if acted.release == release and acted.kind is ActionKind.ROLLBACK
    ]
    # Verdicts may go on after the last event of a release: then it is BLIND. What is said of one
    # that was rolled back means nothing.
    end_ms = max([course.last_ms, *(at for at, _ in course.statuses)])
    end_ms = min([end_ms, *(acted.at_ms for acted in rollbacks if not acted.dry_run)])
    yield _span(scale, course.first_ms, min(course.last_ms, end_ms), y, _NOT_YET)
    for (begin_ms, status), (until_ms, _) in pairwise([*course.statuses, (end_ms, Status.PASS)]):
        if begin_ms <= end_ms:
            yield _span(scale, begin_ms, min(until_ms, end_ms), y, _STATUS[status])
    for alarm in policy.alarms:
        if alarm.release == release:
            yield _triangle(scale.x(alarm.at_ms), y + _BAR + 9, _ALARM[alarm.kind][0])
    for acted in rollbacks:
        yield _diamond(scale.x(acted.at_ms), y + _BAR // 2, hollow=acted.dry_run)


def _span(scale: _Scale, begin_ms: int, end_ms: int, y: int, colour: str) -> str:
    return _rect(scale.x(begin_ms), y, max(scale.x(end_ms) - scale.x(begin_ms), 1), _BAR, colour)


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:.1f}" height="{height:g}" fill="{colour}"/>'


def _triangle(x: float, y: float, colour: str) -> str:
    return f'<path d="M{x:g} {y - 9:g} l5 9 h-10 z" fill="{colour}"/>'


def _diamond(x: float, y: float, *, hollow: bool = False) -> str:
    fill, stroke = ("#ffffff", "#111111") if hollow else ("#111111", "#ffffff")
    return f'<path d="M{x:g} {y - 8:g} l6 8 l-6 8 l-6 -8 z" fill="{fill}" stroke="{stroke}"/>'


def _line(x: float, top: float, bottom: float, colour: str, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<line x1="{x:g}" y1="{top:g}" x2="{x:g}" y2="{bottom:g}" stroke="{colour}"{dash}/>'


def _text(
    x: float, y: float, text: str, *, size: int = 12, bold: bool = False, anchor: str = "start"
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    shown = escape(printable(text, 120))
    style = f'font-size="{size}" text-anchor="{anchor}"{weight}'
    return f'<text x="{x:g}" y="{y:g}" {style}>{shown}</text>'

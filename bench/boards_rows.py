"""Rows for ``bench boards``, made by the engine itself: findings of releases over days, in the
order in which a line would have stored them, with windows, verdicts and intake beside them."""

# ruff: noqa: S608 - all of this SQL is our own
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MINUTE_MS: Final = 60_000
_CHUNK: Final = 2_000_000
"""Findings of one insert. Each becomes one part: fewer of them are merged less often."""

DETECTORS: Final = (
    "drift", "drift_missing", "hellinger", "jensen_shannon", "kolmogorov_smirnov", "missing_rate",
    "psi", "wasserstein",
)  # fmt: skip
"""The first two decide, and the missing rate."""
_DECIDE: Final = "(0, 1, 5)"
_ONE_PART: Final = {
    "max_insert_threads": 1,
    "min_insert_block_size_rows": _CHUNK,
    "min_insert_block_size_bytes": 0,
}


@dataclass(frozen=True, slots=True)
class Fleet:
    """How much there is: three releases a model (production, canary, shadow), one-minute windows
    that end at ``end_ms``; each release has every detector on every column and segment."""

    findings: int
    end_ms: int
    models: int = 20
    segments: int = 3
    columns: int = 25
    partitions: int = 16

    @property
    def releases(self) -> int:
        return 3 * self.models

    @property
    def streams(self) -> int:
        return self.releases * self.segments * self.columns * len(DETECTORS)

    @property
    def windows(self) -> int:
        """One-minute windows of each stream."""
        return max(self.findings // self.streams, 1)

    @property
    def begin_ms(self) -> int:
        return self.end_ms - self.windows * MINUTE_MS


def fill(client: Client, fleet: Fleet, advanced: Callable[[int], None]) -> None:
    """Insert everything, oldest first; ``advanced`` is told of the findings of each insert."""
    per_chunk = max(_CHUNK // fleet.streams, 1)
    for first in range(0, fleet.windows, per_chunk):
        count = min(per_chunk, fleet.windows - first)
        client.command(_findings(fleet, first, count), settings=_ONE_PART)
        client.command(_windows(fleet, first, count), settings=_ONE_PART)
        client.command(_verdicts(fleet, first, count))
        client.command(_audit(fleet, first, count))
        client.command(_intake(fleet, first, count))
        advanced(count * fleet.streams)
    client.command(_references(fleet))
    client.command(_actions(fleet))


def _place(fleet: Fleet, begin_ms: int, count: int, inner: int) -> str:
    """Columns of a release, segment, column and window of row ``number``, among ``count`` windows
    with ``inner`` rows each. Rows come in the order of the sorting key: to sort them would take
    longer than to make them."""
    return f"""
    intDiv(number, {count * inner}) AS s, intDiv(number, {inner}) % {count} AS w,
    intDiv(s, {fleet.segments * fleet.columns}) AS r,
    concat('model-', leftPad(toString(intDiv(r, 3)), 3, '0')) AS model,
    toString(1 + r % 3) AS version,
    ['production', 'canary', 'shadow'][1 + r % 3] AS role,
    ['all', 'country=DE', 'country=FR'][1 + intDiv(s, {fleet.columns}) % {fleet.segments}]
    AS segment,
    s % {fleet.columns} AS c,
    multiIf(c = 0, 'error', c = {fleet.columns - 2}, 'latency_ms',
    c = {fleet.columns - 1}, 'scores.quality',
    concat('features.f', leftPad(toString(c), 3, '0'))) AS column,
    fromUnixTimestamp64Milli(toInt64({begin_ms} + w * {MINUTE_MS}), 'UTC') AS window_start,
    window_start + toIntervalMinute(1) AS window_end"""


def _findings(fleet: Fleet, first: int, count: int) -> str:
    begin = fleet.begin_ms + first * MINUTE_MS
    names = ", ".join(f"'{name}'" for name in DETECTORS)
    inner = len(DETECTORS)
    return f"""
    INSERT INTO driftline.findings (model, version, role, segment, column, window_ms, window_start,
    window_end, detector, against, revision, statistic, threshold, n, n_against, outcome, reason,
    decides, critical, evidence, effect, effect_low, effect_high, direction, onset, offset)
    WITH {_place(fleet, begin, count, inner)}, number % {inner} AS d
    SELECT model, version, role, segment, column, {MINUTE_MS}, window_start, window_end,
    if(role != 'production' AND d < 2, ['canary_errors', 'canary_level'][d + 1],
    [{names}][d + 1]) AS detector,
    if(role != 'production' AND d < 2, 'production:1', 'reference:0000') AS against, 0,
    pow(cityHash64(number, {first}) % 1000 / 1000, 4) AS statistic,
    if(d IN {_DECIDE}, 1, NULL) AS threshold,
    1000 + cityHash64(number) % 500 AS n, 100000, if(statistic > 0.99, 'fail', 'pass'),
    concat(detector, ' ', toString(round(statistic, 3)), ' of ', toString(n), ' values'),
    d IN {_DECIDE}, d = 0, 'final', statistic / 10, statistic / 10 - 0.05, statistic / 10 + 0.05,
    '', toDateTime64(0, 3, 'UTC'), w
    FROM numbers({count * fleet.streams})"""


def _windows(fleet: Fleet, first: int, count: int) -> str:
    begin = fleet.begin_ms + first * MINUTE_MS
    return f"""
    INSERT INTO driftline.windows (model, version, role, segment, column, kind, window_ms,
    window_start, window_end, reference, revision, events, n, nulls, errors, mean, sd, min, max,
    p50, p95, p99, p999, histogram, categories, offset)
    WITH {_place(fleet, begin, count, 1)}, cityHash64(number, {first}) % 1000 / 1000 AS u
    SELECT model, version, role, segment, column, 'numeric', {MINUTE_MS}, window_start, window_end,
    '0000', 0, 1200, 1000 + cityHash64(number) % 200, toUInt64(20 * u), toUInt64(5 * u * u),
    100 + u, 10 + u, 0, 200, 100 + u, 150 + u, 180 + u, 199,
    arrayMap(i -> 40 + cityHash64(number, i) % 20, range(20)), map(), w
    FROM numbers({count * fleet.releases * fleet.segments * fleet.columns})"""


def _verdicts(fleet: Fleet, first: int, count: int) -> str:
    begin = fleet.begin_ms + first * MINUTE_MS
    return f"""
    INSERT INTO driftline.verdicts (model, version, role, sequence, status, reason, as_of,
    window_start, window_ms, baseline_version, events, p95_latency_ms, p99_latency_ms, columns,
    further_events, further_ms, upstream, offset)
    WITH intDiv(number, {fleet.releases}) AS w, number % {fleet.releases} AS r
    SELECT concat('model-', leftPad(toString(intDiv(r, 3)), 3, '0')), toString(1 + r % 3),
    ['production', 'canary', 'shadow'][1 + r % 3], {first} + w,
    ['pass', 'pass', 'pass', 'insufficient', 'fail']
    [1 + cityHash64(r, intDiv({first} + w, 30)) % 5],
    'limits checked',
    fromUnixTimestamp64Milli(toInt64({begin} + (w + 1) * {MINUTE_MS}), 'UTC') AS at,
    at - toIntervalMinute(1), {MINUTE_MS}, '1', 1000 * ({first} + w), 150, 180, [], NULL, NULL, [],
    {first} + w
    FROM numbers({count * fleet.releases})"""


def _audit(fleet: Fleet, first: int, count: int) -> str:
    """A row for each verdict, as deliver takes it in, and one in 16 of something else."""
    begin = fleet.begin_ms + first * MINUTE_MS
    return f"""
    INSERT INTO driftline.audit (chain, sequence, at, kind, model, version, role, subject, `by`,
    body, previous, hash)
    WITH intDiv(number, {fleet.releases}) AS w, number % {fleet.releases} AS r
    SELECT concat('model-', leftPad(toString(intDiv(r, 3)), 3, '0')) AS chain,
    3 * ({first} + w) + r % 3,
    fromUnixTimestamp64Milli(toInt64({begin} + (w + 1) * {MINUTE_MS}), 'UTC'),
    if(cityHash64(number, {first}) % 16 = 0, 'command.note', 'verdict'), chain,
    toString(1 + r % 3), ['production', 'canary', 'shadow'][1 + r % 3], toString(number), 'judge',
    concat('{{"status":"pass","findings_sha256":"', hex(SHA256(toString(number))), '"}}'),
    hex(SHA256(toString(number))), hex(SHA256(toString(number + 1)))
    FROM numbers({count * fleet.releases})"""


def _intake(fleet: Fleet, first: int, count: int) -> str:
    begin = fleet.begin_ms + first * MINUTE_MS
    return f"""
    INSERT INTO driftline.intake (topic, partition, first_offset, last_offset, messages, events,
    dead, late, capped, seen_at)
    WITH intDiv(number, {fleet.partitions}) AS second, {first} * 60 + second AS t
    SELECT 'predictions', number % {fleet.partitions}, t * 1000, t * 1000 + 999, 1000, 998, 1, 1, 0,
    fromUnixTimestamp64Milli(toInt64({begin} + second * 1000), 'UTC')
    FROM numbers({count * 60 * fleet.partitions})"""


def _references(fleet: Fleet) -> str:
    spec = ", ".join(
        f'{{"kind": "numeric", "name": "{name}", "edges": [{", ".join(map(str, range(19)))}]}}'
        for name in _names(fleet)
    )
    counted = ", ".join(
        f'{{"name": "{name}", "n": 1000, "errors": 0, "bins": [{", ".join(["50"] * 20)}]}}'
        for name in _names(fleet)
    )
    content = f'{{"layout": [{spec}], "all": {{"columns": [{counted}]}}, "segments": {{}}}}'
    return f"""
    INSERT INTO driftline.references (model, reference, origin, rows, columns, effective_from,
    content)
    SELECT concat('model-', leftPad(toString(number), 3, '0')), '0000', 'a file', 100000,
    {fleet.columns}, fromUnixTimestamp64Milli(toInt64({fleet.begin_ms}), 'UTC'), '{content}'
    FROM numbers({fleet.models})"""


def _names(fleet: Fleet) -> list[str]:
    others = [f"features.f{c:03}" for c in range(1, fleet.columns - 2)]
    return ["latency_ms", "scores.quality", *others]


def _actions(fleet: Fleet) -> str:
    return f"""
    INSERT INTO driftline.actions (action_key, step, kind, model, version, role, return_to,
    receiver, state, attempt, reason, detail, at, revision)
    SELECT concat('page_', toString(intDiv(number, 2))), number % 2,
    ['page', 'resolve', 'rollback'][1 + intDiv(number, 2) % 3],
    concat('model-', leftPad(toString(intDiv(number, 6) % {fleet.models}), 3, '0')), '2', 'canary',
    '1', 'pager', ['pending', 'acknowledged'][1 + number % 2], 1, 'error rate', '',
    fromUnixTimestamp64Milli(toInt64({fleet.begin_ms} + intDiv(number, 2) * 997), 'UTC'), number
    FROM numbers(20000)"""

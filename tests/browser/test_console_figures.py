"""What the console shows is what board and store hold, in a real browser."""

# ruff: noqa: S608 - the questions here are made of our own text

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from detectors.release import Release, Role
from sinks.console import wording
from tests.browser.console_scene import MODEL, Scene
from tests.browser.looking import PAGES, Seen, looking, row_of, table

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_the_fleet_shows_what_board_and_store_hold(scene: Scene, url: str, seen: Seen) -> None:
    seen.page.goto(url)
    ((budget,),) = scene.rows(
        "SELECT max(statistic / threshold) FROM {db}.newest_findings FINAL"
        f" WHERE model = '{MODEL}' AND role = 'production' AND startsWith(detector, 'drift')"
    )
    ((n, failed, window_ms),) = scene.rows(
        "SELECT sum(n), sum(errors), window_ms FROM {db}.windows FINAL"
        f" WHERE model = '{MODEL}' AND role = 'production' AND segment = 'all'"
        " AND column = 'error' AND window_ms = 60000"
        " GROUP BY window_start, window_ms ORDER BY window_start DESC LIMIT 1"
    )
    standings = {s.release: (s, a) for s, a in scene.board.standings(scene.now_ms, 300_000)}
    standing, answer = standings[Release(MODEL, "1", Role.PRODUCTION)]
    cells = row_of(seen, "releases", MODEL, "1", "production")
    assert cells[0].startswith(f"✗ {answer.status.value}")
    assert cells[5] == wording.share(budget)
    assert cells[7] == f"{wording.number(n * 1000 / window_ms)}/s"
    assert cells[8] == wording.share(failed / n)
    assert cells[9] == wording.milliseconds(standing.p95_latency_ms)
    assert cells[10] == wording.milliseconds(standing.p99_latency_ms)
    assert cells[11] == wording.count(standing.events)
    assert cells[12] == wording.duration(scene.now_ms - standing.as_of_ms)
    counts = scene.board.counts(scene.now_ms, 300_000)
    for status, count in counts.items():
        assert seen.texts(f"[data-count={status.value}]") == [str(count)]


def test_the_release_page_shows_the_differences_and_decisions_of_the_store(
    scene: Scene, url: str, seen: Seen
) -> None:
    seen.page.goto(f"{url}release?model={MODEL}&version=2&role=canary")
    ((effect, low, high, n, window_end),) = scene.rows(
        "SELECT effect, effect_low, effect_high, n, toUnixTimestamp64Milli(window_end)"
        f" FROM {{db}}.newest_findings FINAL WHERE model = '{MODEL}' AND version = '2'"
        " AND role = 'canary' AND column = 'scores.quality' AND detector = 'canary_level'"
    )
    cells = row_of(seen, "findings", "scores.quality canary_level against production")
    assert cells[4] == wording.number(effect)
    assert cells[5] == f"{wording.number(low)} … {wording.number(high)}"
    assert (cells[6], cells[7]) == (wording.count(n), wording.moment(window_end))
    figure = seen.page.locator("#differences figure").filter(has_text="scores.quality")
    hints = figure.locator("rect.strip title").all_text_contents()
    assert hints[-1].endswith(
        f"difference: {wording.number(effect)}  [{wording.number(low)}, {wording.number(high)}]"
    )
    ((seen_ms, decided_ms, exposed),) = scene.rows(
        "SELECT toUnixTimestamp64Milli(min(as_of)),"
        " toUnixTimestamp64Milli(minIf(as_of, status IN ('pass', 'fail'))),"
        " argMinIf(events, as_of, status IN ('pass', 'fail'))"
        f" FROM {{db}}.verdicts FINAL WHERE model = '{MODEL}' AND version = '2'"
    )
    decided = row_of(seen, "decisions", "canary 2")
    assert decided[1:6] == [
        wording.moment(seen_ms),
        wording.moment(decided_ms),
        "✗ fail",
        wording.count(exposed),
        wording.duration(decided_ms - seen_ms),
    ]
    bars = seen.page.locator("#timeline rect.v-fail title").all_text_contents()
    assert any(wording.moment(decided_ms) in each for each in bars)
    names = {"canary 2", "production 1", "shadow 3"}
    assert names <= set(seen.texts("#plots figure:first-child .legend li"))


def test_what_stands_first_is_the_verdict_why_since_when_and_how_sure(
    scene: Scene, url: str, seen: Seen
) -> None:
    seen.page.goto(f"{url}release?model={MODEL}&version=2&role=canary")
    place = f"model = '{MODEL}' AND version = '2' AND role = 'canary'"
    ((since_ms,),) = scene.rows(
        f"SELECT toUnixTimestamp64Milli(min(as_of)) FROM {{db}}.verdicts WHERE {place} AND as_of >"
        f" (SELECT max(as_of) FROM {{db}}.verdicts WHERE {place} AND status != 'fail')"
    )
    (said,) = seen.texts("main > section:nth-of-type(2) .says")
    assert said == (
        f"✗ FAIL since {wording.moment(since_ms)} UTC,"
        f" for {wording.duration(scene.now_ms - since_ms)}"
    )
    standings = {s.release: (s, a) for s, a in scene.board.standings(scene.now_ms, 300_000)}
    standing, answer = standings[Release(MODEL, "2", Role.CANARY)]
    assert wording.shown(standing.reason, 300) in seen.texts("#verdict .because")
    assert standing.failing, "else nothing is left out"
    assert not set(standing.failing) & set(seen.texts("#verdict .because"))
    assert (
        f"{standing.passed} of {standing.checks} checks passed" in seen.texts("#verdict .facts")[0]
    )
    rows = table(seen, "verdict")
    failing = scene.rows(
        "SELECT column, detector, effect, effect_low, effect_high, reason"
        f" FROM {{db}}.newest_findings FINAL WHERE {place} AND outcome = 'fail' AND segment = 'all'"
        " AND column = 'scores.quality' LIMIT 1"
    )
    for column, detector, effect, low, high, reason in failing:
        shown = next(row for row in rows if row[1] == f"{column} {detector}")
        assert shown[3:] == [
            wording.number(effect),
            f"{wording.number(low)} … {wording.number(high)}",
            reason,
        ]
    assert failing
    assert {row[0] for row in rows} == {"✗ fail"}
    assert seen.page.title().startswith(f"✗ {answer.status.value} · {MODEL} 2")


def test_the_drift_page_shows_evidence_and_histogram_of_the_store(
    scene: Scene, url: str, seen: Seen
) -> None:
    seen.page.goto(f"{url}drift?model={MODEL}&role=production&column=features.amount")
    place = f"model = '{MODEL}' AND role = 'production' AND segment = 'all' AND window_ms = 60000"
    ranked = scene.rows(
        "SELECT column, detector, argMax(statistic / threshold, window_end) AS share"
        f" FROM {{db}}.findings FINAL WHERE {place} AND decides AND threshold > 0"
        " AND isNotNull(statistic) AND startsWith(detector, 'drift')"
        " GROUP BY column, detector"
    )
    shown = {cells[1]: cells[2] for cells in table(seen, "ranked")}
    assert shown == {f"{c} {d}": wording.share(max(share, 0.0)) for c, d, share in ranked}
    counts = scene.rows(
        "SELECT histogram, n FROM {db}.windows FINAL"
        f" WHERE {place} AND column = 'features.amount' AND notEmpty(histogram)"
        " ORDER BY window_start DESC LIMIT 10"
    )
    total = sum(n for _, n in counts)
    now = [sum(bins) / total for bins in zip(*(bins for bins, _ in counts), strict=True)]
    seen.page.locator("#bins summary").click()
    assert [cells[1] for cells in table(seen, "bins")] == [wording.share(each) for each in now]
    reds = seen.page.locator("#heat rect.h9 title").all_text_contents()
    assert reds
    assert any(each.startswith("features.amount") for each in reds)


def test_the_incidents_page_shows_every_action_with_its_steps(
    scene: Scene, url: str, seen: Seen
) -> None:
    seen.page.goto(f"{url}incidents")
    actions = scene.rows(
        "SELECT kind, version, argMax(state, step) FROM {db}.actions FINAL"
        " GROUP BY action_key, kind, version"
    )
    items = seen.texts(".actions > li")
    assert len(items) == len(actions) > 3
    for kind, version, state in actions:
        assert any(re.search(f"{kind} {MODEL} {version} .*{state}", text) for text in items)
    assert row_of(seen, "rollbacks", MODEL, "2")[5] == "verified"
    stored = scene.rows(
        "SELECT model, version, role, cause, severity, team, pages FROM {db}.incidents FINAL"
        " WHERE state = 'open'"
    )
    assert stored
    assert {tuple(cells[1:8]) for cells in table(seen, "open")} == {
        (*map(str, row[:4]), *(str(value) or wording.NOTHING for value in row[4:]))
        for row in stored
    }
    changes = scene.rows("SELECT uniqExact(version, role, status) FROM {db}.verdicts")
    assert len(table(seen, "changes")) >= changes[0][0]


def test_everything_is_on_the_page_without_scripts(
    chromium: Browser, scene: Scene, url: str, seen: Seen
) -> None:
    for page in PAGES:
        seen.page.goto(url + page)
        with looking(chromium, java_script_enabled=False) as plain:
            plain.page.goto(url + page)
            ids = "main > section[id]"
            assert plain.page.locator(ids).count() == seen.page.locator(ids).count() >= 2
            assert plain.page.locator("svg").count() == seen.page.locator("svg").count()

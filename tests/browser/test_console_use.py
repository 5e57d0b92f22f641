"""The console in a real browser: what it must never do, how it lives, and how it is used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detectors.release import Release, Role
from detectors.verdict import Status
from sinks.console import wording
from tests.browser.console_scene import AWAY, LONG, MARKUP, MODEL, TOKEN, TURNED, Scene
from tests.browser.looking import PAGES, Seen, looking

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# --- what it must never do --------------------------------------------------------------------


def test_no_page_asks_anybody_else_or_complains(url: str, seen: Seen) -> None:
    for page in PAGES:
        seen.page.goto(url + page)
        seen.page.wait_for_timeout(300)
    assert seen.requests
    assert [each for each in seen.requests if not each.startswith(url)] == []


def test_hostile_names_stay_text(scene: Scene, url: str, seen: Seen) -> None:
    addresses = [url, f"{url}incidents"]
    seen.page.goto(url)
    names = seen.texts("#releases td:nth-child(2)")
    for hostile in (MARKUP, TURNED, LONG):
        assert " ".join(wording.shown(hostile, 32).split()) in names
    assert "\u202e" not in seen.page.content()
    links = seen.page.locator("#releases td:nth-child(2) a").evaluate_all(
        "links => links.map(link => link.href)"
    )
    assert len(links) == len(names) - 1, "a name of 64 kB is not linked to"
    addresses += links
    addresses += [link.replace("release?", "drift?") for link in links]
    for address in addresses:
        seen.page.goto(address)
        assert "owned" not in seen.page.title().replace("title='owned'", "")
        assert seen.page.locator("main img, main script").count() == 0
        assert "\u202e" not in seen.page.locator("main").inner_text()
        assert len(seen.page.content()) < 2_000_000


def test_the_policy_lets_no_other_script_or_style_run(url: str, chromium: Browser) -> None:
    with looking(chromium) as seen:
        answer = seen.page.goto(url)
        assert answer is not None
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert policy.startswith("default-src 'none'")
        assert answer.headers["x-frame-options"] == "DENY"
        seen.page.evaluate(
            """() => {
                const script = document.createElement('script');
                script.textContent = "window.ran = true";
                document.body.append(script);
                const button = document.createElement('p');
                button.setAttribute('onclick', 'window.ran = true');
                document.body.append(button);
                button.click();
            }"""
        )
        assert seen.page.evaluate("window.ran") is None
        assert any("Content Security Policy" in each for each in seen.errors)


@pytest.mark.parametrize(
    ("query", "status"),
    [("model=" + "x" * 401, 400), ("span=forever", 400), ("window=1e3", 400), ("page=9999", 200)],
)
def test_addresses_that_make_no_sense_are_answered_in_words(
    url: str, chromium: Browser, query: str, status: int
) -> None:
    with looking(chromium) as seen:
        answer = seen.page.goto(f"{url}?{query}")
        assert answer is not None
        assert answer.status == status
        assert seen.page.locator(".notice, .empty").count() >= 1
        assert "xxxx" not in seen.page.locator("main").inner_text()


# --- live -------------------------------------------------------------------------------------


def test_a_new_verdict_appears_by_itself_and_the_focus_stays(
    scene: Scene, url: str, seen: Seen
) -> None:
    seen.page.goto(url)
    link = seen.page.locator("#releases a", has_text=MODEL).first
    link.focus()
    before = link.get_attribute("href")
    scene.judge(Release("newcomer", "7", Role.SHADOW), Status.HOLD, "a split that broke")
    seen.page.get_by_text("a split that broke").wait_for()
    assert seen.page.evaluate("document.activeElement.getAttribute('href')") == before


def test_a_store_that_is_away_is_said_with_the_age_of_what_is_shown(
    scene: Scene, chromium: Browser
) -> None:
    with scene.served() as address, looking(chromium) as seen:
        seen.page.goto(f"{address}/console/")
        scene.away = True
        try:
            notice = seen.page.locator("#notices .notice")
            notice.filter(has_text="The store is away").wait_for()
            assert AWAY in notice.inner_text()
            assert re.search(r"that are shown are \d+ (s|ms) old", notice.inner_text())
            assert MODEL in seen.page.locator("#releases").inner_text()
            seen.page.goto(f"{address}/console/incidents")
            assert "never read are left out" in notice.inner_text()
            assert "No incident is open" not in seen.page.locator("main").inner_text()
        finally:
            scene.away = False


def test_a_serve_that_is_away_makes_the_page_say_how_old_it_is(
    scene: Scene, chromium: Browser
) -> None:
    with looking(chromium) as seen:
        with scene.served() as address:
            seen.page.goto(f"{address}/console/")
            seen.page.locator("#freshness", has_text="live").wait_for()
        stale = seen.page.locator("#freshness.stale")
        stale.wait_for(timeout=20_000)
        assert re.search(r"serve does not answer: .* \d\d s old", stale.inner_text())


# --- how it is used ---------------------------------------------------------------------------


def test_it_is_used_with_keys_alone(url: str, seen: Seen) -> None:
    page = seen.page
    page.goto(url)
    page.keyboard.press("/")
    page.keyboard.type(f"{MODEL} canary")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=*")
    assert page.locator("#releases tbody tr").count() == 1
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/release?*version=2*")
    page.keyboard.press("d")
    page.wait_for_url("**/drift?*version=2*")
    page.keyboard.press("i")
    page.wait_for_url("**/incidents")
    page.keyboard.press("f")
    page.wait_for_url("**/console/")
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


def brightness(page: Page) -> float:
    rgb = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", rgb)[:3])) / 765


def test_light_and_dark_follow_the_system_until_one_is_chosen(url: str, chromium: Browser) -> None:
    with looking(chromium, color_scheme="dark") as seen:
        seen.page.goto(url)
        assert brightness(seen.page) < 0.2
        seen.page.keyboard.press("t")
        assert brightness(seen.page) > 0.8
        seen.page.reload()
        assert brightness(seen.page) > 0.8
    with looking(chromium, color_scheme="light") as seen:
        seen.page.goto(url)
        assert brightness(seen.page) > 0.8


def test_with_tokens_one_signs_in_and_out(scene: Scene, chromium: Browser) -> None:
    with scene.served((TOKEN,)) as address, looking(chromium) as seen:
        page = seen.page
        page.goto(f"{address}/console/incidents")
        assert page.url.endswith("/console/sign-in")
        page.fill("#token", "not-the-right-token")
        page.keyboard.press("Enter")
        page.get_by_text("not valid").wait_for()
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_url("**/console/")
        (cookie,) = page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (
            True,
            "Strict",
            "/console",
        )
        assert TOKEN not in cookie["value"]
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/sign-in")
        page.goto(f"{address}/console/")
        assert page.url.endswith("/console/sign-in")


@pytest.mark.parametrize("width", [390, 768])
def test_small_screens_scroll_tables_and_not_the_page(
    url: str, chromium: Browser, width: int
) -> None:
    with looking(chromium, viewport={"width": width, "height": 800}) as seen:
        for name in PAGES:
            seen.page.goto(url + name)
            wide = seen.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, name


@pytest.mark.parametrize("width", [390, 1280])
def test_no_table_is_cut_off_on_a_telephone_or_a_laptop(
    url: str, chromium: Browser, width: int
) -> None:
    """But the fleet on a laptop: a model of this scene has a name that takes all the width."""
    pages = (*PAGES[1:], f"release?model={MODEL}&version=2&role=canary")
    with looking(chromium, viewport={"width": width, "height": 800}) as seen:
        for name in (*pages, PAGES[0]) if width < 1000 else pages:
            seen.page.goto(url + name)
            hidden = seen.page.evaluate(
                "[...document.querySelectorAll('.scroll:has(.rows)')]"
                ".map((each) => each.scrollWidth - each.clientWidth)"
            )
            assert hidden, name
            assert max(hidden) <= 0, name


def test_on_a_telephone_the_verdict_and_its_reason_need_no_scrolling(
    url: str, chromium: Browser
) -> None:
    width, height = 390, 800
    with looking(chromium, viewport={"width": width, "height": height}) as seen:
        for name, places in (
            ("", ("#releases tbody tr:first-child .status", "#releases tbody tr:first-child .why")),
            (f"release?model={MODEL}", ("#verdict .status", "#verdict .because")),
            (
                "incidents",
                (
                    "#open tbody tr:first-child .why",
                    "#open tbody tr:first-child [data-label=severity]",
                    "#open tbody tr:first-child [data-label='told as']",
                ),
            ),
            (f"drift?model={MODEL}", ("#verdict .status", "#verdict .because")),
        ):
            seen.page.goto(url + name)
            for place in places:
                box = seen.page.locator(place).first.bounding_box()
                assert box is not None
                assert box["x"] >= 0, place
                assert box["x"] + box["width"] <= width, place
                assert box["y"] + box["height"] <= height, place
        label = seen.page.locator("#heat .wide text.name").first.bounding_box()
        assert label is not None
        assert label["height"] > 7, "wide pictures scroll rather than shrink"


def test_the_name_of_the_window_says_what_is_wrong_while_one_looks_elsewhere(
    scene: Scene, url: str, seen: Seen
) -> None:
    seen.page.goto(url)
    before = re.match(r"✗ (\d+) fail · ", seen.page.title())
    assert before is not None
    scene.judge(Release("another", "1", Role.VARIANT), Status.FAIL, "worse than production")
    seen.page.get_by_text("worse than production").wait_for()
    assert seen.page.title().startswith(f"✗ {int(before[1]) + 1} fail · ")


def test_the_assets_are_kept_by_the_browser_until_they_change(url: str, seen: Seen) -> None:
    answer = seen.page.goto(url)
    assert answer is not None
    assert answer.headers["cache-control"] == "no-store"
    sheet = seen.page.locator("link[rel=stylesheet]").get_attribute("href")
    assert sheet is not None
    kept = seen.page.request.get(url.removesuffix("/console/") + sheet)
    assert "immutable" in kept.headers["cache-control"]
    folder = Path(wording.__file__).parent / "static"
    assert kept.text() == (folder / "console.css").read_text(encoding="utf-8")

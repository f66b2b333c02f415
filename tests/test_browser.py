"""The demo page in a real browser, on a generated project that serves for real."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.baking import bake
from tests.browsing import (
    TIMEOUT,
    Site,
    expect_online,
    expect_saved,
    open_tab,
    open_tabs_on_workers,
    serving,
    wait_for,
    worker,
)

BACKENDS = {
    "redis, 4 workers": ({"state_backend": "redis", "session_backend": "redis"}, 4),
    "memory, 1 worker": ({"state_backend": "memory", "session_backend": "memory"}, 1),
}

# All that was told of somebody who types, if only for a moment.
WATCH_TYPING = """() => {
  window.typing = [];
  const mark = document.getElementById('composer-typing');
  new MutationObserver(() => typing.push(mark.textContent)).observe(mark, { childList: true });
}"""

# The colours in which changes light up.
WATCH_LIGHT = """() => {
  window.lit = [];
  const { animate } = Element.prototype;
  Element.prototype.animate = function (frames, options) {
    if (frames[0].boxShadow) lit.push(frames[0].boxShadow);
    return animate.call(this, frames, options);
  };
}"""


@pytest.fixture(scope="module", params=BACKENDS.values(), ids=list(BACKENDS))
def site(
    request: pytest.FixtureRequest, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    answers, workers = request.param
    project = bake(template, tmp_path_factory.mktemp("site"), answers)
    with serving(project, workers) as address:
        yield Site(address, workers)


def test_a_click_in_one_tab_shows_in_the_other(
    visitor: BrowserContext, site: Site, complaints: list[str]
) -> None:
    tabs = open_tabs_on_workers(visitor, min(site.workers, 2), "clicks")
    one, other = tabs if len(tabs) == 2 else (*tabs, open_tab(visitor, "clicks"))
    one.click("#increment", click_count=3)
    one.click("#decrement")
    for page in (one, other):
        expect(page.locator("#count")).to_have_text("2")
    assert complaints == []


def test_notes_are_added_edited_and_removed_for_all(
    visitor: BrowserContext, complaints: list[str]
) -> None:
    one, other = open_tab(visitor, "notes"), open_tab(visitor, "notes")
    one.fill("#note-text", "Milk <b>&</b> bread")
    one.click("#add-note")
    theirs = other.locator("#notes li textarea")
    expect(theirs).to_have_value("Milk <b>&</b> bread")
    one.evaluate(WATCH_LIGHT)
    theirs.fill("Oat milk")
    expect(one.locator("#notes li textarea")).to_have_value("Oat milk")
    hue, authors = one.evaluate(
        "['#people li', '#notes .by'].map((each) => "
        "document.querySelector(each).style.getPropertyValue('--hue'))"
    )
    assert authors == hue
    wait_for(lambda: one.evaluate("lit") == [f"0 0 0 4px oklch(0.6 0.15 {hue})"])
    theirs.hover()
    pointer = one.locator("#notes li .pointer")
    expect(pointer).to_have_attribute("data-name", one.locator("#my-name").input_value())
    expect(pointer).to_have_attribute("aria-hidden", "true")
    assert abs(float(pointer.evaluate("each => each.style.getPropertyValue('--x')")) - 0.5) < 0.1
    expect(other.locator(".pointer")).to_have_count(0)
    one.emulate_media(reduced_motion="reduce")
    expect(pointer).to_be_hidden()
    one.click("#notes li .remove")
    expect(other.locator("#notes li")).to_have_count(0)
    assert complaints == []


def test_a_first_visitor_is_not_alone(visitor: BrowserContext, complaints: list[str]) -> None:
    page = visitor.new_page()
    page.goto("/")
    expect(page.locator("#people")).to_contain_text("Robin (a bot)")
    note = page.locator("#notes li textarea")
    expect(note).to_have_value(re.compile("^Hello! I "))
    expect(page.locator(".pointer")).to_have_attribute("data-name", "Robin (a bot)")
    note.fill("mine")
    expect(page.locator("#notes li")).to_have_count(2)
    expect(note.last).to_have_value("mine")
    assert complaints == []


def test_a_private_note_survives_a_reload_and_is_seen_by_nobody_else(
    visitor: BrowserContext, browser: Browser, site: Site, complaints: list[str]
) -> None:
    page, second = open_tab(visitor, "a"), open_tab(visitor, "b")
    page.fill("#my-note", "only mine")
    expect(second.locator("#my-note")).to_have_value("only mine")
    page.reload()
    expect(page.locator("#my-note")).to_have_value("only mine")
    with browser.new_context(base_url=site.address) as stranger:
        other = open_tab(stranger, "a")
        expect(other.locator("#my-note")).to_be_editable()
        expect(other.locator("#my-note")).to_have_value("")
    assert complaints == []


def test_a_tab_whose_worker_is_killed_comes_back_with_all_it_showed(
    visitor: BrowserContext, site: Site
) -> None:
    if site.workers == 1:
        pytest.skip("what is in memory ends with its worker")
    page = open_tab(visitor, "killed")
    page.click("#increment")
    expect(page.locator("#count")).to_have_text("1")
    killed = worker(page)
    page.get_by_role("button", name="Kill my worker").click()
    expect(page.locator("#worker")).not_to_have_attribute(
        "data-pid", killed, timeout=TIMEOUT * 1000
    )
    page.click("#increment")
    expect(page.locator("#count")).to_have_text("2")
    expect_online(page)
    expect_saved(page)
    page.get_by_role("button", name="Go offline").click()
    expect(page.locator("#status")).to_have_attribute("data-status", "offline")
    page.click("#increment")
    expect(page.locator("#count")).to_have_text("3")
    page.get_by_role("button", name="Go online").click()
    expect_saved(page)


def test_the_page_needs_no_script_or_style_of_others(visitor: BrowserContext, site: Site) -> None:
    requested: list[Any] = []
    visitor.on("request", lambda request: requested.append(request.url))
    open_tab(visitor, "own")
    assert requested
    assert [url for url in requested if not url.startswith((site.address, "data:"))] == []


def log_in(visitor: BrowserContext, name: str) -> Page:
    page = visitor.new_page()
    page.goto("/account")
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#user-name")).to_have_text(name)
    return page


def test_who_logs_in_may_enter_the_lounge_and_who_logs_out_has_left_it(
    visitor: BrowserContext, complaints: list[str]
) -> None:
    here = log_in(visitor, "ann <b>")
    expect(here.locator("#told")).to_have_text("Welcome, ann <b>.")
    there = visitor.new_page()
    there.goto("/account")
    expect(there.locator("#user-name")).to_have_text("ann <b>")
    here.get_by_label("Say something").fill("hello <i>")
    here.get_by_role("button", name="Say it").click()
    for page in (here, there):
        expect(page.locator("#said li").last).to_have_text("ann <b>: hello <i>")
    here.get_by_role("button", name="Log out", exact=True).click()
    for page in (here, there):
        expect(page.get_by_label("Your name")).to_be_visible()
        expect(page.locator("#said li")).to_have_count(0)
    assert complaints == []


def test_a_board_says_that_its_session_ended(
    visitor: BrowserContext, complaints: list[str]
) -> None:
    account = log_in(visitor, "ann")
    board = open_tab(visitor, "ended")
    account.get_by_role("button", name="Log out", exact=True).click()
    expect(account.locator("#told")).to_have_text("You are logged out.")
    expect(board.locator("#strip-text")).to_contain_text("Your session has ended")
    board.get_by_role("button", name="Start a new one").click()
    expect(board.locator("#status")).to_have_text("online")
    assert complaints == []


def test_who_types_is_shown_to_the_others_by_name(
    visitor: BrowserContext, complaints: list[str]
) -> None:
    one, other = open_tab(visitor, "typing"), open_tab(visitor, "typing")
    one.fill("#my-name", "Ann <b>")
    for page in (one, other):
        expect(page.locator("#people .name").last).to_have_text("Ann <b>")
    for page in (one, other):
        page.evaluate(WATCH_TYPING)
    one.fill("#note-text", "It was")
    wait_for(lambda: other.evaluate("typing") == ["Ann <b> is writing", ""])
    assert one.evaluate("typing") == []
    assert complaints == []


def test_a_long_name_stays_within_the_page_of_a_phone(visitor: BrowserContext) -> None:
    page = open_tab(visitor, "narrow")
    page.set_viewport_size({"width": 390, "height": 844})
    page.fill("#my-name", "W" * 40)
    expect(page.locator("#people .name")).to_contain_text("W" * 40)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_what_a_stranger_says_of_itself_may_be_anything(
    visitor: BrowserContext, complaints: list[str]
) -> None:
    page, stranger = open_tab(visitor, "strange"), open_tab(visitor, "elsewhere")
    stranger.evaluate(
        """async () => {
            const { connect } = await import('/gospa/gospa.js');
            const board = connect().room('board/strange');
            board.members({ name: {} });
            board.subscribe(() => {
                for (const said of ['', 'no such note']) board.send('typing', said);
            });
            await board.call('add');
        }"""
    )
    expect(page.locator("#people .name")).to_have_count(2)
    expect(page.locator("#count")).to_have_text("1")
    expect(page.locator("#people")).to_contain_text("Somebody")
    assert complaints == []


def test_logging_out_everywhere_reaches_another_browser(
    browser: Browser, site: Site, visitor: BrowserContext
) -> None:
    with browser.new_context(base_url=site.address) as other:
        other.set_default_timeout(TIMEOUT * 1000)
        there = log_in(other, "bob")
        here = log_in(visitor, "bob")
        expect(here.locator("#sessions li")).to_have_count(2)
        expect(there.locator("#lounge-status")).to_have_text("")
        here.get_by_role("button", name="Log out everywhere").click()
        expect(there.get_by_label("Your name")).to_be_visible()

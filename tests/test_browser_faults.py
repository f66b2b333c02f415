"""What a page says, also to a first visitor, when something it needs does not come."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Route,
    ViewportSize,
    WebSocketRoute,
    expect,
)

from tests.baking import bake
from tests.browsing import Site, expect_online, expect_saved, open_tab, serving

MODULE = re.compile(r"/client/board/people\.js")
SCRIPTS = re.compile(r"\.js(\?|$)")
# A network that lets everything through but WebSockets.
NO_SOCKETS = """
window.WebSocket = class extends WebSocket {
  constructor(url, protocols) { super('ws://127.0.0.1:1/', protocols); }
};
"""


@pytest.fixture(scope="module")
def site(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    project = bake(template, tmp_path_factory.mktemp("site"), {"project_slug": "faulty"})
    with serving(project, 1) as address:
        yield Site(address, 1)


# Counts how often a tab was loaded, and has the first %d pages be of another release.
COUNT = """
const loads = Number(sessionStorage.getItem('loads')) + 1;
sessionStorage.setItem('loads', String(loads));
new MutationObserver((_, observer) => {
  const release = document.querySelector('meta[name=gospa-release]');
  if (!release) return;
  document.documentElement.dataset.loads = loads;
  if (loads <= %d) release.content = 'old';
  observer.disconnect();
}).observe(document, { childList: true, subtree: true });
"""
# Bytes that came over the network for each script and style.
SIZES = """() => Object.fromEntries(performance.getEntriesByType('resource')
  .filter(({ name }) => name.includes('?v=')).map((entry) => [entry.name, entry.transferSize]))"""


def counting_tab(visitor: BrowserContext, old: int = 0) -> Page:
    """A tab that counts its pages, the first `old` of which are of another release."""
    page = visitor.new_page()
    page.add_init_script(COUNT % old)
    return page


def expect_loads(page: Page, count: int) -> None:
    expect(page.locator("html")).to_have_attribute("data-loads", str(count))
    expect_online(page)


def test_a_page_asks_for_all_its_scripts_at_once(visitor: BrowserContext) -> None:
    page = visitor.new_page()
    asked: list[Route] = []

    def hold(route: Route) -> None:
        asked.append(route)
        if len(asked) == 6:
            for each in asked[:6]:  # others may come meanwhile
                each.continue_()
        elif len(asked) > 6:
            route.continue_()  # what is loaded on demand

    page.route(SCRIPTS, hold)
    page.goto("/")
    expect_online(page)
    urls = [each.request.url for each in asked]
    assert len(urls) == len(set(urls))
    on_demand = ("persistence", "diagnosis")
    assert not any(name in url for url in urls[:6] for name in on_demand)
    assert all("?v=" in url for url in urls)


def test_what_did_not_change_is_not_asked_for_again(visitor: BrowserContext) -> None:
    page = open_tab(visitor, "again")
    page.goto("/account")
    page.goto("/#again")
    expect_online(page)
    sizes = page.evaluate(SIZES)
    assert len(sizes) == 14
    assert set(sizes.values()) == {0}


def test_a_page_whose_module_belongs_to_another_release_is_loaded_once_more(
    visitor: BrowserContext,
) -> None:
    page = counting_tab(visitor)
    # A preload that fails is tried again.
    page.route(MODULE, lambda route: route.fulfill(status=404), times=2)
    page.goto("/#other")
    expect_loads(page, 2)
    page.click("#increment")
    expect(page.locator("#count")).to_have_text("1")
    expect(page.locator("#gospa-fault")).to_have_count(0)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (404, "did not load completely"),
        (502, r"cannot serve this page just now \(502\)"),
        (0, "cannot be reached"),
    ],
)
def test_a_module_that_does_not_come_is_told_and_waited_for(
    visitor: BrowserContext, status: int, text: str
) -> None:
    page = visitor.new_page()

    def fail(route: Route) -> None:
        if status:
            route.fulfill(status=status)
        else:
            route.abort("connectionrefused")

    page.route(MODULE, fail)
    page.goto("/#module")
    expect(page.locator("#gospa-fault")).to_have_text(re.compile(text))
    page.unroute(MODULE)
    expect_online(page)
    expect(page.locator("#gospa-fault")).to_have_count(0)


def test_a_module_that_takes_long_is_told(visitor: BrowserContext) -> None:
    page = visitor.new_page()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(MODULE, hold)
    page.goto("/#slow", wait_until="commit")
    expect(page.locator("#gospa-fault")).to_contain_text("still loading")
    for each in held:
        each.continue_()
    expect_online(page)
    expect(page.locator("#gospa-fault")).to_have_count(0)


def test_a_script_that_fails_is_told(visitor: BrowserContext) -> None:
    page = visitor.new_page()
    body = "throw new Error('so it is');"
    page.route(
        re.compile(r"/client/board/board\.js"),
        lambda route: route.fulfill(body=body, content_type="text/javascript"),
    )
    page.goto("/#error")
    expect(page.locator("#gospa-fault")).to_contain_text("so it is")


def test_without_scripts_the_page_says_so(site: Site, browser: Browser, chromium_path: str) -> None:
    arguments = ["--no-sandbox", "--blink-settings=scriptEnabled=false"]
    other = browser.browser_type.launch(executable_path=chromium_path, args=arguments)
    for path in ("/", "/account"):
        page = other.new_page()
        page.goto(site.address + path)
        expect(page.locator("noscript p")).to_be_visible()
    other.close()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (None, "something on the way blocks WebSockets"),
        (503, "refuses connections just now (503)"),
        (429, "refuses connections just now (429)"),
        (0, "cannot be reached"),
    ],
)
def test_a_first_visitor_learns_why_there_is_no_connection(
    visitor: BrowserContext, answer: int | None, text: str
) -> None:
    page = visitor.new_page()
    page.add_init_script(NO_SOCKETS)

    def respond(route: Route) -> None:
        if answer is None:
            route.continue_()
        elif answer:
            route.fulfill(status=answer)
        else:
            route.abort("connectionrefused")

    page.route("**/ws", respond)
    page.goto("/#first")
    expect(page.locator("#strip-text")).to_contain_text(text)
    expect(page.locator("#strip-text")).to_contain_text("Trying again")
    expect(page.locator("#status")).to_have_text("offline")


def test_a_page_whose_server_is_gone_learns_it_without_a_further_module(
    visitor: BrowserContext,
) -> None:
    page = visitor.new_page()
    page.add_init_script(NO_SOCKETS)
    for gone in ("**/ws", re.compile(r"/diagnosis\.js")):
        page.route(gone, lambda route: route.abort("connectionrefused"))
    page.goto("/#gone")
    expect(page.locator("#strip-text")).to_contain_text("cannot be reached")


def test_a_tab_learns_of_a_release_and_is_loaded_again(visitor: BrowserContext) -> None:
    page = counting_tab(visitor, old=1)
    page.goto("/#release")
    expect_loads(page, 2)
    page.click("#increment")
    expect_saved(page)
    expect_loads(page, 2)


def test_who_writes_is_told_of_a_release_instead(visitor: BrowserContext) -> None:
    page = counting_tab(visitor, old=1)
    # The next notice is due when something has been written.
    page.add_init_script("sessionStorage.setItem('gospa:release', String(Date.now() - 27000))")
    page.goto("/#writes")
    page.fill("#note-text", "half a sentence")
    expect(page.locator("#strip-text")).to_contain_text("new version")
    expect(page.locator("#note-text")).to_have_value("half a sentence")
    expect_loads(page, 1)


def test_reloads_for_a_release_that_cannot_be_had_are_rare(visitor: BrowserContext) -> None:
    """As in a rolling deploy, when the page comes from the old host again."""
    page = counting_tab(visitor, old=9)
    page.goto("/#rare")
    expect_loads(page, 2)
    page.click("#increment")
    expect_saved(page)
    expect_loads(page, 2)


def test_a_page_that_is_too_old_is_loaded_again_and_keeps_what_was_not_sent(
    visitor: BrowserContext,
) -> None:
    page = counting_tab(visitor)
    opened: list[WebSocketRoute] = []

    def connect(route: WebSocketRoute) -> None:
        opened.append(route)
        server = route.connect_to_server()
        route.on_message(lambda message: None if cut else server.send(message))

    cut: list[bool] = []
    page.route_web_socket("**/ws", connect)
    page.goto("/#outdated")
    expect(page.locator("#count")).to_have_text("0")
    expect_saved(page)
    cut.append(True)
    page.click("#increment")
    expect(page.locator("#waiting")).to_have_text("1 change not saved yet")
    cut.clear()
    opened[-1].close(code=4504, reason="the page is of an old release: reload it")
    expect_loads(page, 2)
    expect(page.locator("#count")).to_have_text("1")
    expect_saved(page)


def add_notes(page: Page, *texts: str) -> None:
    for text in texts:
        page.fill("#note-text", text)
        page.click("#add-note")
        expect(page.locator("#notes textarea").first).to_have_value(text)


def test_typing_removes_nothing_when_somebody_removes_the_note(visitor: BrowserContext) -> None:
    page, other = open_tab(visitor, "focus"), open_tab(visitor, "focus")
    add_notes(page, "one", "two", "three")
    notes = page.locator("#notes li")
    notes.nth(1).locator("textarea").press_sequentially(", and")
    expect(other.locator("#notes textarea").nth(1)).to_have_value("two, and")
    other.locator("#notes .remove").nth(1).click()
    expect(notes).to_have_count(2)
    page.keyboard.type(" talk about this at the next meeting")
    page.get_by_role("button", name="Put it back").click()
    expect(other.locator("#notes textarea").first).to_have_value("two, and")
    expect(other.locator("#notes li")).to_have_count(3)
    other.locator("#notes .remove").last.click()
    expect(notes).to_have_count(2)
    other.get_by_role("button", name="Undo").click()
    expect(page.locator("#notes textarea").first).to_have_value("one")
    expect(page.locator("#notes .by").first).not_to_have_text("")


FILL = """async (count) => {
  const { connect } = await import('/gospa/gospa.js');
  const client = connect();
  const board = client.room('board/full');
  await Promise.all(Array.from({ length: count }, () => board.call('add_note', { text: 'more' })));
  client.close();
}"""


def test_an_undo_that_is_refused_says_why(visitor: BrowserContext) -> None:
    page = open_tab(visitor, "full")
    page.evaluate(FILL, 200)
    page.locator("#notes .remove").first.click()
    expect(page.locator("#notes li")).to_have_count(199)
    expect_saved(page)
    page.evaluate(FILL, 1)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#message")).to_contain_text("has room for 200 notes")


def test_names_in_any_script_are_boards_of_their_own(visitor: BrowserContext) -> None:
    page = open_tab(visitor, "会议")
    page.click("#increment")
    expect(page.locator("#count")).to_have_text("1")
    expect(page.locator("#board-name")).to_have_text("会议")
    page.fill("#note-text", "half a sentence")
    for name in ("عربي", "größe", "50% a/b@{c}"):
        page.evaluate("(name) => { location.hash = encodeURIComponent(name); }", name)
        expect(page.locator("#board-name")).to_have_text(name)
        expect(page.locator("#count")).to_have_text("0")
        expect(page.locator("#note-text")).to_have_value("")
    page.goto("/#会议")
    expect(page.locator("#count")).to_have_text("1")
    expect(page.locator("#note-text")).to_have_value("half a sentence")


def test_who_writes_in_the_same_note_at_once_is_offered_the_other_text(
    visitor: BrowserContext,
) -> None:
    page, other = open_tab(visitor, "same"), open_tab(visitor, "same")
    add_notes(page, "start")
    mine, theirs = (each.locator("#notes textarea") for each in (page, other))
    expect(theirs).to_have_value("start")
    theirs.fill("start of theirs")
    expect_saved(other)
    mine.fill("start of mine")  # before theirs, for those who look at it
    expect_saved(page)
    expect(other.locator("#message")).to_contain_text("start of theirs")
    expect(theirs).to_be_focused()
    other.get_by_role("button", name="Use it").click()
    mine.blur()
    expect(mine).to_have_value("start of theirs")


def test_typing_marks_are_of_all_who_write_and_move_nothing(
    visitor: BrowserContext, browser: Browser, site: Site
) -> None:
    page = open_tab(visitor, "marks")
    place = "document.querySelector('.empty').getBoundingClientRect().y"
    before = page.evaluate(place)
    mark = page.locator("#composer-typing")
    with (
        browser.new_context(base_url=site.address) as one,
        browser.new_context(base_url=site.address) as two,
    ):
        for number, each in enumerate((one, two), 1):
            writer = open_tab(each, "marks")
            writer.fill("#my-name", f"Ann {number}")
            expect(page.locator("#people")).to_contain_text(f"Ann {number}")
        for _ in range(3):
            for each in (one, two):
                each.pages[0].locator("#note-text").press_sequentially("x", delay=10)
        expect(mark).to_have_text(re.compile("Ann . is writing|Ann ., Ann . are writing"))
        expect(mark).to_have_text(re.compile("Ann ., Ann . are writing"))
        assert page.evaluate(place) == before
        expect(mark).to_have_text("")


def test_a_blank_note_is_none_and_an_emptied_one_gets_its_text_back(
    visitor: BrowserContext,
) -> None:
    page = open_tab(visitor, "blank")
    page.fill("#note-text", "   ")
    page.click("#add-note")
    assert page.evaluate("!document.querySelector('#note-text').checkValidity()")
    add_notes(page, "text")
    note = page.locator("#notes textarea")
    note.fill(" ")
    expect(note).to_have_attribute("aria-invalid", "true")
    note.blur()
    expect(note).to_have_value("text")
    expect(page.locator("#message")).to_contain_text("cannot be empty")


MEASURE_SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const { value } of list.getEntries()) shifted += value;
}).observe({ type: 'layout-shift', buffered: true });
"""


def test_a_phone_shows_the_work_first_and_nothing_moves_while_loading(
    visitor: BrowserContext, browser: Browser, site: Site
) -> None:
    page = open_tab(visitor, "phone")
    add_notes(page, *(f"note {number}" for number in range(4)))
    size: ViewportSize = {"width": 390, "height": 844}
    with browser.new_context(base_url=site.address, viewport=size, forced_colors="active") as phone:
        phone.add_init_script(MEASURE_SHIFTS)
        there = open_tab(phone, "phone")
        expect(there.locator("#notes li")).to_have_count(4)
        expect(there.locator("#worker")).to_be_visible()
        assert there.evaluate("shifted") < 0.05
        top = there.evaluate("document.querySelector('#composer').getBoundingClientRect().y")
        assert top < 300
        edges = there.evaluate(
            "['#composer', '#notes li', '#add-note', '.remove'].map((each) =>"
            " getComputedStyle(document.querySelector(each)).borderTopWidth)"
        )
        assert edges == ["1px"] * 4
        swatches = there.evaluate(
            "[...document.querySelectorAll('fieldset input')].map((each) =>"
            " getComputedStyle(each).backgroundColor)"
        )
        assert len(set(swatches)) == 6
        page.locator("#notes .remove").first.click()
        expect(there.locator("#news")).to_contain_text("Note removed")
        empty = open_tab(phone, "empty")
        expect(empty.locator("#worker")).to_be_visible()
        assert empty.evaluate("shifted") < 0.05
        add_notes(empty, "the first one")
        assert empty.evaluate("shifted") < 0.05

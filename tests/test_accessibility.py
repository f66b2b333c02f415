"""axe-core finds nothing to mend in any page of the example, in any of its states and schemes."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

from tests.baking import bake
from tests.browsing import Relay, Site, expect_saved, open_tab, serving
from tests.test_browser import log_in

# All its rules but those of a higher standard than WCAG 2.2 AA, which contradict some designs.
RUN = """async () => {
  const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
  const { violations, passes } = await axe.run(document, { runOnly: tags });
  const found = violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target}: ${failureSummary}`));
  return { found, passed: passes.length };
}"""
CROWD = """async (count) => {
  const { connect } = await import('/gospa/gospa.js');
  const { decodeURIComponent: decode } = window;
  const name = `board/${decode(location.hash.slice(1))}`;
  for (let number = 1; number <= count; number += 1) {
    connect().room(name).members({ name: `Person ${number} with a name`, pid: number });
  }
}"""
CALM = "(async () => Promise.all(document.getAnimations().map((each) => each.finished)))()"
PHONE, DESK = ViewportSize(width=390, height=844), ViewportSize(width=1280, height=900)
LOOKS: Mapping[str, tuple[ViewportSize, Literal["light", "dark"]]] = {
    "phone": (PHONE, "light"),
    "dark": (DESK, "dark"),
    "light": (DESK, "light"),
}


@pytest.fixture(scope="module")
def site(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    project = bake(template, tmp_path_factory.mktemp("site"), {})
    with serving(project, 1) as address:
        yield Site(address, 1)


@pytest.fixture(scope="module")
def axe(node_modules: Path) -> str:
    return (node_modules / "axe-core/axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def visitor(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    with browser.new_context(base_url=site.address) as context:
        yield context


def looks(page: Page) -> Iterator[str]:
    """Show a page on a phone, dark and light, one after the other."""
    for look, (size, scheme) in LOOKS.items():
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        page.evaluate(CALM)
        yield look


def assert_nothing_is_found(page: Page, axe: str) -> None:
    page.evaluate(axe)
    for look in looks(page):
        answer = page.evaluate(RUN)
        assert answer["passed"] > 10, "the page was not looked at"
        assert answer["found"] == [], look


def add_notes(page: Page, count: int) -> None:
    for number in range(count):
        page.fill("#note-text", f"Note {number}: it was the best of times")
        page.click("#add-note")
    expect_saved(page)


def empty(visitor: BrowserContext) -> Page:
    return open_tab(visitor, "empty")


def crowded(visitor: BrowserContext) -> Page:
    page = open_tab(visitor, "crowded")
    page.evaluate(CROWD, 12)
    add_notes(page, 7)
    expect(page.locator("#more-people")).to_have_text("+8")
    for summary in page.locator("summary").all():
        summary.click()
    return page


def offline(visitor: BrowserContext) -> Page:
    page = open_tab(visitor, "offline")
    page.get_by_role("button", name="Go offline").click()
    expect(page.locator("#strip")).to_have_attribute("data-state", "offline")
    page.click("#increment")
    expect(page.locator("#waiting")).to_have_text("1 change not saved yet")
    return page


def with_a_message(visitor: BrowserContext) -> Page:
    page = open_tab(visitor, "message")
    add_notes(page, 2)
    page.locator("#notes .remove").first.click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    return page


def refused(visitor: BrowserContext) -> Page:
    account = log_in(visitor, "ann")
    page = open_tab(visitor, "refused")
    account.get_by_role("button", name="Log out", exact=True).click()
    expect(page.locator("#strip")).to_have_attribute("data-state", "ended")
    return page


def logged_out(visitor: BrowserContext) -> Page:
    page = visitor.new_page()
    page.goto("/account")
    expect(page.get_by_label("Your name")).to_be_visible()
    return page


def logged_in(visitor: BrowserContext) -> Page:
    page = log_in(visitor, "ann")
    page.get_by_label("Say something").fill("hello")
    page.get_by_role("button", name="Say it").click()
    expect(page.locator("#said li").last).to_have_text("ann: hello")
    return page


STATES = (empty, crowded, offline, with_a_message, refused, logged_out, logged_in)


@pytest.mark.parametrize("state", STATES)
def test_nothing_is_found(
    visitor: BrowserContext, axe: str, state: Callable[[BrowserContext], Page]
) -> None:
    assert_nothing_is_found(state(visitor), axe)


@pytest.mark.parametrize("path", ["/", "/account"])
def test_nothing_is_found_in_a_page_whose_scripts_do_not_come(
    visitor: BrowserContext, axe: str, path: str
) -> None:
    page = visitor.new_page()
    page.route("**/client/**/*.js*", lambda route: route.abort("connectionrefused"))
    page.route("**/client/*.js*", lambda route: route.abort("connectionrefused"))
    page.goto(path)
    expect(page.locator("#gospa-fault")).to_be_visible()
    assert_nothing_is_found(page, axe)


def test_nothing_is_found_while_the_server_cannot_be_reached(
    visitor: BrowserContext, site: Site, axe: str
) -> None:
    with Relay(site.address) as relay:
        page = open_tab(visitor, "cut", relay.address)
        relay.cut()
        expect(page.locator("#strip")).to_have_attribute("data-state", "offline")
        assert_nothing_is_found(page, axe)


SEEN = {
    "scrollTo(0, 0)": ("#board-name", "#status", "#waiting", "#add-note"),
    "scrollTo(0, document.body.scrollHeight)": ("#go-offline",),
}


def test_an_outage_hides_neither_the_board_nor_how_the_connection_is(
    visitor: BrowserContext,
) -> None:
    page = offline(visitor)
    for look in looks(page):
        for scroll, seen in SEEN.items():
            page.evaluate(scroll)
            strip = page.locator("#strip").bounding_box()
            assert strip
            for part in seen:
                box = page.locator(part).bounding_box()
                assert box
                assert box["y"] + box["height"] <= strip["y"], (look, part)


def test_a_board_that_may_not_be_seen_does_not_look_empty(visitor: BrowserContext) -> None:
    page = refused(visitor)
    for _ in looks(page):
        expect(page.locator(".empty")).to_be_hidden()

"""The demo page in a real browser behind a proxy that lets no WebSocket through."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.baking import bake
from tests.browsing import (
    TIMEOUT,
    Relay,
    Site,
    expect_online,
    expect_saved,
    open_tab,
    serving,
    worker,
)

BACK = "dispatchEvent(new Event('online'))"  # has WebSockets tried now


@pytest.fixture(scope="module", params=[True, False], ids=["with the extra", "without it"])
def project(
    request: pytest.FixtureRequest, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    answers = {"state_backend": "redis", "session_backend": "redis", "project_slug": "blocked"}
    project = bake(template, tmp_path_factory.mktemp("site"), answers)
    if request.param:
        name_http(project / "app.py")
    return project


def name_http(path: Path) -> None:
    """Change app.py as docs/http.md says."""
    text = path.read_text()
    named = text.replace("extras import ", "extras import http, ", 1)
    named = named.replace("EXTRAS = [\n", "EXTRAS = [\n    http,  # rooms over HTTP\n", 1)
    assert named.count("http") == text.count("http") + 2, "app.py has another form"
    path.write_text(named)


@pytest.fixture(scope="module")
def served(project: Path) -> Iterator[Site]:
    with serving(project, 3) as address:
        yield Site(address, 3)


@pytest.fixture
def relay(served: Site) -> Iterator[Relay]:
    with Relay(served.address) as relay:
        relay.without_sockets = True
        yield relay


@pytest.fixture
def site(served: Site, relay: Relay) -> Site:
    return Site(relay.address, served.workers)


@contextmanager
def visitors(browser: Browser, site: Site, count: int) -> Iterator[list[BrowserContext]]:
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            context = stack.enter_context(browser.new_context(base_url=site.address))
            context.set_default_timeout(TIMEOUT * 1000)
            found.append(context)
        yield found


def expect_transport(page: Page, *, stream: bool) -> None:
    expect_online(page)
    expect(page.locator("#status")).to_have_attribute(
        "title", re.compile("over HTTP" if stream else "^$")
    )


with_extra = pytest.mark.parametrize("project", [True], indirect=True, ids=["with the extra"])


@with_extra
def test_two_visitors_see_each_other_and_their_changes(browser: Browser, site: Site) -> None:
    with visitors(browser, site, 2) as (one, two):
        here, there = open_tab(one, "blocked"), open_tab(two, "blocked")
        for page in (here, there):
            expect_transport(page, stream=True)
            expect(page.locator("#people li")).to_have_count(2)
        here.click("#increment", click_count=3)
        there.click("#decrement")
        for page in (here, there):
            expect(page.locator("#count")).to_have_text("2")
            expect_saved(page)
        there.fill("#note-text", "milk")
        there.click("#add-note")
        expect(here.locator("#notes li textarea")).to_have_value("milk")
        here.reload()
        expect_transport(here, stream=True)
        expect(here.locator("#count")).to_have_text("2")
        expect(here.locator("#notes li textarea")).to_have_value("milk")


@with_extra
def test_nothing_is_lost_when_sockets_are_blocked_while_changes_are_made_and_allowed_again(
    visitor: BrowserContext, relay: Relay
) -> None:
    relay.without_sockets = False
    page = open_tab(visitor, "changing")
    expect_transport(page, stream=False)
    clicks = 0
    for stream in (True, False, True):
        for _ in range(5):
            page.click("#increment")
        if stream:
            relay.end_sockets()
        else:
            relay.without_sockets = False
            page.evaluate(BACK)
        for _ in range(5):
            page.click("#increment")
        clicks += 10
        expect_transport(page, stream=stream)
        expect_saved(page)
        expect(page.locator("#count")).to_have_text(str(clicks))
    other = open_tab(visitor, "changing")
    expect(other.locator("#count")).to_have_text(str(clicks))


@with_extra
def test_changes_made_offline_are_kept_over_a_reload_and_sent_over_a_stream(
    visitor: BrowserContext, relay: Relay
) -> None:
    page = open_tab(visitor, "offline")
    expect_transport(page, stream=True)
    expect_saved(page)  # the page invites a guest, too
    relay.cut()
    expect(page.locator("#status")).to_have_attribute("data-status", "offline")
    page.click("#increment", click_count=2)
    expect(page.locator("#waiting")).to_have_attribute("data-count", "2")
    relay.mend()
    page.reload()
    expect_transport(page, stream=True)
    expect_saved(page)
    expect(page.locator("#count")).to_have_text("2")


@with_extra
def test_a_visitor_with_many_tabs_is_not_shut_out(visitor: BrowserContext) -> None:
    """With HTTP/1.1 a browser has six connections to a site."""
    tabs = [open_tab(visitor, "tabs") for _ in range(4)]
    fifth = visitor.new_page()
    fifth.goto("/#tabs")
    expect(fifth.locator("#strip-text")).to_contain_text("Other tabs")
    tabs[0].click("#increment")
    expect(tabs[1].locator("#count")).to_have_text("1")
    tabs.pop().close()
    expect_transport(fifth, stream=True)
    expect(fifth.locator("#count")).to_have_text("1")


@with_extra
def test_when_its_worker_dies_a_page_goes_on_at_another(visitor: BrowserContext) -> None:
    page = open_tab(visitor, "worker")
    page.click("#increment")
    expect_saved(page)
    pid = worker(page)
    os.kill(int(pid), signal.SIGKILL)
    page.click("#increment")
    expect(page.locator("#worker")).not_to_have_attribute("data-pid", pid)
    expect_transport(page, stream=True)
    expect_saved(page)
    expect(page.locator("#count")).to_have_text("2")


@pytest.mark.parametrize("project", [False], indirect=True, ids=["without it"])
def test_without_the_extra_the_page_says_what_is_the_matter(visitor: BrowserContext) -> None:
    page = visitor.new_page()
    page.goto("/#without")
    expect(page.locator("#strip-text")).to_contain_text("something on the way blocks WebSockets")
    expect(page.locator("#status")).to_have_text("offline")

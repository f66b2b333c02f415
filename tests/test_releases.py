"""A rolling deploy and its way back, under load, with open tabs: two releases on one store."""

import contextlib
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect

from tests.baking import bake
from tests.browsing import TIMEOUT, Relay, Store, expect_online, expect_saved, serving, wait_for

pytestmark = pytest.mark.slow

BACKENDS = {"state_backend": "redis", "session_backend": "redis"}
BOARD = "rolling"
TABS, VISITORS = 3, 4
# Clicks for as long as the test runs, over reloads, and notes whatever is said to be broken.
USE = """
const kept = (key) => JSON.parse(sessionStorage.getItem(key) ?? '[]');
const add = (key, value) => sessionStorage.setItem(key, JSON.stringify([...kept(key), value]));
setInterval(() => {
  const status = document.getElementById('status')?.dataset.status;
  if (!sessionStorage.getItem('used') || !status || status === 'connecting') return;
  sessionStorage.setItem('clicks', Number(sessionStorage.getItem('clicks')) + 1);
  document.getElementById('increment').click();
}, 200);
new MutationObserver(() => {
  const fault = document.getElementById('gospa-fault');
  if (fault) add('faults', fault.textContent);
}).observe(document, { childList: true, subtree: true });
"""
CLICKS = "Number(sessionStorage.getItem('clicks'))"
FAULTS = "JSON.parse(sessionStorage.getItem('faults') ?? '[]')"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("store"))
    yield store
    store.kill()


@pytest.fixture(scope="module")
def old(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bake(template, tmp_path_factory.mktemp("old"), BACKENDS)


@pytest.fixture(scope="module")
def new(old: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release whose modules do not work with those of the old one."""
    new = shutil.copytree(old, tmp_path_factory.mktemp("new") / old.name)
    for path in new.glob("client/**/*.js"):
        text = path.read_text()
        path.write_text(re.sub(r"\b(element|showConnection|SavedField)\b", r"\1New", text))
    return new


def tab(visitor: BrowserContext, address: str) -> Page:
    page = visitor.new_page()
    page.add_init_script(USE)
    page.goto(f"{address}/#{BOARD}")
    expect_online(page)
    return page


def ask(page: Page, script: str) -> Any:
    """What a page answers that may be loaded again meanwhile."""
    answers: list[Any] = []

    def answered() -> bool:
        with contextlib.suppress(Error):  # its context was destroyed
            answers.append(page.evaluate(script))
        return bool(answers)

    wait_for(answered)
    return answers[0]


def expect_release(page: Page, release: str) -> None:
    meta = page.locator("meta[name=gospa-release]")
    expect(meta).to_have_attribute("content", release, timeout=4 * TIMEOUT * 1000)
    expect_online(page)


def test_no_tab_breaks_while_releases_change_and_nothing_is_lost(
    browser: Browser, store: Store, old: Path, new: Path
) -> None:
    errors: list[str] = []
    with ExitStack() as stack:
        releases = {"old": old, "new": new}
        hosts: dict[str, ExitStack] = {}

        def start(name: str, release: str) -> str:
            hosts[name] = stack.enter_context(ExitStack())
            settings = {"REDIS_URL": store.url, "GOSPA_RELEASE": release}
            return hosts[name].enter_context(serving(releases[release], 1, settings))

        def visitor() -> BrowserContext:
            context = stack.enter_context(browser.new_context())
            context.set_default_timeout(TIMEOUT * 1000)
            context.on("weberror", lambda error: errors.append(str(error.error)))
            return context

        first = start("first", "old")
        way = stack.enter_context(Relay(first))
        tabs = [tab(visitor(), way.address) for _ in range(TABS)]
        for page in tabs:
            page.evaluate("sessionStorage.setItem('used', '1')")

        def deploy(before: str, name: str, release: str, address: str) -> str:
            """Replace the host `before`, after both have served new visitors for a while."""
            after = start(name, release)
            way.lead_to(address, after)
            for _ in range(VISITORS):
                page = tab(visitor(), way.address)
                assert ask(page, FAULTS) == []
                page.context.close()
            way.lead_to(after)
            hosts[before].close()
            for page in tabs:
                expect_release(page, release)
            return after

        second = deploy("first", "second", "new", first)
        deploy("second", "third", "old", second)

        clicks = 0
        for page in tabs:
            wait_for(lambda page=page: ask(page, CLICKS) > 20)  # type: ignore[misc]
            ask(page, "sessionStorage.removeItem('used')")
            clicks += ask(page, CLICKS)
            assert ask(page, FAULTS) == []
        for page in tabs:
            expect(page.locator("#count")).to_have_text(str(clicks))
            expect_saved(page)
    assert errors == []

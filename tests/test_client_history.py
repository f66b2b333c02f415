"""The browser client keeps its promises in random histories of failures: see `history.js`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.test_client import PAGE, answer

HISTORY = Path(__file__).with_name("history.js").read_text(encoding="utf-8")
EACH = 25  # histories in a test
OFTEN, ALL = range(0, 100, EACH), range(100, 400, EACH)  # in each run, and with --all
RUN = "async (seed) => (await import('/history.js')).run(seed)"


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.route("**/*", answer)
    module = {"body": HISTORY, "content_type": "text/javascript"}
    page.route("**/history.js", lambda route: route.fulfill(**module))
    page.goto(PAGE)
    yield page
    page.close()


@pytest.mark.parametrize(
    "first", [*OFTEN, *(pytest.param(first, marks=pytest.mark.slow) for first in ALL)]
)
def test_no_change_is_lost_hidden_or_shown_twice(page: Page, first: int) -> None:
    failed = [page.evaluate(RUN, seed) for seed in range(first, first + EACH)]
    assert [each for each in failed if each] == []

"""The browser client keeps its promises in random histories of failures: see `history.js`."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.baking import APP
from tests.test_client import PAGE, answer

HISTORY = Path(__file__).with_name("history.js").read_text(encoding="utf-8")
EACH = 25  # histories in a test
OFTEN, ALL = range(0, 50, EACH), range(50, 400, EACH)  # in each run, and with --all
# Collections are loaded when the history says so.
STATE = (APP / "gospa/client/state.js").read_text(encoding="utf-8")
LOADED_LATE = STATE.replace("import('./collection.js');", "loadItems();", 1)
RUN = "async (seed) => (await import('/history.js')).run(seed)"


def fulfill(text: str, route: Route) -> None:
    route.fulfill(body=text, content_type="text/javascript")


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.route("**/*", answer)
    assert LOADED_LATE != STATE
    for name, text in (("history", HISTORY), ("gospa/state", LOADED_LATE)):
        page.route(f"**/{name}.js", partial(fulfill, text))
    page.goto(PAGE)
    yield page
    page.close()


@pytest.mark.parametrize(
    "first", [*OFTEN, *(pytest.param(first, marks=pytest.mark.slow) for first in ALL)]
)
def test_no_change_is_lost_hidden_or_shown_twice(page: Page, first: int) -> None:
    failed = [page.evaluate(RUN, seed) for seed in range(first, first + EACH)]
    assert [each for each in failed if each] == []

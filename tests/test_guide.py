"""The guide in the generated project holds what it says: each file in it is written and run."""

import re
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.baking import CHECKS, TYPES, Baked, assert_succeeds, bake
from tests.browsing import serving

FILE = re.compile(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCRIPTS = (sys.executable, "-I", "gospa/dev/javascript.py")
PAGE = "/client/questions.html"


def files(project: Path) -> list[tuple[str, str]]:
    """The path and text of each file in the guide, in its order."""
    guide = (project / "docs/guide.md").read_text(encoding="utf-8")
    found: list[tuple[str, str]] = FILE.findall(guide)
    assert len(found) == guide.count("```") / 2, "a snippet is not a file"
    return found


def write(project: Path, path: str, text: str) -> None:
    (project / path).write_text(text, encoding="utf-8")


@pytest.fixture
def guided(template: Path, tmp_path: Path) -> Path:
    """A project before its owner follows the guide."""
    return bake(template, tmp_path, {"state_backend": "redis", "session_backend": "redis"})


def test_following_the_guide_gives_a_page_that_works(guided: Path, browser: Browser) -> None:
    steps = files(guided)
    assert [path for path, _ in steps].count("client/questions.js") == 2
    for path, text in steps[:-1]:
        write(guided, path, text)
    assert_succeeds(
        (sys.executable, "-m", "pytest", "-q", "tests/test_questions.py", "tests/test_board.py"),
        guided,
    )
    assert_succeeds(TYPES, guided)
    for check in CHECKS.values():
        assert_succeeds(check, guided)
    with (
        serving(guided, 1, debug=True) as address,
        browser.new_context(base_url=address) as visitor,
    ):
        complaints: list[str] = []
        visitor.on("weberror", lambda error: complaints.append(str(error.error)))
        visitor.on("console", lambda line: complaints.append(line.text))
        one, other = visitor.new_page(), visitor.new_page()

        one.goto(PAGE)
        other.goto(PAGE)
        expect(one.locator("h1")).to_have_text("Any questions?")
        title = one.locator("input[data-bind=title]")
        title.fill("Ask <b>me</b>")
        title.blur()
        for page in (one, other):
            expect(page.locator("h1")).to_have_text("Ask <b>me</b>")
        expect(other.locator("input[data-bind=title]")).to_have_value("Ask <b>me</b>")

        write(guided, "client/style.css", "body { text-indent: 7px }")
        for page in (one, other):  # keeps what was written meanwhile
            expect(page.locator("body")).to_have_css("text-indent", "7px")
        write(guided, *steps[-1])
        assert_succeeds(SCRIPTS, guided)
        for page in (one, other):  # is loaded again by itself
            expect(page.locator("#here")).to_have_text("2")
        one.fill("[name=text]", "Why <i>msgpack</i>?")
        one.get_by_role("button", name="Ask", exact=True).click()
        expect(one.locator("[name=text]")).to_have_value("")
        other.click("text=▲ 0")
        for page in (one, other):
            expect(page.locator("li")).to_contain_text("Why <i>msgpack</i>?")
            expect(page.locator("li")).to_contain_text("▲ 1")
        other.click("text=Applaud")
        expect(one.locator("#claps")).to_have_text("👏")
        other.click("text=Answered")
        expect(one.locator("li")).to_have_count(0)
        with other.expect_event("websocket"):  # the pages go on as another session's
            visitor.request.post("/account/log-in", form={"name": "ann"})
        other.fill("[name=text]", "Why Sanic?")
        other.get_by_role("button", name="Ask", exact=True).click()
        for page in (one, other):
            expect(page.locator("li")).to_contain_text("Why Sanic?")
            expect(page.locator("#here")).to_have_text("2")
        assert complaints == []


def test_every_project_has_the_guide(baked: Baked) -> None:
    assert files(baked.path)

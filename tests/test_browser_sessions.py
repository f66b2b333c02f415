"""Sessions of a generated project in a real browser: how a visitor gets one, and keeps it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.baking import bake
from tests.browsing import TIMEOUT, Site, expect_online, open_tab, serving, wait_for

ELSEWHERE = "app.test"  # a name of this machine to which browsers give no Secure cookies over HTTP
SESSION = """async () => {
  const { connect } = await import('/gospa/gospa.js');
  const client = connect();
  const welcome = new Promise((told) => client.on('welcome', told));
  await welcome;
  client.close();
  return client.sessionId;
}"""


@pytest.fixture(scope="module")
def site(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    project = bake(template, tmp_path_factory.mktemp("site"), {"project_slug": "visited"})
    with serving(project, 1) as address:
        yield Site(address, 1)


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    """A Chromium that knows this machine under a second name."""
    arguments = ["--no-sandbox", f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=arguments)
        yield browser
        browser.close()


def test_a_new_visitors_cookie_comes_with_an_ordinary_answer(
    visitor: BrowserContext,
) -> None:
    page = visitor.new_page()
    statuses: list[int] = []
    sockets: list[str] = []

    def note(answer: dict[str, Any]) -> None:
        if "set-cookie" in str(answer["headers"]).lower():
            statuses.append(answer["statusCode"])

    session = visitor.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.responseReceivedExtraInfo", note)
    session.on("Network.webSocketHandshakeResponseReceived", lambda seen: sockets.append(str(seen)))
    page.goto("/")
    expect_online(page)
    # The browser may tell of answers later than of what followed.
    wait_for(lambda: bool(page.evaluate("true") and statuses and sockets))
    assert statuses == [204]
    assert not [each for each in sockets if "set-cookie" in each.lower()]
    assert [cookie["name"] for cookie in visitor.cookies()] == ["visited_session"]


def test_first_tabs_at_once_have_one_session(visitor: BrowserContext) -> None:
    pages = [visitor.new_page() for _ in range(4)]
    for page in pages:
        page.goto("/client/style.css")
    for page in pages:  # each begins before the others have ended
        page.evaluate(f"() => {{ window.session = ({SESSION})(); }}")
    sessions = {page.evaluate("window.session") for page in pages}
    assert len(sessions) == 1
    assert pages[0].evaluate(SESSION) in sessions


def test_two_first_sockets_of_a_page_have_one_session(visitor: BrowserContext) -> None:
    page = visitor.new_page()
    page.goto("/client/style.css")
    one, other = page.evaluate(f"() => Promise.all([({SESSION})(), ({SESSION})()])")
    assert one == other


def test_a_session_that_ended_while_away_is_followed_by_another(
    visitor: BrowserContext, complaints: list[str]
) -> None:
    page = open_tab(visitor, "returns")
    (cookie,) = visitor.cookies()
    visitor.add_cookies([{**cookie, "value": "0" * 32 + "x" * 43}])  # type: ignore[typeddict-item]
    page.reload()
    expect_online(page)
    assert visitor.cookies()[0]["value"] not in (cookie["value"], "0" * 32 + "x" * 43)
    assert complaints == []


@pytest.fixture
def elsewhere(visitor: BrowserContext, site: Site) -> Page:
    page = visitor.new_page()
    page.goto(site.address.replace("127.0.0.1", ELSEWHERE))
    return page


def test_a_log_out_in_another_tab_takes_what_is_private_off_the_page(
    visitor: BrowserContext,
) -> None:
    page, other = visitor.new_page(), visitor.new_page()
    for each in (page, other):
        each.goto("/")
        expect_online(each)
    page.fill("#my-note", "a secret")
    expect(other.locator("#my-note")).to_have_value("a secret")
    expect(page.locator("#my-name")).not_to_have_value("")
    page.fill("#my-note", "a secret, and more")  # the field has the focus, and maybe is not saved
    other.evaluate("() => fetch('/account/log-out', { method: 'POST' })")
    for each in (page, other):
        expect(each.locator("#strip-text")).to_contain_text("session has ended")
        expect(each.locator("#my-note")).to_have_value("")
        expect(each.locator("#my-name")).to_have_value("")
        assert not each.locator("#my-note").is_editable()
        assert "a secret" not in each.content()


def test_where_the_browser_refuses_the_cookie_the_page_works_and_tells(elsewhere: Page) -> None:
    expect_online(elsewhere)
    expect(elsewhere.locator("body")).to_contain_text("keeps no cookie", timeout=TIMEOUT * 1000)
    elsewhere.click("#increment")
    expect(elsewhere.locator("#count")).not_to_have_text("·")


def test_where_a_log_in_has_no_effect_the_account_page_tells(elsewhere: Page, site: Site) -> None:
    elsewhere.goto(site.address.replace("127.0.0.1", ELSEWHERE) + "/account")
    expect(elsewhere.locator("#no-cookie")).to_contain_text("GOSPA_INSECURE_COOKIES")
    elsewhere.goto(site.address + "/account")
    expect(elsewhere.locator("#log-in")).to_be_visible()
    expect(elsewhere.locator("#no-cookie")).to_be_hidden()


def test_with_the_setting_for_development_one_logs_in_over_plain_http(
    template: Path, tmp_path: Path, browser: Browser
) -> None:
    project = bake(template, tmp_path, {"project_slug": "insecure"})
    with (
        serving(project, 1, {"GOSPA_INSECURE_COOKIES": "true"}) as address,
        browser.new_context(base_url=address.replace("127.0.0.1", ELSEWHERE)) as context,
    ):
        page = context.new_page()
        page.goto("/account")
        page.fill("#name", "ann")
        page.click("#log-in button")
        expect(page.locator("#user-name")).to_have_text("ann")
        expect(page.locator("#no-cookie")).to_be_hidden()


def test_below_a_path_pages_sockets_and_log_ins_stay_there(
    template: Path, tmp_path: Path, browser: Browser
) -> None:
    project = bake(template, tmp_path, {"project_slug": "below"})
    with (
        serving(project, 1, {"GOSPA_PATH_PREFIX": "/on/a-path"}) as address,
        browser.new_context(base_url=address) as context,
    ):
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.on("websocket", lambda socket: asked.append(socket.url.replace("ws:", "http:")))
        page.goto("/on/a-path/")
        expect_online(page)
        page.click("#increment")
        expect(page.locator("#count")).to_have_text("1")
        page.click("a:text('Log in')")
        page.fill("#name", "ann")
        page.click("#log-in button")
        expect(page.locator("#user-name")).to_have_text("ann")
        assert page.url == f"{address}/on/a-path/account"
        page.fill("#text", "hello")
        page.press("#text", "Enter")
        expect(page.locator("#said")).to_contain_text("ann: hello")
        page.click("a:text('board')")
        expect_online(page)
        assert page.url == f"{address}/on/a-path/"
        assert [cookie["name"] for cookie in context.cookies()] == ["below_session_on_a-path"]
    assert f"{address}/on/a-path/ws" in asked
    assert [url for url in asked if not url.startswith(f"{address}/on/a-path/")] == []


def test_a_look_alike_that_chromium_takes_is_not_the_sessions_cookie(
    visitor: BrowserContext, site: Site
) -> None:
    """Chromium refuses to set a `__Host-` cookie over plain HTTP, but not after a blank."""
    login = {"form": {"name": "attacker"}, "headers": {"Host": "app.test"}, "max_redirects": 0}
    answer = visitor.request.post(f"{site.address}/account/log-in", **login)  # type: ignore[arg-type]
    planted = answer.headers["set-cookie"].partition(";")[0]
    assert planted.startswith("__Host-visited_session=")
    page = visitor.new_page()
    page.goto(site.address.replace("127.0.0.1", ELSEWHERE))
    page.evaluate("(planted) => { document.cookie = planted + '; Path=/'; }", planted)
    assert page.evaluate("document.cookie") == ""
    page.evaluate("(planted) => { document.cookie = planted + '; Path=/'; }", chr(0x2000) + planted)
    assert planted in page.evaluate("document.cookie")
    seen = page.evaluate("fetch('/account/session').then((answer) => answer.json())")
    assert seen["user"] is None

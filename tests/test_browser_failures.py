"""The demo page in a real browser, while workers, store and network fail under it."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, WebSocketRoute, expect

from tests.baking import bake
from tests.browsing import (
    Relay,
    Site,
    Store,
    expect_saved,
    open_tab,
    open_tabs_on_workers,
    serving,
    wait_for,
    worker,
)

FRAME_SIZE = 4096

# All counts and strips that were shown, if only for a moment.
WATCH = """() => {
  window.shown = { counts: [], strips: [] };
  const watch = (element, note) => {
    new MutationObserver(note).observe(element, { attributes: true, childList: true });
    note();
  };
  const count = document.getElementById('count');
  const strip = document.getElementById('strip');
  watch(count, () => shown.counts.push(Number(count.textContent)));
  watch(strip, () => shown.strips.push(strip.dataset.state));
}"""
JOIN = """
  const { connect } = await import('/gospa/gospa.js');
  const client = connect();
  const board = client.room(`board/${name}`);
  const failed = (promise) => promise.then(() => null, ({ code, message }) => ({ code, message }));
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("store"))
    yield store
    store.kill()


@pytest.fixture(scope="module")
def site(template: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    backends = {"state_backend": "redis", "session_backend": "redis"}
    project = bake(template, tmp_path_factory.mktemp("site"), backends)
    environment = {"REDIS_URL": store.url, "GOSPA_FRAME_SIZE": str(FRAME_SIZE)}
    with serving(project, 3, environment) as address:
        yield Site(address, 3)


@pytest.fixture
def relay(site: Site) -> Iterator[Relay]:
    with Relay(site.address) as relay:
        yield relay


def watch(page: Page) -> None:
    page.evaluate(WATCH)


def expect_no_count_twice(page: Page) -> None:
    """Counts only went up, so none was lost or shown doubled for a while."""
    counts = page.evaluate("shown.counts")
    assert counts == sorted(counts)


def expect_only_lost_connections(complaints: list[str]) -> None:
    """The browser logs each handshake that fails, and the request that asks why."""
    lost = re.compile("WebSocket connection to|Failed to load resource")
    assert [line for line in complaints if not lost.search(line)] == []


def expect_people(page: Page, count: int) -> None:
    expect(page.locator("#people li")).to_have_count(count)


def open_settled_tab(visitor: BrowserContext, board: str) -> Page:
    """A tab that has given itself a name, and has nothing more to say."""
    page = open_tab(visitor, board)
    expect_people(page, 1)
    expect_saved(page)
    return page


def test_a_worker_is_killed_while_one_types(visitor: BrowserContext, complaints: list[str]) -> None:
    one, other = open_tabs_on_workers(visitor, 2, "typing")
    one.fill("#note-text", "It")
    one.click("#add-note")
    watch(one)
    watch(other)
    note = one.locator("#notes li textarea")
    killed = worker(one)
    text = " was the best of times, it was the worst of times"
    note.press("End")
    for number, letter in enumerate(text):
        note.press_sequentially(letter)
        one.click("#increment")
        note.focus()
        if number == len(text) // 3:
            os.kill(int(killed), signal.SIGKILL)
    expect(one.locator("#worker")).not_to_have_attribute("data-pid", killed)
    note.blur()
    expect_saved(one)
    for page in (one, other):
        expect(page.locator("#count")).to_have_text(str(len(text)))
        expect(page.locator("#notes li textarea")).to_have_value(f"It{text}")
        expect_people(page, 2)
        expect_no_count_twice(page)
    expect_only_lost_connections(complaints)


def test_the_store_is_killed_and_started_again(
    visitor: BrowserContext, store: Store, complaints: list[str]
) -> None:
    one, other = open_tabs_on_workers(visitor, 2, "store")
    one.click("#increment", click_count=2)
    expect(other.locator("#count")).to_have_text("2")
    for page in (one, other):
        expect_people(page, 2)
        expect_saved(page)
    watch(one)
    watch(other)
    store.kill()
    one.click("#increment", click_count=3)
    other.click("#increment", click_count=4)
    expect(one.locator("#count")).to_have_text("5")
    expect(one.locator("#waiting")).to_have_text("3 changes not saved yet")
    expect(other.locator("#count")).to_have_text("6")
    store.start()
    for page in (one, other):
        expect(page.locator("#count")).to_have_text("9")
        expect_saved(page)
        expect_people(page, 2)
        expect_no_count_twice(page)
    expect_only_lost_connections(complaints)


def test_both_sides_edit_while_one_is_offline(
    visitor: BrowserContext, relay: Relay, complaints: list[str]
) -> None:
    away, here = open_tab(visitor, "away", relay.address), open_tab(visitor, "away")
    for text in ("milk", "bread"):
        here.fill("#note-text", text)
        here.click("#add-note")
    expect(away.locator("#notes li")).to_have_count(2)
    expect_people(away, 2)
    expect_saved(away)
    bread, milk = "#notes li:nth-child(1) textarea", "#notes li:nth-child(2) textarea"
    watch(away)
    relay.cut()
    expect(away.locator("#strip")).to_have_attribute("data-state", "offline")
    away.click("#increment", click_count=5)
    away.fill(milk, "oat milk")
    away.locator(milk).blur()
    here.click("#increment", click_count=3)
    here.fill(bread, "rye bread")
    here.locator(bread).blur()
    expect(away.locator("#count")).to_have_text("5")
    expect(here.locator("#count")).to_have_text("3")
    expect(away.locator("#waiting")).to_have_text("6 changes not saved yet")
    relay.mend()
    away.evaluate("dispatchEvent(new Event('online'))")
    for page in (away, here):
        expect(page.locator("#count")).to_have_text("8")
        expect(page.locator(milk)).to_have_value("oat milk")
        expect(page.locator(bread)).to_have_value("rye bread")
        expect_saved(page)
    wait_for(lambda: bool(away.evaluate("shown.strips.includes('recovered')")))
    expect_no_count_twice(away)
    expect_only_lost_connections(complaints)


def test_who_wrote_offline_sees_the_notes_in_the_order_of_all_others(
    visitor: BrowserContext, relay: Relay
) -> None:
    away, here = open_tab(visitor, "order", relay.address), open_tab(visitor, "order")
    first, second = (f"#notes li:nth-child({number}) textarea" for number in (1, 2))
    relay.cut()
    expect(away.locator("#strip")).to_have_attribute("data-state", "offline")
    for page, text in ((away, "milk"), (here, "bread")):
        page.fill("#note-text", text)
        page.click("#add-note")
        expect(page.locator(first)).to_have_value(text)
    expect_saved(here)
    away.focus(first)
    relay.mend()
    away.evaluate("dispatchEvent(new Event('online'))")
    for page in (away, here):
        expect(page.locator(first)).to_have_value("bread")
        expect(page.locator(second)).to_have_value("milk")
    expect(away.locator(second)).to_be_focused()


def test_a_page_left_with_pending_changes_has_them_done_once(
    visitor: BrowserContext, store: Store
) -> None:
    page = open_settled_tab(visitor, "reload")
    with store.hung():
        page.click("#increment", click_count=3)
        page.reload()
        expect(page.locator("#waiting")).to_have_attribute("data-count", "3")
    expect(page.locator("#count")).to_have_text("3")
    expect_saved(page)
    page.click("#increment")
    expect(page.locator("#count")).to_have_text("4")
    expect_saved(page)
    page.reload()
    expect(page.locator("#count")).to_have_text("4")


def test_what_a_closed_tab_left_is_done_once_by_the_next_page(
    visitor: BrowserContext, store: Store, complaints: list[str]
) -> None:
    page, other = open_settled_tab(visitor, "closed-tab"), open_tab(visitor, "elsewhere")
    with store.hung():
        page.click("#increment", click_count=3)
        page.fill("#note-text", "written before")
        page.click("#add-note")
        expect(page.locator("#waiting")).to_have_attribute("data-count", "4")
        page.close()
    page = open_tab(visitor, "closed-tab")
    expect(page.locator("#count")).to_have_text("3")
    expect(page.locator("#notes li textarea")).to_have_value("written before")
    expect_saved(page)
    assert other.evaluate("localStorage.length") == 0
    assert complaints == []


def test_a_tab_that_is_open_keeps_its_changes_to_itself_until_it_is_closed(
    visitor: BrowserContext, relay: Relay
) -> None:
    away = open_tab(visitor, "open-tab", relay.address)
    relay.cut()
    expect(away.locator("#strip")).to_have_attribute("data-state", "offline")
    away.click("#increment", click_count=2)
    away.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")
    assert away.evaluate("localStorage.length") == 1
    relay.mend()
    next_ = open_tab(visitor, "open-tab", relay.address)
    expect(next_.locator("#waiting")).to_have_attribute("data-count", "0")
    away.close()
    expect(next_.locator("#count")).to_have_text("2")
    expect_saved(next_)


def test_two_tabs_that_were_left_the_same_changes_have_them_done_once_and_share_no_number(
    visitor: BrowserContext, store: Store
) -> None:
    """As on a page without HTTPS, which cannot know whether the other one is still there."""
    visitor.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    page, copy = open_settled_tab(visitor, "duplicate"), visitor.new_page()
    copy.goto("/health/live")
    with store.hung():
        page.click("#increment", click_count=3)
        page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")
        copy.goto("/#duplicate")
        expect(copy.locator("#waiting")).to_have_attribute("data-count", "3")
    for tab in (page, copy):
        expect(tab.locator("#count")).to_have_text("3")
        expect_saved(tab)
    for tab in (page, copy):
        tab.click("#increment", click_count=2)
    for tab in (page, copy):
        expect(tab.locator("#count")).to_have_text("7")
        expect_saved(tab)


def test_a_page_that_may_not_keep_anything_still_works(visitor: BrowserContext) -> None:
    for name in ("sessionStorage", "localStorage"):
        refuse = "{ get() { throw new Error('no'); } }"
        visitor.add_init_script(f"Object.defineProperty(window, '{name}', {refuse})")
    page = open_tab(visitor, "forbidden")
    page.click("#increment")
    page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")
    expect(page.locator("#count")).to_have_text("1")
    expect_saved(page)


def test_a_refused_mutation_rolls_back_alone(visitor: BrowserContext) -> None:
    page = open_tab(visitor, "refused")
    seen = page.evaluate(f"""async (name) => {{ {JOIN}
      await new Promise((resolve) => board.subscribe(resolve));
      board.optimistic('add', (state, {{ amount }}) => {{ state.count += amount; }});
      board.optimistic('edit_note', (state, {{ id, text }}) => {{
        state.notes.set(id, {{ text }});
      }});
      const counts = [];
      board.subscribe((state) => counts.push(state.count));
      const first = board.call('add', {{ amount: 1 }});
      const refused = failed(board.call('edit_note', {{ id: 'nowhere', text: 'x' }}));
      const second = board.call('add', {{ amount: 2 }});
      const atOnce = [board.state.count, board.state.notes.get('nowhere')];
      const error = await refused;
      const results = await Promise.all([first, second]);
      const after = [board.state.count, board.state.notes.size];
      client.close();
      return {{ atOnce, error, results, after, counts }};
    }}""", "refused")  # fmt: skip
    assert seen["atOnce"] == [3, {"text": "x"}]
    assert seen["error"] == {"code": "refused", "message": "this note was removed"}
    assert seen["results"] == [1, 3]
    assert seen["after"] == [3, 0]
    assert seen["counts"] == sorted(seen["counts"])
    expect(page.locator("#count")).to_have_text("3")


def test_what_the_server_would_not_take_is_refused_here(visitor: BrowserContext) -> None:
    page = open_tab(visitor, "local")
    seen = page.evaluate(f"""async (name) => {{ {JOIN}
      const statuses = [];
      client.on('status', (status) => statuses.push(status));
      const tooLarge = failed(board.call('add_note', {{ text: 'x'.repeat({FRAME_SIZE}) }}));
      const thrown = (work) => {{ try {{ work(); }} catch ({{ code }}) {{ return code; }} }};
      const codes = [
        thrown(() => client.room('x'.repeat(513))),
        thrown(() => client.room('')),
        thrown(() => board.send('x'.repeat(129), null)),
        ...(await Promise.all([
          failed(board.call('x'.repeat(129))),
          failed(board.call('add', {{ amount: new Date(8.64e15) }})),
          failed(board.call('add', {{ amount: new Date(-8.64e15) }})),
          failed(board.call('add', {{ amount: 2n ** 64n }})),
          failed(board.call('add', {{ amount: undefined }})),
          failed(board.set('count', '\\ud800')),
          failed(board.call('add', {{ amount: Array(17).fill().reduce((a) => [a], 1) }})),
          failed(board.call('add', {{ amount: Array(4096).fill(1) }})),
        ])).map((error) => error?.code),
      ];
      const server = await Promise.all(
        [[1], 'text', null].map((args) => failed(board.call('add_note', args))),
      );
      const long = await failed(client.room(`board/${{'%2F'.repeat(64)}}`).call('add', {{}}));
      const late = await tooLarge;
      const more = await failed(board.call('add', {{}}));
      client.close();
      return {{ codes, server: server.map((error) => error?.code), long, late, more, statuses }};
    }}""", "local")  # fmt: skip
    assert seen["codes"] == ["invalid"] * 11
    assert seen["server"] == ["invalid"] * 3
    assert seen["late"]["code"] == "too_large"
    assert (seen["long"], seen["more"]) == (None, None)
    assert seen["statuses"] == ["online", "closed"], "the connection was lost meanwhile"


def test_a_tab_that_was_held_up_converges(
    visitor: BrowserContext, relay: Relay, complaints: list[str]
) -> None:
    slow, fast = open_tab(visitor, "slow", relay.address), open_tab(visitor, "slow")
    watch(slow)
    with relay.held_up():
        final = fast.evaluate(f"""async (name) => {{ {JOIN}
          const id = board.newId('notes');
          await board.call('add_note', {{ id, text: 'x' }});
          let results;
          for (let round = 0; round < 40; round += 1) {{
            const text = `${{round}} `.repeat(100);
            results = await Promise.all(Array.from({{ length: 50 }}, (_, n) => n % 2
              ? board.call('add', {{}}) : board.call('edit_note', {{ id, text }})));
          }}
          client.close();
          return results.at(-1);
        }}""", "slow")  # fmt: skip
        assert final == 1000
        expect(fast.locator("#count")).to_have_text("1000")
    expect(slow.locator("#count")).to_have_text("1000")
    text = fast.locator("#notes li textarea").input_value()
    assert text.startswith("39 ")
    expect(slow.locator("#notes li textarea")).to_have_value(text)
    expect_no_count_twice(slow)
    expect_only_lost_connections(complaints)


def test_a_page_can_be_used_while_a_thousand_updates_pour_in(
    visitor: BrowserContext, complaints: list[str]
) -> None:
    busy, page = open_tab(visitor, "flood"), open_tab(visitor, "flood")
    busy.evaluate(f"""(name) => void (async () => {{
      window.flooding = true;
      window.done = 0;
      {JOIN}
      const lane = async () => {{
        while (flooding || done < 1000) await board.call('add', {{}}).then(() => done += 1);
      }};
      await Promise.all(Array.from({{ length: 5 }}, lane));
      window.settled = done;
    }})()""", "flood")  # fmt: skip
    wait_for(lambda: bool(busy.evaluate("done > 200")))
    page.fill("#note-text", "in between")
    page.click("#add-note")
    expect(busy.locator("#notes li textarea")).to_have_value("in between")
    page.locator("#notes li textarea").fill("still in between")
    expect(busy.locator("#notes li textarea")).to_have_value("still in between")
    assert busy.evaluate("flooding && window.settled === undefined"), "there was no flood"
    busy.evaluate("window.flooding = false")
    wait_for(lambda: bool(busy.evaluate("window.settled")))
    total = busy.evaluate("window.settled")
    assert total >= 1000
    for tab in (busy, page):
        expect(tab.locator("#count")).to_have_text(str(total))
    assert complaints == []


def test_whoever_was_on_a_killed_worker_and_does_not_come_back_is_gone_soon(
    visitor: BrowserContext, relay: Relay
) -> None:
    for _ in range(100):
        lost, here = open_tab(visitor, "gone", relay.address), open_tab(visitor, "gone")
        if worker(lost) != worker(here):
            break
        lost.close()
        here.close()
    expect_people(here, 2)
    killed = worker(lost)
    relay.cut()
    os.kill(int(killed), signal.SIGKILL)
    expect_people(here, 1)
    relay.mend()
    lost.evaluate("dispatchEvent(new Event('online'))")
    expect_people(here, 2)
    expect_people(lost, 2)


@pytest.mark.parametrize(
    ("code", "status", "strip"),
    [(4500, "closed", "ended"), (4510, "unauthorized", "ended"), (1012, "online", None)],
)
def test_a_close_code_says_whether_to_come_back(
    visitor: BrowserContext, code: int, status: str, strip: str | None
) -> None:
    page = visitor.new_page()
    connections: list[WebSocketRoute] = []

    def answer(route: WebSocketRoute) -> None:
        connections.append(route)
        if len(connections) == 1:
            route.close(code=code, reason="so it is")
        else:
            route.connect_to_server()

    page.route_web_socket("**/ws", answer)
    page.goto("/#closed")
    expect(page.locator("#status")).to_have_attribute("data-status", status)
    if strip:
        expect(page.locator("#strip")).to_have_attribute("data-state", strip)
        expect(page.locator("#strip-text")).to_contain_text(f"so it is ({code})")
        page.evaluate("dispatchEvent(new Event('online'))")
        assert len(connections) == 1
    else:
        wait_for(lambda: page.evaluate("true") and len(connections) > 1)

"""The browser client in Chromium, against a server that says what a test has it say."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import pytest
from playwright.sync_api import Browser, Page, Route, WebSocketRoute

from tests.baking import APP
from tests.browsing import TIMEOUT

SNAPSHOT, PATCH, EVENT, ACK, ERROR, WELCOME, BYE, PONG, JOINED, DONE = range(10)
JOIN, LEAVE, CALL, WRITE, SEND, PING, HELLO, RUN = range(8)
PAGE = "http://client.test/"
HOUR = 3600  # seconds
START = """async (options) => {
  const { backoff } = await import('/gospa/backoff.js');
  const { connect } = await import('/gospa/gospa.js');
  const client = connect('/ws', options);
  const room = client.room('a');
  room.optimistic('add', (state, { amount }) => { state.count += amount; });
  const shown = [], statuses = [], errors = [], answers = [];
  room.subscribe(({ count }) => shown.push(count));
  client.on('status', (status) => statuses.push(status));
  client.on('error', ({ message }) => errors.push(message));
  const add = (amount) => room.call('add', { amount }).then(
    (result) => answers.push(result), ({ code, message }) => answers.push(`${code}: ${message}`));
  const heard = [], told = (result) => heard.push(result);
  const made = { backoff, client, room, shown, statuses, errors, answers, add, heard, told };
  Object.assign(window, made);
}"""

BIND = """async (markup) => {
  const { bind } = await import('/gospa/gospa.js');
  document.body.innerHTML = markup;
  await bind(client);
}"""
MARKUP = """
<section data-room="a">
  <output id="text" data-bind="text"></output>
  <input id="field" data-bind="text">
  <input id="check" type="checkbox" data-bind="done">
  <button id="button" data-call="add" data-args='{"amount": 2}'>Add</button>
  <form id="form" data-call="order" data-args='{"kind": "tea"}'>
    <input name="text"><input name="count" type="number"><input name="now" type="checkbox">
    <input name="size" type="radio" value="small"><input name="size" type="radio" value="large">
    <select name="milk"><option>oat</option><option>cow</option></select>
    <button id="submit">Send</button>
  </form>
  <div data-room="b"><output id="inner" data-bind="text"></output></div>
</section>"""


def tag(number: int) -> bytes:
    return number.to_bytes(8)


class Server:
    """Keeps what the client sends, and sends what it is told."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.connections: list[WebSocketRoute] = []
        self.received: list[list[Any]] = []
        page.route_web_socket("**/ws", self._accept)

    def send(self, *message: Any) -> None:
        self.connections[-1].send(msgpack.packb(list(message)))

    def wait(self, met: Callable[[], bool]) -> None:
        """Wait until a condition is met; the browser is heard meanwhile."""
        deadline = time.monotonic() + TIMEOUT
        while not met():
            assert time.monotonic() < deadline, f"it took too long; received {self.received}"
            self.page.evaluate("new Promise((go) => queueMicrotask(go))")

    def expect(self, kind: int) -> list[Any]:
        """The next message of this type; those before it are passed over."""
        self.wait(lambda: any(message[0] == kind for message in self.received))
        while (message := self.received.pop(0))[0] != kind:
            pass
        return message

    def welcome(self, frame_size: int = 65536, session: str = "s", **limits: int) -> bytes:
        """Answer the HELLO of a new connection; returns its client."""
        client: bytes = self.expect(HELLO)[1]
        now = self.page.evaluate("Date.now()")
        server = {"pid": 1, "time": now, "frame_size": frame_size, **limits}
        self.send(WELCOME, 1, "me", server, {"id": session, "user": None})
        return client

    def join(self, version: int, count: int) -> list[Any]:
        """Answer a JOIN with the whole state."""
        asked = self.expect(JOIN)
        self.send(SNAPSHOT, "a", version, tag(version), {"count": count})
        self.joined("a", version)
        return asked

    def joined(self, room: str, version: int, *shape: Any, access: str = "full") -> None:
        """Say that a room is joined; its shape has defaults and the names of collections."""
        shape = (*shape, *({}, [])[len(shape) :])
        self.send(JOINED, room, version, tag(version), *shape, access)

    def patch(self, version: int, count: int) -> None:
        self.send(PATCH, "a", version, tag(version - 1), tag(version), {"count": count}, [])

    def drop(self, code: int = 4000) -> None:
        """End the connection; the client comes back at once."""
        count = len(self.connections)
        self.connections[-1].close(code=code)
        self.sees("client.status !== 'online'")
        self.page.evaluate("dispatchEvent(new Event('online'))")
        self.wait(lambda: len(self.connections) > count)

    def sees(self, condition: str) -> None:
        """Wait until something holds in the page."""
        self.wait(lambda: bool(self.page.evaluate(condition)))

    def _accept(self, route: WebSocketRoute) -> None:
        self.connections.append(route)
        route.on_message(self._receive)

    def _receive(self, raw: str | bytes) -> None:
        assert isinstance(raw, bytes)
        self.received.append(msgpack.unpackb(raw))


def stop_clock(page: Page) -> None:
    """Have time pass only when the test says so; after `install` alone it goes on."""
    page.clock.install(time=0)
    page.clock.pause_at(HOUR)


def answer(route: Route) -> None:
    """Answer with a module of the client, or with an empty page."""
    path = route.request.url.removeprefix(PAGE)
    if path.endswith(".js"):
        file = APP / "gospa/client" / path.removeprefix("gospa/")
        route.fulfill(path=file, content_type="text/javascript")
    else:
        route.fulfill(body="<!doctype html>", content_type="text/html")


@contextmanager
def client_page(browser: Browser) -> Iterator[Page]:
    """A page that can import the client."""
    page = browser.new_page()
    page.route("**/*", answer)
    page.goto(PAGE)
    yield page
    page.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with client_page(browser) as page:
        yield page


@pytest.fixture
def server(page: Page) -> Server:
    """A server with a client in room `a`, at version 1 with count 10."""
    server = Server(page)
    page.evaluate(START, {})
    server.welcome()
    server.join(1, 10)
    server.sees("shown.length")
    return server


def test_a_change_is_shown_at_once_and_never_twice(server: Server, page: Page) -> None:
    page.evaluate("void add(5)")
    assert page.evaluate("[room.state.count, client.pending]") == [15, 1]
    mid = server.expect(CALL)[1]
    server.send(ACK, mid, 2, "done")
    server.sees("answers.length && !client.pending")
    server.patch(2, 15)
    server.patch(3, 16)
    server.sees("room.state.count === 16")
    assert page.evaluate("shown") == [10, 15, 16]
    assert page.evaluate("answers") == ["done"]


def test_a_signal_of_many_calls_keeps_none_that_was_answered(server: Server, page: Page) -> None:
    page.evaluate("""() => {
      const { signal } = new AbortController();
      const listening = window.listening = new Set();
      signal.addEventListener = (_, listener) => void listening.add(listener);
      signal.removeEventListener = (_, listener) => void listening.delete(listener);
      const call = (amount) => room.call('add', { amount }, { signal }).catch(() => {});
      void [1, 2].map(call);
    }""")
    first, second = server.expect(CALL)[1], server.expect(CALL)[1]
    assert page.evaluate("listening.size") == 2
    server.send(ACK, first, 2, None)
    server.sees("listening.size === 1")
    server.send(ERROR, second, "refused", "no", "a")
    server.sees("listening.size === 0")


def test_a_module_on_demand_that_does_not_come_is_no_error_of_the_page(page: Page) -> None:
    page.route("**/diagnosis.js", lambda route: route.abort())
    page.evaluate("""() => {
      window.unhandled = [];
      addEventListener('unhandledrejection', ({ reason }) => unhandled.push(String(reason)));
    }""")
    server = Server(page)
    page.evaluate(START, {})
    server.welcome()
    server.join(1, 10)
    server.sees("shown.length")
    page.evaluate("import('/gospa/diagnosis.js').catch(() => {})")  # later than the client's own
    assert page.evaluate("[unhandled, errors]") == [[], []]


def test_what_others_change_comes_below_what_is_pending(server: Server, page: Page) -> None:
    page.evaluate("void add(5)")
    server.patch(2, 20)
    server.sees("room.state.count === 25")
    server.send(ACK, server.expect(CALL)[1], 3, None)
    server.patch(3, 25)
    server.patch(4, 26)
    server.sees("room.state.count === 26")
    assert page.evaluate("shown") == [10, 15, 25, 26]


def test_a_refusal_takes_back_one_change(server: Server, page: Page) -> None:
    page.evaluate("void [1, 20, 300].map(add)")
    first, second, third = (server.expect(CALL)[1] for _ in range(3))
    server.send(ERROR, second, "refused", "not this one", "a")
    server.sees("answers.length")
    assert page.evaluate("[room.state.count, client.pending]") == [311, 2]
    assert page.evaluate("answers") == ["refused: not this one"]
    server.send(ACK, first, 2, 1)
    server.send(ACK, third, 3, 3)
    server.sees("answers.length === 3")
    assert page.evaluate("room.state.count") == 311


@pytest.mark.parametrize("applied", ["applied", ""])
def test_a_change_whose_answer_was_lost_is_sent_again_and_shown_once(
    server: Server, page: Page, applied: str
) -> None:
    page.evaluate("void add(5)")
    call = server.expect(CALL)
    server.drop()
    server.welcome()
    asked = server.join(3, 117 if applied else 112)  # others added 102
    assert asked == [JOIN, "a", 1, tag(1)]
    assert server.expect(CALL) == call
    server.send(ACK, call[1], 2 if applied else 4, None)
    if not applied:
        server.patch(4, 117)
    server.sees("room.state.count === 117")
    server.sees("!client.pending")
    assert page.evaluate("shown") == [10, 15, 117]


def test_what_was_acknowledged_is_not_lost_while_another_is_in_doubt(
    server: Server, page: Page
) -> None:
    page.evaluate("void [1, 20].map(add)")
    first, second = server.expect(CALL)[1], server.expect(CALL)[1]
    server.send(ACK, first, 2, None)
    server.sees("answers.length")
    server.drop()
    server.welcome()
    server.join(2, 11)
    server.send(ACK, second, 3, None)
    server.patch(3, 31)
    server.patch(4, 32)
    server.sees("room.state.count === 32")
    assert page.evaluate("shown") == [10, 11, 31, 32]


def test_no_change_overtakes_one_that_has_to_be_repeated(server: Server, page: Page) -> None:
    """The server would take its number for a repeat's, and acknowledge what it never applied."""
    stop_clock(page)
    page.evaluate("Math.random = () => 1, void [add(1), add(2), room.on('wave', told)]")
    first, second = (server.expect(CALL)[1] for _ in range(2))
    server.send(ERROR, first, "unavailable", "later", "a")
    server.send(ERROR, second, "unavailable", "later", "a")
    server.send(EVENT, "a", "wave", None)
    server.sees("heard.length === 1")
    page.evaluate("void add(4)")  # it waits for the others
    page.clock.run_for(300)
    assert [server.expect(CALL)[1] for _ in range(3)] == [first, second, second + 1]
    server.send(ERROR, second, "unavailable", "later", "a")
    server.send(ACK, first, 3, None)
    server.send(ERROR, second + 1, "unavailable", "later", "a")
    server.send(EVENT, "a", "wave", None)
    server.sees("heard.length === 2")
    page.evaluate("void add(8)")
    assert server.received == []
    page.clock.run_for(600)
    assert [server.expect(CALL)[1] for _ in range(3)] == [second, second + 1, second + 2]


@pytest.mark.parametrize("next_state", ["resumed", "whole"])
@pytest.mark.parametrize("applied", ["applied", "refused", ""])
def test_a_change_under_way_when_the_connection_is_cut_and_one_made_offline_are_both_shown(
    server: Server, page: Page, applied: str, next_state: str
) -> None:
    page.evaluate("void add(1)")
    call = server.expect(CALL)
    server.connections[-1].close(code=4000)
    server.sees("client.status !== 'online'")
    page.evaluate("void add(20)")
    assert page.evaluate("room.state.count") == 31
    page.evaluate("dispatchEvent(new Event('online'))")
    server.welcome()
    server.expect(JOIN)
    count = 111 if applied == "applied" else 110  # others added 100
    if next_state == "resumed":
        server.patch(2, count)
    else:
        server.send(SNAPSHOT, "a", 2, tag(2), {"count": count})
    server.joined("a", 2)
    assert server.expect(CALL) == call
    assert server.expect(CALL)[4] == {"amount": 20}
    assert page.evaluate("room.state.count") == 31
    if applied == "refused":
        server.send(ERROR, call[1], "refused", "no", "a")
    else:
        server.send(ACK, call[1], 2 if applied else 3, None)
    if not applied:
        server.patch(3, 111)
    shown = 130 if applied == "refused" else 131
    server.sees(f"room.state.count === {shown}")
    last = 3 if applied else 4
    server.send(ACK, call[1] + 1, last, None)
    server.sees("!client.pending")
    server.patch(last, shown)
    server.patch(last + 1, shown + 1)
    server.sees(f"room.state.count === {shown + 1}")
    assert page.evaluate("shown") == [10, 11, 31, shown, shown + 1]


def test_a_state_that_comes_before_an_acknowledgement_shows_no_change_twice(
    server: Server, page: Page
) -> None:
    page.evaluate("void [1, 20].map(add)")
    first, second = (server.expect(CALL)[1] for _ in range(2))
    server.send(SNAPSHOT, "a", 2, tag(2), {"count": 11})  # the worker has loaded the room again
    server.send(ACK, first, 2, None)
    server.sees("answers.length === 1")
    server.send(ACK, second, 3, None)
    server.patch(3, 31)
    server.patch(4, 32)
    server.sees("room.state.count === 32")
    assert page.evaluate("shown") == [10, 11, 31, 32]


def test_a_repeat_that_is_acknowledged_with_a_later_commit_is_not_shown_twice(
    server: Server, page: Page
) -> None:
    page.evaluate("void [1, 20].map(add)")
    first, second = (server.expect(CALL)[1] for _ in range(2))
    server.drop()
    server.welcome()
    server.join(2, 11)  # the second one is applied later
    for number in (first, second):
        server.send(ACK, number, 3, None)
    server.sees("!client.pending")
    assert page.evaluate("shown") == [10, 11, 31]
    server.patch(3, 31)
    server.patch(4, 32)
    server.sees("room.state.count === 32")
    assert page.evaluate("shown") == [10, 11, 31, 32]


@pytest.mark.parametrize("applied", ["applied", ""])
def test_a_page_shows_the_state_though_it_may_have_what_an_earlier_page_left(
    page: Page, applied: str
) -> None:
    server = left_by_an_earlier_page(page)
    page.evaluate("void add(20)")
    server.welcome()
    server.join(2, 111)
    call = server.expect(CALL)
    assert page.evaluate("shown") == [131]
    server.send(ACK, call[1], 2 if applied else 3, None)
    server.welcome()
    server.join(2, 111)
    last = 3 if applied else 4
    server.send(ACK, server.expect(CALL)[1], last, None)
    if not applied:
        server.patch(3, 112)
    server.patch(last, 131 if applied else 132)
    server.sees(f"room.state.count === {131 if applied else 132}")
    assert page.evaluate("shown") == [131] if applied else [131, 132]


def test_defaults_are_shown_below_the_state_and_are_no_part_of_it(
    server: Server, page: Page
) -> None:
    page.evaluate("Object.assign(window, { other: client.room('b') })")
    server.expect(JOIN)
    server.send(SNAPSHOT, "b", 1, tag(1), {"count": 1})
    assert page.evaluate("Object.keys(other.state)") == []  # it is not complete
    server.joined("b", 1, {"count": 0, "title": "new"})
    server.sees("other.state.title === 'new' && other.state.count === 1")
    server.send(PATCH, "b", 2, tag(1), tag(2), {"title": "set"}, ["count"])
    server.sees("other.state.title === 'set' && other.state.count === 0")


def test_items_are_shown_in_maps_and_changed_in_drafts(server: Server, page: Page) -> None:
    page.evaluate("""() => {
      window.other = client.room('b');
      window.changes = [];
      other.subscribe((state, keys) => changes.push(keys));
      other.optimistic('note', (state, { id, text }) => { state.notes.set(id, { text }); });
    }""")
    server.expect(JOIN)
    server.send(SNAPSHOT, "b", 1, tag(1), {"$schema": 2, "notes/b": {"text": "old"}})
    server.joined("b", 1, {"count": 0}, ["log", "notes"])
    server.sees("changes.length")
    assert page.evaluate("JSON.stringify(other.state)") == (
        '{"count":0,"log":{},"notes":{"b":{"text":"old"}}}'
    )
    page.evaluate("void (window.before = other.state)")
    page.evaluate("void other.call('note', { id: 'a', text: 'new' })")
    assert page.evaluate("[...other.state.notes.keys()]") == ["a", "b"]
    server.send(PATCH, "b", 2, tag(1), tag(2), {"$schema": 3, "log/x": 1}, [])
    server.sees("other.state.log.has('x')")
    server.send(ERROR, server.expect(CALL)[1], "refused", "no", "b")
    server.sees("!other.state.notes.has('a')")
    assert page.evaluate("changes") == [
        ["count", "log", "notes", "notes/b"],
        ["notes", "notes/a"],
        ["log", "log/x"],
        ["notes", "notes/a"],
    ]
    assert page.evaluate("other.state.notes.get('b') === before.notes.get('b')")


def test_an_id_made_here_has_the_time_of_the_server_and_comes_after_those_that_are_known(
    server: Server, page: Page
) -> None:
    stop_clock(page)
    now = 3 * HOUR * 1000  # the clock of the page is two hours behind
    server.drop()
    server.welcome(time=now)
    server.join(1, 10)
    server.sees(f"client.now() === {now}")
    ids = page.evaluate("[1, 2].map(() => room.newId('notes'))")
    assert [made[:11] for made in ids] == [f"{now:011x}", f"{now + 1:011x}"]
    assert re.fullmatch("[0-9a-f]{17}", ids[0])
    ahead = now + 5000
    server.send(SNAPSHOT, "a", 2, tag(2), {f"notes/{ahead:011x}ffffff": 1, "notes/a": 1})
    server.sees("room.state.notes")
    assert page.evaluate("room.newId('notes')")[:11] == f"{ahead + 1:011x}"


def test_what_was_made_in_another_session_is_rejected_and_not_sent(
    server: Server, page: Page
) -> None:
    page.evaluate("void add(5)")
    server.expect(CALL)
    server.drop()
    server.welcome(session="other")
    server.join(1, 10)
    server.sees("answers.length")
    assert page.evaluate("answers") == ["other_session: it was made in another session"]
    page.evaluate("void add(2)")
    assert server.expect(CALL)[4] == {"amount": 2}
    assert page.evaluate("room.state.count") == 12


def test_what_another_session_was_shown_is_shown_no_longer(server: Server, page: Page) -> None:
    server.drop()
    server.welcome(session="other")
    assert server.expect(JOIN) == [JOIN, "a", None, None]
    server.send(ERROR, None, "unauthorized", "not yours", "a")
    server.sees("errors.length")
    assert page.evaluate("[room.state, shown.at(-1)]") == [{}, None]


def test_what_a_page_left_before_it_knew_its_session_is_not_sent_in_another(page: Page) -> None:
    server = Server(page)
    page.evaluate(START, {"persist": True})
    page.evaluate("void add(7)")
    server.expect(HELLO)
    page.goto(PAGE)
    page.evaluate(START, {"persist": True})
    server.welcome()
    server.join(1, 10)
    server.sees("!client.pending")
    assert page.evaluate("errors") == ["it was made in another session"]
    assert not any(message[0] == CALL for message in server.received)


@pytest.mark.parametrize("code", ["kicked", "unauthorized"])
def test_a_room_is_dropped_with_the_access_to_it_until_the_next_connection(
    server: Server, page: Page, code: str
) -> None:
    page.evaluate("""() => {
      window.other = client.room('b');
      window.told = [];
      room.on('$status', (status, error) => told.push([status, room.access, error?.message]));
    }""")
    server.expect(JOIN)
    server.send(SNAPSHOT, "b", 1, tag(1), {"count": 1})
    server.joined("b", 1)
    page.evaluate("void [add(5), room.run('buy').catch(({ code }) => answers.push(code))]")
    number = server.expect(CALL)[1]
    server.send(ERROR, None, code, "you were removed", "a")
    server.sees("answers.length === 1")
    server.send(ERROR, number, "not_joined", "join 'a' first", "a")
    server.sees("answers.length === 2")
    assert page.evaluate("answers") == [code, f"{code}: you were removed"]
    assert page.evaluate("[room.state, shown.at(-1), room.status, room.access, errors]") == [
        *({}, None, code, None),
        ["you were removed"],
    ]
    server.patch(2, 11)  # it was on its way
    page.evaluate("void add(5)")
    server.sees("answers.length === 3")
    assert page.evaluate("answers[2]") == f"{code}: you were removed"
    assert page.evaluate("[client.status, other.state.count, room.state]") == ["online", 1, {}]

    server.drop()
    server.welcome()
    assert server.join(1, 10) == [JOIN, "a", None, None]
    server.sees("room.status === 'joined'")
    assert page.evaluate("told") == [
        [code, None, "you were removed"],
        ["joining", None, None],
        ["joined", "full", None],
    ]
    page.evaluate("void add(1)")
    server.expect(CALL)


def test_a_room_whose_access_was_lost_while_offline_is_dropped(server: Server, page: Page) -> None:
    server.drop()
    assert page.evaluate("[room.state.count, room.access]") == [10, "full"]
    server.welcome()
    server.expect(JOIN)
    server.send(ERROR, None, "unauthorized", "not any more", "a")
    server.sees("errors.length")
    assert page.evaluate("[room.state, room.access]") == [{}, None]


def test_what_was_applied_before_access_was_lost_is_told_so(server: Server, page: Page) -> None:
    page.evaluate("void [add(1), add(2)]")
    first, second = server.expect(CALL)[1], server.expect(CALL)[1]
    server.send(ERROR, None, "kicked", "you were removed", "a")  # and the answers follow
    server.send(ACK, first, 2, 11)
    server.send(ERROR, second, "not_joined", "join 'a' first", "a")
    server.sees("answers.length === 2")
    assert page.evaluate("answers") == [11, "kicked: you were removed"]
    assert page.evaluate("[room.state, client.pending]") == [{}, 0]


def test_what_may_have_been_applied_before_access_was_lost_is_asked_for(
    server: Server, page: Page
) -> None:
    page.evaluate("void [add(1), add(2)]")
    numbers = [server.expect(CALL)[1] for _ in range(2)]
    server.drop()
    page.evaluate("void add(4)")  # which cannot have been applied
    server.welcome()
    server.expect(JOIN)
    server.send(ERROR, None, "unauthorized", "not any more", "a")
    assert [server.expect(CALL)[1] for _ in range(2)] == numbers
    assert page.evaluate("[answers, room.state]") == [["unauthorized: not any more"], {}]
    server.send(ERROR, numbers[0], "unavailable", "later", "a")
    assert server.expect(CALL)[1] == numbers[0]
    server.send(ACK, numbers[0], 2, None)
    server.send(ERROR, numbers[1], "not_joined", "join 'a' first", "a")
    server.sees("client.pending === 0")
    assert page.evaluate("answers.slice(1)") == [None, "unauthorized: not any more"]
    server.drop()
    server.welcome()
    server.join(3, 12)
    server.sees("room.state.count === 12")
    assert not [message for message in server.received if message[0] == CALL]


@pytest.mark.parametrize("code", [4502, 4503])
def test_nothing_is_shown_and_nothing_waits_once_the_session_has_ended(
    server: Server, page: Page, code: int
) -> None:
    page.evaluate(BIND, MARKUP)
    server.send(PATCH, "a", 2, tag(1), tag(2), {"text": "a secret"}, [])
    server.sees("document.querySelector('#field').value === 'a secret'")
    page.focus("#field")
    page.evaluate("void add(1)")
    server.expect(CALL)
    server.connections[-1].close(code=code)
    server.sees("client.status === 'unauthorized'")
    server.sees("answers.length === 1")
    assert page.evaluate("[room.state, room.access, client.pending]") == [{}, None, 0]
    assert page.evaluate(
        "[...document.querySelectorAll('#text, #field')].map(shown => [shown.value])"
    ) == [
        [""],
        [""],
    ]
    assert page.evaluate("document.activeElement === document.body")
    assert "a secret" not in page.evaluate("document.body.innerText")


def test_another_access_changes_nothing_else(server: Server, page: Page) -> None:
    page.evaluate("""() => {
      window.told = [];
      room.on('$status', (status) => told.push([status, room.access]));
    }""")
    page.evaluate("void add(5)")
    server.expect(CALL)
    for access in ("full", "read", "full"):
        server.joined("a", 1, access=access)
    server.patch(2, 11)
    server.sees("room.state.count === 16")
    assert page.evaluate("[told, shown]") == [
        [["joined", "read"], ["joined", "full"]],
        [10, 15, 16],
    ]
    assert server.received == []  # what has no answer yet is not sent again


def test_a_command_is_answered_and_is_not_a_mutation(server: Server, page: Page) -> None:
    page.evaluate("void [1, 2].map((item) => room.run('buy', { item }).then(told, told))")
    page.evaluate("void add(5)")
    runs = [server.expect(RUN) for _ in range(2)]
    assert [run[2:] for run in runs] == [["a", "buy", {"item": item}] for item in (1, 2)]
    assert {len(run[1]) for run in runs} == {16}
    assert server.expect(CALL)[1] == 1
    server.send(ERROR, runs[1][1], "refused", "sold out", "a")
    server.send(DONE, runs[0][1], {"paid": True})
    server.sees("heard.length === 2")
    assert page.evaluate("[heard[0].code, heard[1], client.pending, room.state.count]") == [
        *("refused", {"paid": True}, 1, 15),
    ]


def test_a_command_is_repeated_under_its_id_when_its_answer_may_be_lost(
    server: Server, page: Page
) -> None:
    page.evaluate("void [1, 2].map((item) => room.run('buy', { item }).then(told, told))")
    first, second = server.expect(RUN), server.expect(RUN)
    server.send(ERROR, first[1], "unavailable", "later", "a")
    assert server.expect(RUN) == first
    server.patch(3, 12)  # a commit is missing
    server.join(3, 12)
    page.evaluate("void add(5)")
    server.expect(CALL)
    assert server.received == []  # the same connection still owes both answers
    server.drop()
    page.evaluate("void room.run('buy', { item: 3 }).then(told, told)")
    server.welcome()
    server.join(3, 12)
    assert [server.expect(RUN) for _ in range(2)] == [first, second]
    server.expect(CALL)
    assert server.expect(RUN)[4] == {"item": 3}
    server.send(DONE, second[1], "bought")
    server.sees("heard.length")
    assert page.evaluate("heard") == ["bought"]


def test_a_command_waits_while_too_many_are_under_way_and_no_mutation_waits_for_it(
    server: Server, page: Page
) -> None:
    stop_clock(page)
    page.evaluate("Math.random = () => 1, void room.run('buy').then(told, told)")
    run = server.expect(RUN)
    server.send(ERROR, run[1], "busy", "wait for one to end", "a")
    server.patch(2, 11)
    server.sees("room.state.count === 11")
    page.evaluate("void add(5)")
    server.send(ACK, server.expect(CALL)[1], 3, None)
    server.sees("client.pending === 1")
    page.clock.run_for(300)
    assert server.expect(RUN) == run
    server.send(DONE, run[1], "bought")
    server.sees("heard.length")
    assert page.evaluate("heard") == ["bought"]


def test_a_command_whose_outcome_is_unknown_hides_no_change(server: Server, page: Page) -> None:
    page.evaluate("void room.run('buy')")
    server.expect(RUN)
    server.drop()
    server.welcome()
    server.join(2, 11)
    server.patch(3, 12)
    server.sees("room.state.count === 12")


def test_a_command_that_a_page_left_is_run_by_the_next(page: Page) -> None:
    server = Server(page)
    page.evaluate(START, {"persist": True})
    server.welcome()
    server.join(1, 10)
    page.evaluate("void room.run('buy', { item: 1 })")
    run = server.expect(RUN)
    # The page comes back from the back/forward cache, with the command.
    for name in ("pagehide", "pageshow"):
        page.evaluate(
            "(name) => dispatchEvent(new PageTransitionEvent(name, { persisted: true }))", name
        )
    assert page.evaluate("client.pending") == 1
    page.goto(PAGE)
    page.evaluate(START, {"persist": True})
    server.welcome()
    server.join(1, 10)
    assert server.expect(RUN) == run
    server.send(DONE, run[1], None)
    server.sees("!client.pending")
    assert page.evaluate("errors") == []
    assert len(server.connections) == 2  # it needs no connection of the earlier page's client


def test_a_command_of_another_session_is_rejected(server: Server, page: Page) -> None:
    page.evaluate("void room.run('buy').then(told, told)")
    server.expect(RUN)
    server.drop()
    server.welcome(session="other")
    server.join(1, 10)
    server.sees("heard.length")
    assert page.evaluate("heard[0].code") == "other_session"


def test_a_store_that_went_back_leaves_no_effect_behind(server: Server, page: Page) -> None:
    page.evaluate("void add(5)")
    server.send(ACK, server.expect(CALL)[1], 50, None)
    server.sees("answers.length")
    server.send(SNAPSHOT, "a", 0, tag(0), {"count": 0})
    assert server.expect(JOIN) == [JOIN, "a", 50, tag(0)]
    assert page.evaluate("room.state.count") == 15  # until the store was asked
    server.send(SNAPSHOT, "a", 0, tag(0), {"count": 0})
    server.joined("a", 0)
    server.sees("room.state.count === 0")


def test_a_snapshot_that_is_late_does_not_hide_an_acknowledged_change(
    server: Server, page: Page
) -> None:
    page.evaluate("void add(5)")
    mid = server.expect(CALL)[1]
    server.patch(3, 12)
    server.expect(JOIN)  # it lacks a commit
    server.send(ACK, mid, 6, None)
    server.send(SNAPSHOT, "a", 5, tag(5), {"count": 14})
    server.joined("a", 5)
    server.patch(6, 19)
    server.patch(7, 20)
    server.sees("room.state.count === 20")
    assert page.evaluate("shown") == [10, 15, 19, 20]


def test_a_snapshot_without_a_commit_that_joining_asked_for_shows_that_it_was_lost(
    server: Server, page: Page
) -> None:
    page.evaluate("void add(5)")
    server.send(ACK, server.expect(CALL)[1], 6, None)
    server.sees("answers.length")
    server.drop()
    server.welcome()
    assert server.join(3, 12) == [JOIN, "a", 6, tag(1)]
    server.sees("room.state.count === 12")


def test_a_missing_link_is_asked_for_once_and_nothing_wrong_is_shown(
    server: Server, page: Page
) -> None:
    server.received.clear()
    server.patch(3, 12)
    server.patch(4, 13)
    assert server.expect(JOIN) == [JOIN, "a", 1, None]
    server.send(SNAPSHOT, "a", 4, tag(4), {"count": 13})
    server.joined("a", 4)
    server.sees("room.state.count === 13")
    assert page.evaluate("shown") == [10, 13]
    assert server.received == []


def test_what_is_put_off_is_sent_again_in_order(server: Server, page: Page) -> None:
    page.evaluate("void [1, 2].map(add)")
    mids = [server.expect(CALL)[1] for _ in range(2)]
    for mid in mids:
        server.send(ERROR, mid, "unavailable", "later", "a")
    assert [server.expect(CALL)[1] for _ in range(2)] == mids
    for version, mid in enumerate(mids, 2):
        server.send(ACK, mid, version, version)
    server.sees("answers.length === 2")
    assert page.evaluate("answers") == [2, 3]


def test_what_is_put_off_again_is_sent_again_later_each_time(server: Server, page: Page) -> None:
    stop_clock(page)
    page.evaluate("void room.on('heard', (wait) => { window.heard = wait; })")
    page.evaluate("Math.random = () => 1, void add(5)")
    for wait in (300, 600, 1200):
        server.send(ERROR, server.expect(CALL)[1], "unavailable", "later", "a")
        server.send(EVENT, "a", "heard", wait)
        server.sees(f"window.heard === {wait}")
        page.clock.run_for(wait - 1)
        assert server.received == []
        page.clock.run_for(1)


def test_nothing_is_shown_of_a_room_before_its_state_is_known(page: Page) -> None:
    server = Server(page)
    page.evaluate(START, {})
    page.evaluate("void add(5)")
    assert page.evaluate("Object.keys(room.state)") == []
    server.welcome()
    server.join(1, 10)
    server.sees("room.state.count === 15")
    assert page.evaluate("shown") == [15]


def test_many_changes_are_kept_and_more_are_refused(page: Page) -> None:
    server = Server(page)
    page.evaluate(START, {})
    page.evaluate("void Array.from({ length: 501 }, () => add(1))")
    server.sees("answers.length")
    assert page.evaluate("client.pending") == 500
    assert page.evaluate("answers") == ["overflow: too many changes are waiting to be sent"]


def test_what_was_queued_for_another_server_and_is_too_large_here_is_refused(page: Page) -> None:
    server = Server(page)
    page.evaluate(START, {})
    page.evaluate("void add('x'.repeat(5000))")
    page.evaluate("void [[[[1]]], [1, 2, 3], 1].map(add)")
    server.welcome(frame_size=1024, frame_depth=4, frame_elements=8)
    server.join(1, 10)
    assert server.expect(CALL)[4] == {"amount": 1}
    server.sees("answers.length === 3")
    assert page.evaluate("answers") == [
        "too_large: a message has at most 1024 bytes",
        "invalid: amount: a value is nested too deep",
        "invalid: amount: there are too many values",
    ]


def test_what_an_earlier_page_left_is_done_as_the_earlier_client_and_first(page: Page) -> None:
    server = Server(page)
    page.evaluate(START, {"persist": True})
    earlier = server.welcome()
    server.join(1, 10)
    page.evaluate("void [1, 2].map(add)")
    calls = [server.expect(CALL) for _ in range(2)]
    page.goto(PAGE)
    page.evaluate(START, {"persist": True})
    page.evaluate("void add(300)")
    server.sees("client.pending === 3")
    assert server.welcome() == earlier
    server.join(1, 10)
    assert [server.expect(CALL) for _ in range(2)] == calls
    for version, call in enumerate(calls, 2):
        server.send(ACK, call[1], version, None)
    assert server.welcome() != earlier
    server.join(3, 13)
    mid, room, action, args = server.expect(CALL)[1:]
    assert (room, action, args) == ("a", "add", {"amount": 300})
    server.send(ACK, mid, 4, None)
    server.sees("!client.pending")
    assert page.evaluate("room.state.count") == 313
    page.goto(PAGE)
    assert page.evaluate("localStorage.length") == 0


def left_by_an_earlier_page(page: Page) -> Server:
    """A server that a page has joined which has something of an earlier page to do."""
    server = Server(page)
    page.evaluate(START, {"persist": True})
    server.welcome()
    server.join(1, 10)
    page.evaluate("void add(1)")
    server.expect(CALL)
    page.goto(PAGE)
    page.evaluate(START, {"persist": True})
    return server


@pytest.mark.parametrize(
    ("end", "status"), [(4502, "unauthorized"), (4500, "closed"), (None, "closed")]
)
def test_who_is_disconnected_for_good_stays_so_whatever_an_earlier_page_left(
    page: Page, end: int | None, status: str
) -> None:
    server = left_by_an_earlier_page(page)
    server.welcome()
    server.join(1, 10)
    server.expect(CALL)
    if end is None:
        page.evaluate("client.close()")
    else:
        server.connections[-1].close(code=end)
    server.sees("client.pending === 0")
    assert page.evaluate("[client.status, statuses.at(-1)]") == [status, status]


def test_a_page_may_leave_the_room_of_what_an_earlier_one_left(page: Page) -> None:
    server = left_by_an_earlier_page(page)
    page.evaluate("void [client.room('b'), client.on('welcome', () => room.leave())]")
    earlier = server.welcome()
    assert server.welcome() != earlier
    server.sees("client.status === 'online'")
    assert page.evaluate("[errors, statuses]") == [["you left a"], ["online"]]


def test_a_page_that_has_enough_when_it_is_connected_again_is_closed(
    server: Server, page: Page
) -> None:
    stop_clock(page)  # it would go on to connect by itself
    page.evaluate("void client.on('status', (status) => status === 'connecting' && client.close())")
    server.connections[-1].close(code=4000)
    server.sees("client.status === 'offline'")
    page.evaluate("dispatchEvent(new Event('online'))")
    assert page.evaluate("[client.status, statuses.at(-1)]") == ["closed", "closed"]
    page.evaluate("import('/gospa/gospa.js').then(({ connect }) => void connect('/ws'))")
    assert server.expect(HELLO)[1].decode("latin-1") != page.evaluate("client.identity")


def test_what_is_refused_while_a_room_is_asked_for_anew_does_not_end_it(
    server: Server, page: Page
) -> None:
    server.patch(3, 12)
    server.expect(JOIN)
    server.send(ERROR, None, "invalid", "no such event", "a")
    server.send(SNAPSHOT, "a", 3, tag(3), {"count": 12})
    server.joined("a", 3)
    server.sees("room.state.count === 12")
    page.evaluate("void add(5)")
    assert server.expect(CALL)[4] == {"amount": 5}


def kept(number: int, age: int = 0) -> str:
    """A script that keeps what a page left some milliseconds ago: a change of its client."""
    left = [chr(number) * 16, "s", [CALL, 1, "a", "add", {"amount": number}]]
    time = f"Date.now() - {age}"
    return f"""async () => {{
      const {{ decode, encode }} = await import('/gospa/msgpack.js');
      const left = decode(Uint8Array.from({list(msgpack.packb([left]))}));
      const text = String.fromCharCode(...encode([{time}, left]));
      localStorage.setItem('gospa:ws://client.test/ws {number}', text);
    }}"""


def test_what_several_pages_left_is_done_once_each_as_their_clients(page: Page) -> None:
    server = Server(page)
    for number in (2, 3):
        page.evaluate(kept(number))
    page.evaluate(START, {"persist": True})
    for number in (2, 3):
        assert server.welcome() == bytes([number]) * 16
        server.join(number - 1, 10)
        call = server.expect(CALL)
        assert call[1:] == [1, "a", "add", {"amount": number}]
        server.send(ACK, 1, number, None)
    server.sees("!client.pending")
    assert page.evaluate("localStorage.length") == 0


def test_what_was_left_longer_ago_than_the_server_remembers_is_not_sent(page: Page) -> None:
    server = Server(page)
    page.evaluate(kept(2, age=12 * HOUR * 1000 + 1))
    page.evaluate(START, {"persist": True})
    server.welcome()
    server.join(1, 10)
    server.sees("room.state.count === 10")
    assert page.evaluate("errors[0]").startswith("1 changes of ")
    assert page.evaluate("[client.pending, localStorage.length]") == [0, 0]


def test_what_was_left_in_another_session_is_rejected(page: Page) -> None:
    server = Server(page)
    page.evaluate(kept(2))
    page.evaluate(START, {"persist": True})
    server.welcome(session="other")
    server.join(1, 10)
    server.sees("errors.length")
    assert page.evaluate("errors") == ["it was made in another session"]
    assert page.evaluate("[shown.at(-1), client.pending, localStorage.length]") == [10, 0, 0]


@pytest.mark.parametrize("kept", ["", "nonsense", "\\x91\\x92\\xc4\\x00\\xc0", "\\u1234"])
def test_what_lies_in_storage_and_is_not_ours_is_ignored(page: Page, kept: str) -> None:
    server = Server(page)
    page.evaluate(f"localStorage.setItem('gospa:ws://client.test/ws x', '{kept}')")
    page.evaluate(START, {"persist": True})
    server.welcome()
    server.join(1, 10)
    server.sees("room.state.count === 10")


WRONG = {
    "an unknown type": ["m" * 16, "s", [99, 1, "a", "add", {}]],
    "a short client id": ["m", "s", [CALL, 1, "a", "add", {}]],
    "no client id": [None, "s", [CALL, 1, "a", "add", {}]],
    "number 0": ["m" * 16, "s", [CALL, 0, "a", "add", {}]],
    "a text as number": ["m" * 16, "s", [CALL, "1", "a", "add", {}]],
    "a text as id": [None, "s", [7, "x", "a", "go", {}]],
    "no room": ["m" * 16, "s", [CALL, 1, None, "add", {}]],
    "no message": ["m" * 16, "s", None],
    "a number": 5,
}


@pytest.mark.parametrize("what", WRONG)
def test_what_was_left_and_is_no_request_is_dropped_and_no_other(page: Page, what: str) -> None:
    server = Server(page)
    sound = ["n" * 16, "s", [CALL, 1, "a", "add", {"amount": 2}]]
    page.evaluate(f"""async () => {{
      const {{ decode, encode }} = await import('/gospa/msgpack.js');
      const left = decode(Uint8Array.from({list(msgpack.packb([WRONG[what], sound]))}));
      const text = String.fromCharCode(...encode([Date.now(), left]));
      localStorage.setItem('gospa:ws://client.test/ws x', text);
    }}""")
    page.evaluate(START, {"persist": True})
    assert server.welcome() == b"n" * 16
    server.join(1, 10)
    assert server.expect(CALL)[1:] == [1, "a", "add", {"amount": 2}]
    server.send(ACK, 1, 2, None)
    server.sees("!client.pending")
    assert page.evaluate("localStorage.length") == 0


def test_a_silent_server_is_noticed(page: Page) -> None:
    stop_clock(page)
    server = Server(page)
    page.evaluate(START, {})
    server.welcome()
    server.join(1, 10)
    server.sees("shown.length")
    page.clock.run_for(15_000)
    server.expect(PING)
    server.send(PONG)
    server.sees("client.status === 'online'")
    page.clock.run_for(16_000)
    server.expect(PING)
    page.clock.run_for(10_000)
    server.sees("statuses.includes('offline')")


def test_a_server_that_falls_silent_while_it_owes_an_answer_is_noticed(
    server: Server, page: Page
) -> None:
    stop_clock(page)
    page.evaluate("client.ping()")
    server.expect(PING)
    server.patch(2, 11)
    server.sees("room.state.count === 11")
    page.clock.run_for(15_000)
    server.expect(PING)
    page.clock.run_for(10_000)
    server.sees("statuses.includes('offline')")


def test_a_server_that_takes_leave_is_left_alone_for_as_long_as_it_says(
    server: Server, page: Page
) -> None:
    stop_clock(page)
    server.send(BYE, 1012, 60_000)
    server.connections[-1].close(code=1012)
    server.sees("client.status === 'offline'")
    page.evaluate("dispatchEvent(new Event('online'))")
    page.clock.run_for(59_000)
    assert page.evaluate("client.status") == "offline"
    assert len(server.connections) == 1
    page.clock.run_for(2_000)
    server.wait(lambda: len(server.connections) == 2)


@pytest.mark.usefixtures("server")
def test_who_reconnects_waits_anything_up_to_a_bound(page: Page) -> None:
    waits = page.evaluate("""[0, 1, 5, 50].map((attempt) =>
      Array.from({ length: 2000 }, () => backoff(attempt, 500, 8_000)))""")
    for bound, drawn in zip((500, 1000, 8_000, 8_000), waits, strict=True):
        assert 0 <= min(drawn) < bound / 10
        assert bound * 0.9 < max(drawn) < bound


def test_nonsense_from_the_server_means_to_start_afresh(server: Server) -> None:
    server.connections[-1].send(b"\xc1")
    server.sees("errors.length && statuses.includes('offline')")


def test_a_page_that_has_enough_of_nonsense_is_closed(server: Server, page: Page) -> None:
    page.evaluate("void client.on('error', () => client.close())")
    server.connections[-1].send(b"\xc1")
    server.sees("errors.length")
    assert page.evaluate("[client.status, statuses.at(-1)]") == ["closed", "closed"]


def test_the_latency_is_told(server: Server, page: Page) -> None:
    page.evaluate("client.on('latency', (time) => { window.latency = time; }), client.ping()")
    server.expect(PING)
    server.send(PONG)
    server.sees("window.latency > 0")


def test_an_answer_to_a_second_ping_is_no_latency(server: Server, page: Page) -> None:
    page.evaluate("void (window.told = 0, client.on('latency', () => { window.told += 1; }))")
    page.evaluate("client.ping(), dispatchEvent(new Event('offline'))")
    for _ in range(2):
        server.expect(PING)
        server.send(PONG)
    server.patch(2, 11)
    server.sees("room.state.count === 11")
    assert page.evaluate("told") == 1


def test_who_listens_hears_of_the_newest_state_last_though_another_listener_changes_it(
    server: Server, page: Page
) -> None:
    page.evaluate("""() => {
      const heard = window.heard = [];
      room.subscribe(({ count }) => count === 11 && void add(5));
      room.subscribe((state, keys) => heard.push([state.count, ...keys]));
    }""")
    server.patch(2, 11)
    server.sees("heard.length")
    assert page.evaluate("heard") == [[10, "count"], [16, "count"], [16, "count"]]


def test_a_listener_is_told_what_is_known_also_of_an_empty_room(server: Server, page: Page) -> None:
    page.evaluate("""() => {
      window.other = client.room('b');
      other.subscribe((state, keys) => heard.push(['b', keys]));
    }""")
    server.expect(JOIN)
    server.send(SNAPSHOT, "b", 1, tag(1), {})
    assert page.evaluate("heard") == []
    server.joined("b", 1)
    server.sees("heard.length === 1")
    page.evaluate("void room.subscribe(({ count }, keys) => heard.push([count, keys]))")
    assert page.evaluate("heard") == [["b", []], [10, ["count"]]]
    server.drop()
    server.welcome()
    server.join(1, 10)
    server.sees("room.status === 'joined'")
    assert page.evaluate("heard.length") == 2  # nothing has changed


def test_a_selector_is_told_of_what_it_picks(server: Server, page: Page) -> None:
    page.evaluate("void (window.stop = room.select(({ notes }) => notes?.get('a'), told))")
    server.send(PATCH, "a", 2, tag(1), tag(2), {"count": 11, "notes/b": 1}, [])
    server.send(PATCH, "a", 3, tag(2), tag(3), {"notes/a": {"text": "x"}}, [])
    server.send(PATCH, "a", 4, tag(3), tag(4), {"notes/a": {"text": "x"}, "count": 12}, [])
    server.send(PATCH, "a", 5, tag(4), tag(5), {"count": 13}, ["notes/a"])
    server.sees("room.state.count === 13")
    assert page.evaluate("heard") == [None, {"text": "x"}, None]
    page.evaluate("stop()")
    server.send(PATCH, "a", 6, tag(5), tag(6), {"count": 14, "notes/a": 1}, [])
    server.sees("room.state.count === 14")
    assert page.evaluate("heard.length") == 3


def test_a_call_is_given_up_by_its_signal_and_not_sent_if_it_was_not(
    server: Server, page: Page
) -> None:
    page.evaluate("""() => {
      window.give = (amount) => {
        const stop = new AbortController();
        room.call('add', { amount }, { signal: stop.signal }).then(told, ({ name }) => told(name));
        return stop;
      };
      window.sent = give(1);
    }""")
    call = server.expect(CALL)
    page.evaluate("sent.abort()")
    server.sees("heard.length === 1")
    assert page.evaluate("[heard, client.pending, room.state.count]") == [["AbortError"], 1, 11]
    server.drop()
    page.evaluate("give(20).abort()")
    page.evaluate("room.call('add', {}, { signal: AbortSignal.abort() }).catch(told)")
    server.sees("heard.length === 3")
    assert page.evaluate("[client.pending, room.state.count]") == [1, 11]
    server.welcome()
    server.join(1, 10)
    assert server.expect(CALL) == call
    server.send(ACK, call[1], 2, None)
    server.sees("client.pending === 0")


def test_a_refusal_names_the_action_and_where_it_was_called(server: Server, page: Page) -> None:
    page.evaluate("""() => {
      const fromHere = () => room.call('pluss').catch(
        ({ room, action, stack }) => { window.seen = { room, action, stack }; });
      void fromHere();
    }""")
    server.send(ERROR, server.expect(CALL)[1], "invalid", "no such action", "a")
    server.sees("window.seen")
    seen = page.evaluate("seen")
    assert (seen["room"], seen["action"]) == ("a", "pluss")
    assert seen["stack"].startswith("RoomError: no such action\n")
    assert "fromHere" in seen["stack"]


def test_an_event_that_the_store_could_not_take_is_no_error(server: Server, page: Page) -> None:
    page.evaluate("room.send('wave')")
    server.expect(SEND)
    server.send(ERROR, None, "unavailable", "this cannot be stored just now", "a")
    server.patch(2, 11)
    server.sees("room.state.count === 11")
    assert page.evaluate("[errors, room.status]") == [[], "joined"]


def test_a_room_is_left_by_the_last_of_its_holders_and_its_list_of_members_with_it(
    server: Server, page: Page
) -> None:
    page.evaluate("void [client.room('a'), room.members(), room.members({ name: 'Ann' })]")
    assert [server.expect(JOIN)[1] for _ in range(2)] == ["a#members", "a#members"]
    page.evaluate("room.leave()")
    page.evaluate("void add(1)")
    assert server.expect(CALL)[4] == {"amount": 1}
    page.evaluate("room.leave()")
    assert server.expect(LEAVE)[1] == "a#members"
    assert server.expect(LEAVE)[1] == "a"
    assert page.evaluate("client.room('a') !== room")


def test_a_page_may_connect_at_once_instead_of_waiting(server: Server, page: Page) -> None:
    stop_clock(page)
    server.connections[-1].close(code=4000)
    server.sees("client.status === 'offline'")
    page.evaluate("client.retry()")
    server.wait(lambda: len(server.connections) == 2)


def test_a_hidden_page_keeps_what_is_pending_and_one_that_is_shown_again_does_not(
    page: Page,
) -> None:
    server = Server(page)
    page.evaluate(START, {"persist": True})
    server.welcome()
    server.join(1, 10)
    server.sees("performance.getEntriesByName(`${location}gospa/persistence.js`).length")
    page.evaluate("void add(1)")
    server.expect(CALL)
    hide = """(state) => {
      Object.defineProperty(document, 'hidden', { value: state === 'hidden', configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
      return localStorage.length;
    }"""
    server.wait(lambda: bool(page.evaluate(hide, "hidden")))
    assert page.evaluate(hide, "visible") == 0
    assert page.evaluate("client.pending") == 1


def test_a_key_may_hold_a_time_and_then_something_else(server: Server, page: Page) -> None:
    page.evaluate("void room.subscribe((state, keys) => { window.keys = keys; })")
    time = msgpack.Timestamp(1)
    values: list[Any] = [time, {}, time, {"seconds": 1}, [], None]
    for version, at in enumerate(values, 2):
        state = {"count": version, "at": at, "same": [time, {"at": time}]}
        server.send(SNAPSHOT, "a", version, tag(version), state)
        server.sees(f"room.state.count === {version}")
        assert set(page.evaluate("keys")) == {"at", "count", *["same"] * (version == 2)}


def test_members_are_told_and_asked_for(server: Server, page: Page) -> None:
    page.evaluate("void (window.members = room.members({ name: 'Ann' }))")
    assert server.expect(JOIN) == [JOIN, "a#members", None, None, {"name": "Ann"}]
    page.evaluate("void room.members({ name: 'Annie' })")
    assert server.expect(JOIN) == [JOIN, "a#members", None, None, {"name": "Annie"}]
    ann = {"user": None, "info": {}, "claims": {"name": "Ann"}, "tabs": 1}
    server.send(SNAPSHOT, "a#members", 1, tag(1), {"count": 1, "people/me": ann})
    server.joined("a#members", 1, {"count": 0}, ["people"])
    server.sees("members.state.people?.get(client.member).claims.name === 'Ann'")
    assert page.evaluate("members.state.count") == 1
    page.evaluate("void room.members({ name: 'Anna' })")
    assert server.expect(JOIN) == [JOIN, "a#members", 1, tag(1), {"name": "Anna"}]
    refused = page.evaluate("""() => {
      try { room.members('x'.repeat(1024)); } catch ({ code }) { return code; }
    }""")
    assert refused == "too_large"


def test_details_that_cannot_be_sent_leave_the_room_as_it_was(server: Server, page: Page) -> None:
    refused = page.evaluate("""() => {
      try { client.room('a', () => 1); } catch ({ code }) { return code; }
    }""")
    assert refused == "invalid"
    page.evaluate("void add(5)")
    assert server.expect(CALL)[4] == {"amount": 5}


def test_leaving_a_room_rejects_what_is_pending_there(server: Server, page: Page) -> None:
    page.evaluate("void add(5), room.leave()")
    server.expect(LEAVE)
    server.sees("answers.length")
    assert page.evaluate("answers") == ["left: you left a"]
    assert page.evaluate("room.state.count") == 10


def test_keys_are_set_and_deleted_and_events_told(server: Server, page: Page) -> None:
    page.evaluate("void [room.set('__proto__', { deep: 1 }), room.delete('count')]")
    assert page.evaluate("JSON.stringify(room.state)") == '{"__proto__":{"deep":1}}'
    assert server.expect(WRITE)[2:] == ["a", {"__proto__": {"deep": 1}}, []]
    assert server.expect(WRITE)[2:] == ["a", {}, ["count"]]
    page.evaluate("void room.on('wave', (...said) => { window.heard = said; })")
    assert page.evaluate("room.send('wave', [1])")
    assert server.expect(SEND) == [SEND, "a", "wave", [1]]
    assert page.evaluate("room.send('wave')")
    assert server.expect(SEND) == [SEND, "a", "wave", None]
    sender = {"id": "m", "user": None, "info": {"name": "Ann"}}
    for told in (sender, None):
        server.send(EVENT, "a", "wave", [2], told)
        server.wait(lambda: page.evaluate("window.heard") == [[2], told])  # noqa: B023


def test_attributes_show_a_room_and_change_it(server: Server, page: Page) -> None:
    page.evaluate(BIND, MARKUP)
    hostile = "<img src=x onerror=alert(1)>"
    server.send(SNAPSHOT, "a", 5, tag(5), {"text": hostile, "done": True})
    server.joined("a", 5)
    assert server.expect(JOIN)[1] == "b"
    server.send(SNAPSHOT, "b", 5, tag(5), {"text": "inner"})
    server.joined("b", 5)
    server.sees("inner.textContent === 'inner'")
    assert page.locator("#text").text_content() == hostile
    assert page.locator("#field").input_value() == hostile
    assert page.locator("#check").is_checked()

    page.fill("#field", "typed")
    server.send(PATCH, "a", 6, tag(5), tag(6), {"text": "of others"}, ["done"])
    server.sees("document.querySelector('#text').textContent === 'of others'")
    assert page.locator("#field").input_value() == "typed"
    assert not page.locator("#check").is_checked()
    page.locator("#field").blur()
    assert server.expect(WRITE)[2:] == ["a", {"text": "typed"}, []]
    page.check("#check")
    assert server.expect(WRITE)[2:] == ["a", {"done": True}, []]
    page.click("#button")
    assert server.expect(CALL)[2:] == ["a", "add", {"amount": 2}]

    page.fill("[name=text]", "hot")
    page.fill("[name=count]", "3")
    page.check("[value=large]")
    page.click("#submit")
    assert server.expect(CALL)[2:] == [
        *("a", "order"),
        {"kind": "tea", "text": "hot", "count": 3, "now": False, "size": "large", "milk": "oat"},
    ]
    assert page.locator("[name=text]").input_value() == ""


LIST = """
<section data-room="a">
  <input type="radio" name="c" value="red" data-bind="color">
  <input type="radio" name="c" value="blue" data-bind="color">
  <select data-bind="count"><option>1</option><option>2</option></select>
  <input type="date" data-bind="day"> <input type="number" data-bind="size">
  <ul data-each="notes"><template>
    <li><b data-bind="text"></b> <button data-call="remove" data-id="note">x</button></li>
  </template></ul>
  <form data-call="note" data-id="none"><input name="text"> <button id="send">Send</button>
    <p data-error></p></form>
</section>"""


def test_fields_of_each_type_and_lists_are_shown_and_changed(server: Server, page: Page) -> None:
    page.evaluate(BIND, LIST)
    state = {"color": "blue", "count": 2, "day": msgpack.Timestamp(86_400), "size": 3}
    notes = {"notes/b": {"text": "<i>b"}, "notes/a": {"text": "a"}}
    server.send(SNAPSHOT, "a", 5, tag(5), {**state, **notes})
    server.joined("a", 5)
    items = page.locator("li")
    server.sees("document.querySelectorAll('li').length === 2")
    assert items.locator("b").all_text_contents() == ["a", "<i>b"]
    assert [each.is_checked() for each in page.locator("[type=radio]").all()] == [False, True]
    values = "[...document.querySelectorAll('select, [type=date], [type=number]')]"
    assert page.evaluate(f"{values}.map(({{ value }}) => value)") == ["2", "1970-01-02", "3"]
    page.check("[value=red]")
    assert server.expect(WRITE)[3] == {"color": "red"}
    page.select_option("select", "1")
    assert server.expect(WRITE)[3] == {"count": 1}
    page.fill("[type=number]", "")
    page.locator("[type=number]").blur()
    assert server.expect(WRITE)[3] == {"size": None}
    page.evaluate("void (window.first = document.querySelector('[data-item=a]'))")
    server.send(PATCH, "a", 6, tag(5), tag(6), {"notes/0": {"text": "0"}}, ["notes/b"])
    server.sees("document.querySelector('li b').textContent === '0'")
    assert items.locator("b").all_text_contents() == ["0", "a"]
    assert page.evaluate("document.querySelector('[data-item=a]') === first")
    items.last.locator("button").click()
    assert server.expect(CALL)[3:] == ["remove", {"note": "a"}]


def test_a_form_that_is_refused_gets_its_text_back_and_says_why(server: Server, page: Page) -> None:
    page.evaluate(BIND, LIST)
    text, error = page.locator("[name=text]"), page.locator("[data-error]")
    text.fill("half a sentence")
    page.click("#send")
    number = server.expect(CALL)[1]
    assert text.input_value() == ""
    server.send(ERROR, number, "refused", "too many", "a")
    server.sees("document.querySelector('[data-error]').textContent === 'too many'")
    assert text.input_value() == "half a sentence"
    page.click("#send")
    number = server.expect(CALL)[1]
    assert error.text_content() == ""
    text.fill("the next one")
    server.send(ERROR, number, "refused", "too many", "a")
    server.sees("document.querySelector('[data-error]').textContent === 'too many'")
    assert text.input_value() == "the next one"
    assert page.evaluate("errors") == []


OUTSIDE = """
<section data-room="a">
  <input data-bind="title"> <div><button data-call="vote">Vote</button></div>
  <form data-call="note"><input name="text"> <p data-error></p></form>
  <p id="why" data-error></p>
</section>"""


def test_a_refusal_outside_a_form_is_shown_in_the_rooms_element(server: Server, page: Page) -> None:
    page.evaluate(BIND, OUTSIDE)
    server.send(SNAPSHOT, "a", 5, tag(5), {"title": "short"})
    server.joined("a", 5)
    server.sees("document.querySelector('[data-bind]').value === 'short'")
    page.click("text=Vote")
    server.send(ERROR, server.expect(CALL)[1], "refused", "it is closed", "a")
    server.sees("why.textContent === 'it is closed'")
    page.fill("[data-bind]", "long")
    page.locator("[data-bind]").blur()
    number = server.expect(WRITE)[1]
    assert page.locator("#why").text_content() == ""
    server.send(ERROR, number, "invalid", "too long", "a")
    server.sees("why.textContent === 'too long'")
    assert page.locator("form [data-error]").text_content() == ""
    assert page.evaluate("errors") == []


def test_a_field_that_is_left_shows_what_came_meanwhile(server: Server, page: Page) -> None:
    page.evaluate(BIND, MARKUP)
    field = page.locator("#field")
    field.focus()
    server.send(PATCH, "a", 2, tag(1), tag(2), {"text": "of others"}, [])
    server.sees("room.state.text === 'of others'")
    assert field.input_value() == ""
    field.blur()
    assert field.input_value() == "of others"

    field.fill("refused")
    field.press("Enter")
    server.send(ERROR, server.expect(WRITE)[1], "invalid", "too short", "a")
    server.sees("errors.includes('too short')")
    assert field.input_value() == "refused"
    field.blur()
    assert field.input_value() == "of others"


def test_what_attributes_asked_for_and_was_refused_is_reported(server: Server, page: Page) -> None:
    page.evaluate(BIND, MARKUP)
    page.click("#button")
    server.send(ERROR, server.expect(CALL)[1], "refused", "not so fast", "a")
    server.sees("errors.includes('not so fast')")

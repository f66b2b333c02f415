"""The browser client loads collections with the first state that has some, which waits for them."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.baking import APP
from tests.test_client import (
    ACK,
    CALL,
    ERROR,
    EVENT,
    JOIN,
    PATCH,
    PING,
    PONG,
    SNAPSHOT,
    START,
    Server,
    client_page,
    stop_clock,
    tag,
)

NOTE = """() => {
  room.optimistic('note', (state, { id }) => { state.notes.set(id, 1); });
  window.seen = [];
  room.subscribe(({ count, notes }) => seen.push([count, notes && [...notes.keys()].join()]));
  room.on('wave', (payload) => seen.push(payload));
  room.on('$status', (status) => seen.push(status));
}"""


class Module:
    """Whether the module of collections comes, and who asked for it."""

    def __init__(self, page: Page) -> None:
        self.asked: list[Route] = []
        page.route("**/collection.js", self._ask)

    def _ask(self, route: Route) -> None:
        self.asked.append(route)

    def come(self) -> None:
        for route in self.asked:
            path = APP / "gospa/client/collection.js"
            route.fulfill(path=path, content_type="text/javascript")
        self.asked.clear()

    def fail(self) -> None:
        for route in self.asked:
            route.abort("connectionrefused")
        self.asked.clear()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with client_page(browser) as page:
        yield page


@pytest.fixture
def module(page: Page) -> Module:
    return Module(page)


@pytest.fixture
def server(page: Page) -> Server:
    """A server with a client that has asked to join room `a`."""
    server = Server(page)
    page.evaluate(START, {})
    page.evaluate(NOTE)
    server.welcome()
    server.expect(JOIN)
    return server


def join(server: Server, version: int, *notes: str) -> None:
    state = {"count": version, **{f"notes/{note}": 1 for note in notes}}
    server.send(SNAPSHOT, "a", version, tag(version), state)
    server.joined("a", version, {"count": 0}, ["notes"])


def add(server: Server, version: int, note: str) -> None:
    tags = (tag(version - 1), tag(version))
    server.send(PATCH, "a", version, *tags, {"count": version, f"notes/{note}": 1}, [])


def answered(server: Server, page: Page) -> None:
    """Wait until the page has handled what was sent before, except for what waits."""
    page.evaluate("void (window.pong = false, client.on('latency', () => { pong = true; }))")
    page.evaluate("client.ping()")
    server.expect(PING)
    server.send(PONG)
    server.sees("pong")


def test_all_messages_wait_in_order_until_collections_can_be_shown(
    server: Server, page: Page, module: Module
) -> None:
    page.evaluate("void room.call('note', { id: 'mine' }).then(told)")
    server.send(SNAPSHOT, "a", 1, tag(1), {"count": 1, "notes/a": 1})
    server.wait(lambda: len(module.asked) == 1)  # before the client has joined
    server.joined("a", 1, {"count": 0}, ["notes"])
    server.send(EVENT, "a", "wave", "first")
    add(server, 2, "b")
    server.send(EVENT, "a", "wave", "second")
    answered(server, page)
    assert page.evaluate("[seen, room.state, room.status, heard]") == [[], {}, "joining", []]
    assert server.received == []  # the call waits until the room is joined
    module.come()
    number = server.expect(CALL)[1]
    server.send(ACK, number, 3, "done")
    add(server, 3, "mine")
    server.sees("room.state.count === 3")
    assert page.evaluate("seen") == [
        *([1, "a,mine"], "joined", "first", [2, "a,b,mine"], "second", [3, "a,b,mine"]),
    ]
    assert page.evaluate("[heard, errors, client.pending]") == [["done"], [], 0]


def test_a_page_without_collections_does_not_load_them(
    server: Server, page: Page, module: Module
) -> None:
    server.send(SNAPSHOT, "a", 1, tag(1), {"count": 1, "$schema": 2, "$visits/a": 1})
    server.joined("a", 1)
    server.patch(2, 2)
    server.sees("room.state.count === 2")
    assert module.asked == []
    page.evaluate("void room.newId('notes')")
    assert module.asked == []


def test_the_names_of_empty_collections_are_waited_for(
    server: Server, page: Page, module: Module
) -> None:
    join(server, 1)
    answered(server, page)
    assert page.evaluate("room.state") == {}
    server.wait(lambda: len(module.asked) == 1)
    module.come()
    server.sees("room.state.notes?.size === 0")


def test_the_first_item_of_a_room_that_is_shown_is_waited_for(
    server: Server, page: Page, module: Module
) -> None:
    """As from a host of another release, which has collections that JOINED did not name."""
    server.send(SNAPSHOT, "a", 1, tag(1), {"count": 1})
    server.joined("a", 1, {"count": 0})
    page.evaluate("void add(10)")
    number = server.expect(CALL)[1]
    add(server, 2, "a")
    server.send(ERROR, number, "refused", "no", "a")
    server.wait(lambda: len(module.asked) == 1)
    answered(server, page)
    assert page.evaluate("[room.state.count, answers]") == [11, []]
    module.come()
    server.sees("answers.length")
    assert page.evaluate("seen") == [[1, None], "joined", [11, None], [12, "a"], [2, "a"]]


def test_what_waits_ends_with_its_connection(server: Server, page: Page, module: Module) -> None:
    join(server, 5, "old")
    answered(server, page)
    server.drop()
    server.welcome()
    assert server.expect(JOIN) == [JOIN, "a", None, None]
    join(server, 6, "new")
    answered(server, page)
    assert page.evaluate("seen") == []
    module.come()
    server.sees("seen.length")
    assert page.evaluate("[seen, errors]") == [[[6, "new"], "joined"], []]


def test_an_acknowledgement_that_waits_when_the_connection_ends_is_asked_for_again(
    server: Server, page: Page, module: Module
) -> None:
    server.send(SNAPSHOT, "a", 1, tag(1), {"count": 1})
    server.joined("a", 1, {"count": 0})
    page.evaluate("void add(1)")
    call = server.expect(CALL)
    add(server, 2, "a")
    server.send(ACK, call[1], 3, "done")
    answered(server, page)
    server.drop()
    module.come()
    server.welcome()
    assert server.expect(JOIN) == [JOIN, "a", 1, tag(1)]
    add(server, 2, "a")
    add(server, 3, "b")
    server.joined("a", 3, {"count": 0}, ["notes"])
    assert server.expect(CALL) == call
    server.send(ACK, call[1], 3, None)
    server.sees("!client.pending")
    assert page.evaluate("[answers, seen.at(-1), errors]") == [[None], [3, "a,b"], []]


def test_collections_that_cannot_be_loaded_are_an_error_and_loaded_again(
    server: Server, page: Page, module: Module
) -> None:
    page.evaluate("void room.call('note', { id: 'mine' }).then(told)")
    for attempt in (1, 2):
        join(server, 1, "a")
        server.wait(lambda: len(module.asked) == 1)
        module.fail()
        server.sees(f"errors.length === {attempt}")
        server.sees("client.status !== 'online'")
        page.evaluate("client.retry()")
        server.welcome()
        assert server.expect(JOIN) == [JOIN, "a", None, None]
    assert all("collection.js" in each for each in page.evaluate("errors"))
    assert page.evaluate("[seen, client.pending]") == [[], 1]
    join(server, 1, "a")
    server.wait(lambda: len(module.asked) == 1)
    module.come()
    server.expect(CALL)
    assert page.evaluate("seen") == [[1, "a,mine"], "joined"]


def test_a_connection_that_ended_is_left_alone_by_collections_that_could_not_be_loaded(
    server: Server, page: Page, module: Module
) -> None:
    stop_clock(page)  # nothing connects again
    join(server, 1, "a")
    server.wait(lambda: len(module.asked) == 1)
    page.evaluate("client.close()")
    module.fail()
    server.sees("errors.length")
    assert page.evaluate("[client.status, statuses.at(-1), seen]") == [
        "closed",
        "closed",
        ["closed"],
    ]

"""The browser client where WebSockets are blocked, against streams that a test writes."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgpack
import pytest
from playwright.sync_api import Browser, Page

from tests.test_client import (
    ACK,
    CALL,
    ERROR,
    JOIN,
    PATCH,
    PING,
    START,
    Server,
    client_page,
    stop_clock,
    tag,
)

BLOCKED = "The server answers, but something on the way blocks WebSockets."
# WebSockets reach nothing while `blocked`; what is fetched is kept, and answered as the test says.
NETWORK = """() => {
window.blocked = true;
window.streams = [];
window.posts = [];
window.codes = { '/ws': 204, '/ws/send': 204, '/ws/stream': 200 };
window.WebSocket = class extends WebSocket {
  constructor(url, protocols) {
    super(blocked ? 'ws://127.0.0.1:1/' : url, blocked ? [] : protocols);
  }
};
const real = window.fetch;
window.fetch = async (url, options = {}) => {
  const { pathname } = new URL(url, location.href);
  const status = codes[pathname];
  if (status === undefined) return real(url, options);
  if (status === 0) throw new TypeError('no network');
  posts.push([pathname, options.body ?? '', status]);
  if (pathname !== '/ws/stream' || status !== 200) return new Response(null, { status });
  const stream = {};
  const body = new ReadableStream({ start(controller) { stream.controller = controller; } });
  options.signal.addEventListener('abort', () => {
    stream.closed = true;
    stream.controller.error(new DOMException('aborted', 'AbortError'));
  });
  streams.push(stream);
  return new Response(body.pipeThrough(new TextEncoderStream()));
};
}"""


class Streams(Server):
    """Speaks with the client over streams, until it comes back over a WebSocket."""

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        page.evaluate(NETWORK)  # now: WebSockets have become those that a test answers
        self.opened = 0  # streams that the client was given the id of
        self.batches: list[tuple[int, list[list[Any]]]] = []
        self.statuses: list[int] = []  # of the answers to them
        self.acknowledges = True
        self._posts = 0

    def send(self, *message: Any) -> None:
        if self.connections:
            super().send(*message)
        else:
            self.write(f"data: {b64encode(msgpack.packb(list(message))).decode()}\n\n")

    def write(self, text: str) -> None:
        """Write to the last stream, if the client has not closed it."""
        self.page.evaluate(
            "(text) => streams.at(-1).closed || streams.at(-1).controller.enqueue(text)", text
        )

    def has(self, count: int) -> bool:
        """Whether so many batches have come."""
        return len(self.batches) == count

    def wait(self, met: Callable[[], bool]) -> None:
        def served() -> bool:
            self._serve()
            return met()

        super().wait(served)

    def open(self) -> None:
        """Wait for another stream, and give it an id."""
        self.sees(f"streams.length > {self.opened}")
        self.opened += 1
        self.write(f"event: open\ndata: stream{self.opened}\n\n")

    def answer(self, path: str, status: int) -> None:
        self.page.evaluate("([path, status]) => { codes[path] = status; }", [path, status])

    def _serve(self) -> None:
        """Take what was posted, and acknowledge it."""
        posts = self.page.evaluate("(from) => posts.slice(from)", self._posts)
        self._posts += len(posts)
        for path, body, status in posts:
            if path != "/ws/send":
                continue
            head, *lines = body.split("\n")
            stream, _, number = head.partition(" ")
            assert stream == f"stream{self.opened}"
            messages = [msgpack.unpackb(b64decode(line)) for line in lines]
            self.batches.append((int(number), messages))
            self.statuses.append(status)
            if self.acknowledges and status == 204:
                self.received += messages
                self.write(f"id: {number}\n")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with client_page(browser) as page:
        yield page


@pytest.fixture
def server(page: Page) -> Streams:
    """A server with a client in room `a` over a stream, at version 1 with count 10."""
    server = Streams(page)
    page.evaluate(START, {})
    server.open()
    server.welcome()
    server.join(1, 10)
    server.sees("shown.length")
    return server


def test_a_client_that_is_blocked_goes_on_over_a_stream_and_says_so(
    server: Streams, page: Page
) -> None:
    assert page.evaluate("client.status") == "online"
    assert page.evaluate("client.why") == (
        "connected over HTTP: something on the way blocks WebSockets"
    )
    assert page.evaluate("client.trouble") == ""
    assert page.evaluate("posts.filter(([path]) => path === '/ws/stream')") == [
        ["/ws/stream", "gospa.v1 gospa.session", 200]
    ]
    page.evaluate("void add(5)")
    call = server.expect(CALL)
    server.send(ACK, call[1], 2, "done")
    server.sees("answers.length && !client.pending")
    server.patch(2, 15)
    server.patch(3, 16)
    server.sees("room.state.count === 16")
    assert page.evaluate("shown") == [10, 15, 16]


def test_what_is_sent_at_once_is_one_batch_and_the_next_waits_for_it(
    server: Streams, page: Page
) -> None:
    server.acknowledges = False
    count = len(server.batches)
    page.evaluate("void [1, 2, 3].map(add)")
    server.wait(lambda: len(server.batches) > count)
    page.evaluate("void add(4)")
    number, messages = server.batches[-1]
    assert [message[4]["amount"] for message in messages] == [1, 2, 3]
    assert page.evaluate("new Promise((go) => setTimeout(go, 300, posts.length))") == page.evaluate(
        "posts.length"
    )
    server.acknowledges = True
    server.write(f"id: {number}\n")
    server.wait(lambda: server.batches[-1][0] == number + 1)
    assert [message[4]["amount"] for message in server.batches[-1][1]] == [4]


@pytest.mark.parametrize("status", [503, 429, 0])
def test_a_batch_that_was_not_taken_is_sent_again_under_its_number(
    server: Streams, page: Page, status: int
) -> None:
    server.answer("/ws/send", status)
    page.evaluate("void add(5)")
    if status:
        server.wait(lambda: status in server.statuses)
    server.answer("/ws/send", 204)
    call = server.expect(CALL)
    assert call[4] == {"amount": 5}
    numbers = [number for number, _ in server.batches]
    assert numbers[-1] == (numbers[-2] if status else numbers[-2] + 1)
    server.send(ACK, call[1], 2, None)
    server.sees("!client.pending && client.status === 'online'")


@pytest.mark.parametrize("status", [400, 404, 413])
def test_a_batch_that_is_refused_for_good_ends_the_stream(
    server: Streams, page: Page, status: int
) -> None:
    server.answer("/ws/send", status)
    page.evaluate("void add(5)")
    server.sees("streams[0].closed")
    server.answer("/ws/send", 204)
    server.open()
    server.welcome()
    server.join(1, 10)
    server.send(ACK, server.expect(CALL)[1], 2, None)
    server.sees("!client.pending")


def test_a_ping_is_answered_with_an_empty_batch(server: Streams) -> None:
    server.wait(lambda: bool(server.batches))
    number, _ = server.batches[-1]
    server.write("event: ping\ndata:\n\n")
    server.wait(lambda: server.batches[-1] == (number + 1, []))


def test_a_ping_is_answered_also_if_timers_are_held_back(server: Streams, page: Page) -> None:
    stop_clock(page)
    page.evaluate("void add(5)")
    server.expect(CALL)
    last, _ = server.batches[-1]
    for _ in range(3):
        count = len(server.batches) + 1
        server.write("event: ping\ndata:\n\n")
        server.wait(partial(server.has, count))
    assert server.batches[-3:] == [(last + 1, []), (last + 2, []), (last + 3, [])]


def test_a_message_may_come_in_lines_and_with_others_between(server: Streams) -> None:
    patch = msgpack.packb([PATCH, "a", 2, tag(1), tag(2), {"count": 11}, []])
    first, second = b64encode(patch[:10]).decode(), b64encode(patch[10:]).decode()
    for text in (": a comment\n", f"data: {first}\nid: 1", "\n", f"data: {second}", "\n", "\n"):
        server.write(text)
    server.sees("room.state.count === 11")


@pytest.mark.parametrize("partly", ["", "data: AAAA\n"])
def test_the_server_ends_a_stream_with_a_code(server: Streams, page: Page, partly: str) -> None:
    server.write(f"{partly}event: close\ndata: 4502 the session ended\n\n")
    server.sees("client.status === 'unauthorized'")
    assert page.evaluate("client.why") == (
        "the server ended the connection: the session ended (4502)"
    )
    assert page.evaluate("errors") == []
    assert page.evaluate("streams[0].closed")


def test_a_stream_that_breaks_is_followed_by_another_and_nothing_is_shown_twice(
    server: Streams, page: Page
) -> None:
    page.evaluate("void add(5)")
    call = server.expect(CALL)
    page.evaluate("streams[0].controller.close()")
    server.open()
    server.welcome()
    assert server.join(3, 117) == [JOIN, "a", 1, tag(1)]
    assert server.expect(CALL) == call
    server.send(ACK, call[1], 2, None)
    server.sees("!client.pending")
    assert page.evaluate("shown") == [10, 15, 117]


def test_it_goes_back_to_a_websocket_once_one_is_answered(server: Streams, page: Page) -> None:
    page.evaluate("dispatchEvent(new Event('online'))")  # it is tried again now, in vain
    page.evaluate("void add(5)")
    call = server.expect(CALL)
    page.evaluate("blocked = false; dispatchEvent(new Event('online'))")
    server.welcome()  # on the connection that was only tried
    client = server.welcome()
    assert len(server.connections) == 2
    assert len(client) == 16
    server.join(1, 10)
    assert server.expect(CALL) == call
    server.send(ACK, call[1], 2, None)
    server.patch(2, 15)
    server.sees("!client.pending && client.status === 'online'")
    assert page.evaluate("[client.why, streams[0].closed, streams.length]") == ["", True, 1]
    assert page.evaluate("shown") == [10, 15]


def test_changes_made_before_the_first_connection_go_over_the_stream(page: Page) -> None:
    server = Streams(page)
    page.evaluate(START, {"persist": True})
    page.evaluate("void add(7)")
    server.open()
    server.welcome()
    server.join(1, 10)
    call = server.expect(CALL)
    server.send(ACK, call[1], 2, None)
    server.patch(2, 17)
    server.sees("room.state.count === 17 && !client.pending")


def test_a_server_without_streams_leaves_the_message_and_sockets_are_tried_again(
    page: Page,
) -> None:
    server = Streams(page)
    page.evaluate(START, {})
    server.answer("/ws/stream", 404)
    server.sees("posts.some(([path]) => path === '/ws/stream')")
    server.sees(f"client.trouble === {json.dumps(BLOCKED)}")
    page.evaluate("blocked = false")
    server.welcome()
    server.join(1, 10)
    server.sees("client.status === 'online'")
    assert page.evaluate("[client.why, streams.length]") == ["", 0]


def test_a_page_may_have_a_class_of_its_own_for_websockets(page: Page) -> None:
    server = Streams(page)
    page.evaluate(f"({START})({{ WebSocket: (window.Own = class extends WebSocket {{}}) }})")
    server.open()
    server.welcome()
    server.join(1, 10)
    page.evaluate("""() => {
      window.WebSocket = class extends Own {};
      blocked = false;
      dispatchEvent(new Event('online'));
    }""")
    server.welcome()
    server.welcome()
    server.join(1, 10)
    server.sees("client.status === 'online' && client.why === ''")


@pytest.mark.parametrize("free", ["taken.pop()", "void (protocol = 'h2')"])
def test_a_browser_keeps_connections_free_for_requests(page: Page, free: str) -> None:
    """With HTTP/1.1 it has six to a server, and a seventh request would wait for ever."""
    server = Streams(page)
    page.evaluate("""() => {
      window.protocol = 'http/1.1';
      performance.getEntriesByName = () => [{ nextHopProtocol: protocol }];
      window.taken = ['gospa-stream-0', 'gospa-stream-1', 'gospa-stream-2', 'gospa-stream-3'];
      const request = async (name, options, use) => use(taken.includes(name) ? null : { name });
      Object.defineProperty(navigator, 'locks', { value: { request } });
    }""")
    page.evaluate(START, {})
    server.sees("client.trouble.startsWith('Other tabs')")
    assert page.evaluate("streams.length") == 0
    page.evaluate(free)
    server.open()
    server.welcome()
    server.sees("client.status === 'online'")


def test_a_refusal_is_told_over_a_stream_too(server: Streams, page: Page) -> None:
    server.send(ERROR, None, "kicked", "you were removed", "a")
    server.sees("errors.length")
    assert page.evaluate("[room.status, client.status]") == ["kicked", "online"]


def test_a_silent_server_is_asked(server: Streams, page: Page) -> None:
    page.evaluate("client.ping()")
    assert server.expect(PING) == [PING]

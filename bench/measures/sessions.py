"""What a session costs a request."""

import http.client
import re
import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

from bench.figures import Sample
from bench.peers import TUTORIAL, ours, sanic
from bench.processes import HOST, Child
from bench.setting import Setting

NONE, READ, CHANGED, FILE = "no session", "session read", "session changed", "a file"
CHANGE, STYLE = "/session/change", "/client/style.css"
SESSIONLESS = replace(
    ours(),
    name="the same without sessions",
    command=lambda place, port: sanic(place, "sessionless:app", port),
)
PROTECTED = "tutorial Sanic, same headers"
EXPECTED = re.compile(b"hello|font")  # in a page, or in the file
CLIENTS = {"one client": 1, "32 clients": 32}


def measure(setting: Setting) -> Iterator[Sample]:
    """Clients that ask again as soon as they have an answer, all with one visitor's cookie.

    Bare Sanic does one GET instead. It does so once more with the security headers that the
    application adds to each answer. A file of a page is served by Sanic's own `static` there.
    """
    with (
        setting.serve(ours()) as own,
        setting.serve(SESSIONLESS) as sessionless,
        setting.serve(TUTORIAL) as bare,
    ):
        routes = [
            (NONE, ours().name, own, "/plain"),
            (NONE, SESSIONLESS.name, sessionless, "/plain"),
            (NONE, TUTORIAL.name, bare, "/plain"),
            (NONE, PROTECTED, bare, "/protected/plain"),
            (READ, ours().name, own, "/session"),
            (READ, TUTORIAL.name, bare, "/session"),
            (READ, PROTECTED, bare, "/protected/session"),
            (CHANGED, ours().name, own, CHANGE),
            (FILE, ours().name, own, STYLE),
            (FILE, TUTORIAL.name, bare, STYLE),
        ]
        cookie = _cookie(own[1])
        for number in setting.rounds(7):
            for crowd, clients in CLIENTS.items():
                setting.say(f"sessions, round {number + 1}: {crowd}")
                for case, subject, (server, port), path in routes:
                    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}"
                    for metric, value in _run(setting, server, port, request, clients):
                        yield Sample("sessions", f"{case}, {crowd}", metric, subject, number, value)


def _cookie(port: int) -> str:
    connection = http.client.HTTPConnection(HOST, port)
    connection.request("GET", CHANGE)
    header = connection.getresponse().headers["Set-Cookie"]
    connection.close()
    return str(header).partition(";")[0]


def _run(
    setting: Setting, server: Child, port: int, request: str, clients: int
) -> Iterator[tuple[str, float]]:
    requests = (500 if setting.quick else 2000) * (5 if clients > 1 else 1)
    _ask(port, request, clients, requests // 10)
    cpu, began = server.cpu(), time.perf_counter()
    _ask(port, request, clients, requests)
    yield "requests/s", requests / (time.perf_counter() - began)
    yield "us CPU per request", (server.cpu() - cpu) / requests * 1e6


def _ask(port: int, request: str, clients: int, requests: int) -> None:
    with selectors.DefaultSelector() as selector:
        sockets = [socket.create_connection((HOST, port)) for _ in range(clients)]
        for one in sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(one, selectors.EVENT_READ, one)
        message = f"{request}\r\n\r\n".encode()
        for one in sockets:
            one.send(message)
        unsent = requests - clients
        while len(selector.get_map()):
            for key, _ in selector.select():
                answer = key.data.recv(65_536)  # they are small, and come whole
                if not answer.startswith(b"HTTP/1.1 200") or not EXPECTED.search(answer):
                    raise ValueError(f"{request.splitlines()[0]} is answered with {answer!r:.100}")
                if unsent > 0:
                    key.data.send(message)
                    unsent -= 1
                else:
                    selector.unregister(key.data)
                    key.data.close()

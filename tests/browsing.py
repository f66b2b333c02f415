"""Serve a generated project, put things in the way, and look at it with a real browser."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Self

from playwright.sync_api import BrowserContext, Page, expect

TIMEOUT = 40  # seconds
START_TIMEOUT = 120  # for several processes that all load an application

expect.set_options(timeout=TIMEOUT * 1000)


class Site(NamedTuple):
    """A served project."""

    address: str
    workers: int


_held: list[socket.socket] = []


def free_port() -> int:
    """A TCP port for a server that this process starts: no other process is given it meanwhile."""
    while True:
        port = secrets.choice(range(10_000, 32_768))  # from there on they are given to connections
        holder = socket.socket()
        with contextlib.suppress(OSError):
            holder.bind(("127.0.0.1", port))
            _hold(holder)
            return port
        holder.close()


def _hold(holder: socket.socket) -> None:
    """Keep the port for a server, which may bind it beside one that reuses it and does not listen.

    Other systems would refuse that.
    """
    if sys.platform == "linux":
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _held.append(holder)
    else:
        holder.close()


def wait_for(met: Callable[[], bool], within: float = TIMEOUT) -> None:
    """Return once the condition is met."""
    deadline = time.monotonic() + within
    while not met():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


@contextmanager
def serving(
    project: Path,
    workers: int,
    environment: Mapping[str, str] = MappingProxyType({}),
    *,
    debug: bool = False,
) -> Iterator[str]:
    """Run the project; yields its address. With `debug`, it sees files as they are changed."""
    port = free_port()
    command = [sys.executable, "-m", "sanic", "app", f"--workers={workers}", f"--port={port}"]
    command += ["--debug"] * debug
    with (project / "sanic.log").open("wb") as log:
        server = subprocess.Popen(
            command,
            cwd=project,
            env={**os.environ, "GOSPA_DEMO": "true", **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(address), START_TIMEOUT)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(TIMEOUT)
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)


def answers(address: str) -> bool:
    """Whether the project says that it is ready."""
    try:
        with urllib.request.urlopen(f"{address}/health/ready", timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


class Store:
    """A Redis of the test's own, that writes everything to disk at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        """Start it with what it had."""
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        assert program, "there is no Redis"
        options = ["--port", str(self._port), "--dir", str(self._folder), "--save", ""]
        durable = ["--appendonly", "yes", "--appendfsync", "always"]
        self._process = subprocess.Popen(
            [program, *options, *durable], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(self._answers)

    def kill(self) -> None:
        """End it as a power failure would."""
        self._process.kill()
        self._process.wait()

    @contextmanager
    def hung(self) -> Iterator[None]:
        """It answers nobody, and later everybody who asked meanwhile."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False


def place_of(address: str) -> tuple[str, int]:
    """The host and port of an address."""
    host, _, port = address.removeprefix("http://").partition(":")
    return host, int(port)


class Relay:
    """A way to a site that can be cut, or be held up in the direction of the browser.

    While `without_sockets`, it ends connections that become WebSockets, as some proxies do.
    """

    without_sockets = False

    def __init__(self, address: str) -> None:
        self._targets = [place_of(address)]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: set[socket.socket] = set()
        self._changing = threading.Lock()  # so that no connection that begins outlives a cut
        self._flowing = threading.Event()
        self._flowing.set()
        self._up = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._flowing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End all connections, and take no new ones."""
        with self._changing:
            self._up = False
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Take connections again."""
        self._up = True

    def end_sockets(self) -> None:
        """End what is open, and let no WebSocket through from now on."""
        self.without_sockets = True
        self.cut()
        self.mend()

    def lead_to(self, *addresses: str) -> None:
        """Have each new connection lead to one of these sites, as a load balancer does."""
        self._targets = [place_of(address) for address in addresses]

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Nothing reaches the browser."""
        self._flowing.clear()
        try:
            yield
        finally:
            self._flowing.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                browser, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(browser,), daemon=True).start()

    def _connect(self, browser: socket.socket) -> None:
        with (
            browser,
            contextlib.suppress(OSError),  # the site is gone
            socket.create_connection(secrets.choice(self._targets)) as site,
        ):
            ends = {browser, site}
            with self._changing:
                if not self._up:
                    return
                self._sockets |= ends
            back = threading.Thread(target=self._pump, args=(site, browser, self._flowing))
            back.start()
            self._pump(browser, site, None)
            back.join()
            with self._changing:
                self._sockets -= ends

    def _pump(
        self, source: socket.socket, sink: socket.socket, flowing: threading.Event | None
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if flowing:
                    flowing.wait()
                elif self.without_sockets and b"\r\nUpgrade: websocket\r\n" in data:
                    break
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def open_tab(visitor: BrowserContext, board: str, address: str = "") -> Page:
    """A tab that shows a board, connected."""
    page = visitor.new_page()
    page.goto(f"{address}/#{board}")
    expect_online(page)
    expect(page.locator("#count")).not_to_have_text("·")
    return page


def expect_online(page: Page) -> None:
    """Wait until the page has its connection."""
    expect(page.locator("#status")).to_have_attribute("data-status", "online")


def expect_saved(page: Page) -> None:
    """Wait until nothing waits for the server."""
    expect(page.locator("#waiting")).to_have_attribute("data-count", "0")
    expect(page.locator("#waiting")).to_have_text("")


def worker(page: Page) -> str:
    """The process that serves the page."""
    return str(page.locator("#worker").get_attribute("data-pid"))


def open_tabs_on_workers(visitor: BrowserContext, count: int, board: str) -> list[Page]:
    """Tabs that are each answered by another worker."""
    tabs: dict[str, Page] = {}
    for _ in range(100):
        page = open_tab(visitor, board)
        if tabs.setdefault(worker(page), page) is not page:
            page.close()
        if len(tabs) == count:
            return list(tabs.values())
    raise AssertionError(f"only workers {list(tabs)} answered")

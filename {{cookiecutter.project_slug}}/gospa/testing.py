"""Fixtures for tests of an application; a pytest plugin, loaded by `conftest.py`.

| fixture    | what it gives                                                             |
|------------|---------------------------------------------------------------------------|
| `site`     | the application of app.py, served in this process: a `Site`               |
| `connect`  | connects the Python client to it: `async with connect(user="ann") as ann`  |
| `http`     | an HTTP client of it, which keeps cookies and follows redirects           |
| `open_app` | serves it, or other rooms and views, with other settings: see `OpenApp`   |
| `address`  | the host and port of `site`                                               |
| `settings` | settings with a key prefix for this test alone                            |
| `backends` | the backends that app.py chose                                            |

Tests run on the chosen backends. If they need a development store, one is started. Settings in the
developer's environment are ignored.
"""

import asyncio
import contextlib
import importlib
import inspect
import itertools
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple, Protocol

import httpx
import msgspec
import pytest
from sanic import Blueprint, Sanic

from gospa.app import Backends, Extra, create_app
from gospa.client import Client, Refused
from gospa.client import connect as open_client
from gospa.environment import load_settings
from gospa.room import Room
from gospa.sessions.attributes import cookie_name
from gospa.settings import Settings

__all__ = ["Connect", "OpenApp", "Refused", "Site", "cookie_of", "logged_in", "serve", "until"]

PATIENCE = 40  # seconds that a client waits, for example for a state
_numbers = itertools.count()


async def until(
    met: Callable[[], bool] | Callable[[], Awaitable[bool]], within: float = 40
) -> None:
    """Return once the condition is met; raises TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            outcome = met()
            if await outcome if inspect.isawaitable(outcome) else outcome:
                return
            await asyncio.sleep(0.02)


async def logged_in(app: Sanic, user: str, **values: Any) -> str:
    """Make a session of `user`, without a page; returns the Cookie header of its client."""
    store = app.ctx.sessions
    record = store.create()
    record.session.log_in(user, record.session.created)
    record.session.update(values)
    assert await store.log_in(record)
    return f"{cookie_name(app, plain=True)}={record.token}"


def cookie_of(client: httpx.AsyncClient) -> str:
    """The Cookie header of an HTTP client, for a socket of the same visitor."""
    return "; ".join(f"{name}={value}" for name, value in client.cookies.items())


# A served application


@asynccontextmanager
async def serve(app: Sanic, **where: Any) -> AsyncIterator[str]:
    """Serve an application in this process, with its listeners; yields its host and port.

    `where` are other arguments of Sanic's that say where to listen, such as `unix="/tmp/socket"`.
    """
    # asyncio sends small frames at once (TCP_NODELAY) only where the protocol is named.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        where = where or {"sock": listener}
        app.config.TOUCHUP = False  # compiling Sanic's handlers again takes longer than most tests
        server: Any = await app.create_server(return_asyncio_server=True, **where)
        await server.startup()
        await server.before_start()
        await server.start_serving()
        try:
            await server.after_start()
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            await server.before_stop()
            await server.close()
            await server.after_stop()


class Site(NamedTuple):
    """A served application."""

    app: Sanic
    address: str

    async def log_in(self, user: str, **values: Any) -> str:
        """Make a session of `user` with these values; returns a Cookie header."""
        return await logged_in(self.app, user, **values)

    @asynccontextmanager
    async def connect(
        self, *, user: str = "", cookie: str = "", **options: Any
    ) -> AsyncIterator[Client]:
        """Connect a client of a new visitor, of a user, or of the session of a cookie.

        `options` are those of `gospa.client.connect`.
        """
        cookie = await self.log_in(user) if user else cookie
        options = {"patience": PATIENCE, **options}
        async with open_client(f"ws://{self.address}/ws", cookie=cookie, **options) as client:
            yield client

    @asynccontextmanager
    async def http(self, *, user: str = "", **options: Any) -> AsyncIterator[httpx.AsyncClient]:
        """Open an HTTP client that keeps cookies and follows redirects, as browsers do."""
        defaults = {"base_url": f"http://{self.address}", "timeout": PATIENCE}
        options = {**defaults, "follow_redirects": True, **options}
        async with httpx.AsyncClient(**options) as client:
            if user:
                name, _, token = (await self.log_in(user)).partition("=")
                client.cookies.set(name, token, self.address.partition(":")[0])
            yield client


class Connect(Protocol):
    """Type of the fixture `connect`; arguments are those of `Site.connect`."""

    def __call__(
        self, *, user: str = "", cookie: str = "", **options: Any
    ) -> AbstractAsyncContextManager[Client]: ...


class OpenApp(Protocol):
    """Type of the fixture `open_app`.

    `async with open_app() as site` serves the application of app.py. `open_app(session_idle=5)`
    changes its settings. `open_app([Poll], views=[blueprint])` serves an application that has only
    these rooms, views and extras.
    """

    def __call__(
        self,
        rooms: Sequence[type[Room]] | None = None,
        views: Sequence[Blueprint] = (),
        extras: Sequence[Extra] = (),
        **settings: Any,
    ) -> AbstractAsyncContextManager[Site]: ...


# Fixtures


@pytest.fixture(scope="session", autouse=True)
def _gospa_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the settings of the developer's shell from tests."""
    with pytest.MonkeyPatch.context() as patch:
        # An empty folder: loading all certificates takes 40 ms for each HTTP client.
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("certificates")))
        patch.delenv("SSL_CERT_FILE", raising=False)  # it would have precedence
        patch.setenv("no_proxy", "*")  # the servers of tests are on this machine
        for name in os.environ:
            if name.startswith("GOSPA_") or name in ("REDIS_URL", "REQUIRE_SHARED"):
                patch.delenv(name)
        patch.setattr(Sanic, "test_mode", True)  # applications of the same name may follow
        yield


@pytest.fixture(scope="session")
def backends(_gospa_environment: None) -> Backends:
    """The backends that app.py chose."""
    chosen: Backends = importlib.import_module("app").BACKENDS
    return chosen


@pytest.fixture(scope="session")
def _gospa_prepared(
    backends: Backends, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """Settings with prepared backends, such as a running store, as in the main process."""
    directory = str(tmp_path_factory.mktemp("store"))
    with contextlib.ExitStack() as stack:
        yield backends.prepare(Settings(store_directory=directory), stack)


@pytest.fixture
def settings(_gospa_prepared: Settings) -> Settings:
    """Settings with a key prefix for this test alone."""
    prefix = f"t{os.getpid()}-{next(_numbers)}:"
    return load_settings({"REDIS_URL": _gospa_prepared.redis_url, "GOSPA_KEY_PREFIX": prefix})


@pytest.fixture
def open_app(settings: Settings, backends: Backends) -> OpenApp:
    """Serves an application in this process: see `OpenApp`."""

    @asynccontextmanager
    async def open_app(
        rooms: Sequence[type[Room]] | None = None,
        views: Sequence[Blueprint] = (),
        extras: Sequence[Extra] = (),
        **changes: Any,
    ) -> AsyncIterator[Site]:
        changed = msgspec.structs.replace(settings, **changes)
        if rooms is None:
            assert not views, "name the rooms as well, for example open_app(ROOMS, views)"
            app = _own_app()
            app.ctx.settings = changed
        else:
            name = f"test_{next(_numbers)}"
            app = create_app(name, backends, rooms, changed, views=views, extras=extras)
        try:
            async with serve(app) as address:
                yield Site(app, address)
        finally:
            Sanic.unregister_app(app)

    return open_app


def _own_app() -> Sanic:
    """A new application of app.py: the same one cannot be served twice."""
    before = sys.modules.pop("app", None)
    try:
        app: Sanic = importlib.import_module("app").app
    finally:
        if before is not None:
            sys.modules["app"] = before
    return app


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    """The application of app.py, served."""
    async with open_app() as site:
        yield site


@pytest.fixture
def address(site: Site) -> str:
    """The host and port of the served application."""
    return site.address


@pytest.fixture
def connect(site: Site) -> Connect:
    """Connects clients to the served application: see `Site.connect`."""
    return site.connect


@pytest.fixture
async def http(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the served application."""
    async with site.http() as client:
        yield client

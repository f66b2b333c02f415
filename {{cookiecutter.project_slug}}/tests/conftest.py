"""What tests share: settings with a store behind them, a running app, clients."""

import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import hypothesis
import msgspec
import pytest
from sanic import Blueprint, Sanic

import app as chosen
from gospa.app import create_app
from gospa.pubsub import PubSub
from gospa.room import Room
from gospa.settings import Settings, load_settings
from gospa.store.contract import StateStore
from rooms import ROOMS
from tests.gospa.member import Member
from tests.gospa.serving import serve

_numbers = itertools.count()

# How fast a machine is says nothing of whether an example holds.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _environment() -> Iterator[None]:
    """Tests see no settings of the developer's shell."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("GOSPA_") or name in ("REDIS_URL", "REQUIRE_SHARED"):
                patch.delenv(name)
        Sanic.test_mode = True
        yield


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, _environment: None) -> Iterator[Settings]:
    """Settings with what the chosen backends need running, as the main process prepares it."""
    directory = str(tmp_path_factory.mktemp("store"))
    with contextlib.ExitStack() as stack:
        yield chosen.BACKENDS.prepare(Settings(store_directory=directory), stack)


@pytest.fixture
def settings(prepared: Settings) -> Settings:
    """Settings under a key prefix of this test's own."""
    return load_settings(
        {"REDIS_URL": prepared.redis_url, "GOSPA_KEY_PREFIX": f"t{os.getpid()}-{next(_numbers)}:"}
    )


@pytest.fixture
async def pubsub(settings: Settings) -> AsyncIterator[PubSub]:
    async with chosen.BACKENDS.pubsub.open(settings) as pubsub:
        yield pubsub


@pytest.fixture
async def store(settings: Settings, pubsub: PubSub) -> AsyncIterator[StateStore]:
    async with chosen.BACKENDS.state.open(settings, pubsub) as store:
        yield store


OpenApp = Callable[..., contextlib.AbstractAsyncContextManager[tuple[Sanic, str]]]


@pytest.fixture
def open_app(settings: Settings) -> OpenApp:
    """Serves the app in this process, with other rooms or settings if need be.

    `async with open_app(rooms, ping_interval=1) as (app, address)`
    """

    @contextlib.asynccontextmanager
    async def open_app(
        rooms: Sequence[type[Room]] = ROOMS, views: Sequence[Blueprint] = (), **changes: Any
    ) -> AsyncIterator[tuple[Sanic, str]]:
        changed = msgspec.structs.replace(settings, **changes)
        app = create_app(
            f"test_{next(_numbers)}",
            chosen.BACKENDS,
            rooms,
            changed,
            views=views,
            extras=chosen.EXTRAS,
        )
        async with serve(app) as address:
            yield app, address

    return open_app


@pytest.fixture
async def address(open_app: OpenApp) -> AsyncIterator[str]:
    """The app's host and port."""
    async with open_app() as (_, address):
        yield address


@pytest.fixture
def connect(address: str) -> Callable[..., contextlib.AbstractAsyncContextManager[Member]]:
    """Opens clients of the app: `async with connect() as member`."""
    return lambda **options: Member.connect(address, **options)

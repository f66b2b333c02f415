"""Fixtures of the engine's tests, which serve rooms of their own."""

import importlib
import math
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import fields
from functools import partial
from typing import Any

import hypothesis
import pytest
from sanic import Blueprint

from gospa import Rooms, rooms_of, trouble
from gospa.app import Backends, Extra
from gospa.environment import load_settings
from gospa.live import mutations
from gospa.pubsub import PubSub
from gospa.room import Room
from gospa.settings import Settings
from gospa.stats import STATS, Stats
from gospa.store.contract import StateStore
from gospa.testing import OpenApp, Site
from tests.gospa.raw_client import ConnectRaw, raw_client
from tests.gospa.raw_stream import STREAMS
from tests.gospa.rooms import ROOMS

EXTRAS: Sequence[Extra] = importlib.import_module("app").EXTRAS

# How fast a machine is says nothing of whether an example holds.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
for name, examples in {"quick": 30, "thorough": 2000}.items():
    untimed = hypothesis.settings.get_profile("untimed")
    hypothesis.settings.register_profile(name, untimed, max_examples=examples)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "untimed"))


@pytest.fixture
def open_app(open_app: OpenApp) -> OpenApp:
    """Serves the engine's own test rooms unless others are given."""

    def open_rooms(
        rooms: Sequence[type[Room]] | None = None,
        views: Sequence[Blueprint] = (),
        extras: Sequence[Extra] = EXTRAS,
        **settings: Any,
    ) -> AbstractAsyncContextManager[Site]:
        served = ROOMS if rooms is None else rooms
        return open_app(served, views, [*extras, STREAMS], **settings)

    return open_rooms


@pytest.fixture(params=["socket", pytest.param("stream", marks=pytest.mark.slow)])
def connect_raw(site: Site, request: pytest.FixtureRequest) -> ConnectRaw:
    """Opens connections to the served application, over which a test sends any message."""
    return partial(raw_client, site, transport=request.param)


@pytest.fixture
def rooms(site: Site) -> Rooms:
    """The rooms of the served application, as the application calls them."""
    return rooms_of(site.app)


@pytest.fixture
async def pubsub(settings: Settings, backends: Backends) -> AsyncIterator[PubSub]:
    async with backends.pubsub.open(settings) as pubsub:
        yield pubsub


@pytest.fixture
async def store(
    settings: Settings, backends: Backends, pubsub: PubSub
) -> AsyncIterator[StateStore]:
    async with backends.state.open(settings, pubsub) as store:
        yield store


@pytest.fixture(scope="module")
def shared_settings(_gospa_prepared: Settings, request: pytest.FixtureRequest) -> Settings:
    """Settings for a server that a file's tests share, with a key prefix of that file's own."""
    prefix = f"m{os.getpid()}-{request.path.stem}:"
    return load_settings({"REDIS_URL": _gospa_prepared.redis_url, "GOSPA_KEY_PREFIX": prefix})


@pytest.fixture(autouse=True)
def _trouble() -> None:
    """Each test has its own first line of a trouble in the log."""
    trouble.forget()


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutations that wait share a commit, however slowly a busy machine runs them."""
    monkeypatch.setattr(mutations, "BATCH_TIME", math.inf)


@pytest.fixture
def stats() -> Stats:
    """What this process counts, from zero on."""
    zero = Stats()
    for field in fields(zero):
        setattr(STATS, field.name, getattr(zero, field.name))
    return STATS

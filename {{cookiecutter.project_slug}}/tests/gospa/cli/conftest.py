"""An application and its stores, for commands that open them themselves."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from sanic import Sanic

import app as chosen
from gospa.app import create_app
from gospa.pubsub import PubSub
from gospa.sessions.store import SessionStore
from gospa.settings import Settings
from gospa.store.contract import StateStore
from tests.gospa.backends.state_conformance import change
from tests.gospa.rooms import ROOMS
from tests.gospa.sessions.lifecycle import no_room

ROOM = "sheet/ops"


@pytest.fixture(autouse=True)
def _variables(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", settings.redis_url)
    monkeypatch.setenv("GOSPA_KEY_PREFIX", settings.key_prefix)


@pytest.fixture
async def room(store: StateStore) -> None:
    """A room in the store; what is in memory is gone when it is closed."""
    if not chosen.BACKENDS.state.shared:
        pytest.skip("what memory backends keep is not seen by other processes")
    values = {"count": 3, "raw": b"\x00"}
    await store.commit(ROOM, change(exists=False, set=values))


@pytest.fixture
async def identity(settings: Settings, pubsub: PubSub) -> str:
    """A session of the user Zoë."""
    if not chosen.BACKENDS.storage.shared:
        pytest.skip("what memory backends keep is not seen by other processes")
    async with chosen.BACKENDS.storage.open(settings) as storage:
        store = SessionStore(storage, pubsub, settings, no_room)
        record = store.create()
        record.session.log_in("Zoë", record.session.created)
        assert await store.log_in(record)
    return record.session.identity


@pytest.fixture
def with_sheets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An application with the rooms of these tests in the place of app.py."""
    if not chosen.BACKENDS.state.shared:
        pytest.skip("what memory backends keep is not seen by other processes")
    application = create_app("cli", chosen.BACKENDS, ROOMS)
    module: Any = SimpleNamespace(BACKENDS=chosen.BACKENDS, app=application)
    monkeypatch.setitem(sys.modules, "app", module)
    yield
    Sanic.unregister_app(application)

from collections.abc import AsyncIterator

import pytest

from server.sessions.redis import open_storage
from server.sessions.storage import Storage
from server.settings import Settings
from tests.sessions.conformance import StorageConformance
from tests.sessions.lifecycle import SessionLifecycle


@pytest.fixture
async def storage(settings: Settings) -> AsyncIterator[Storage]:
    async with open_storage(settings) as storage:
        yield storage


class TestRedisStorage(StorageConformance):
    pass


class TestRedisSessions(SessionLifecycle):
    pass

from collections.abc import AsyncIterator

import pytest

from server.sessions.redis import open_storage
from server.sessions.storage import Storage
from server.settings import Settings
from tests.sessions.conformance import StorageConformance


class TestRedisStorage(StorageConformance):
    @pytest.fixture
    async def storage(self, settings: Settings) -> AsyncIterator[Storage]:
        async with open_storage(settings) as storage:
            yield storage

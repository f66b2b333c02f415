from collections.abc import AsyncIterator

import pytest

from server.pubsub import PubSub
from server.pubsub.memory import open_pubsub
from server.settings import Settings
from tests.pubsub.conformance import PubSubConformance


class TestMemoryPubSub(PubSubConformance):
    @pytest.fixture
    async def pubsub(self, settings: Settings) -> AsyncIterator[PubSub]:
        async with open_pubsub(settings) as pubsub:
            yield pubsub

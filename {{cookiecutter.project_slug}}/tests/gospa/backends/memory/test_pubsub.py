from collections.abc import AsyncIterator

import pytest

from gospa.backends.memory.pubsub import MemoryPubSub, open_pubsub
from gospa.pubsub import PubSub
from gospa.settings import Settings
from tests.gospa.backends.pubsub_conformance import PubSubConformance, no_gap


class TestMemoryPubSub(PubSubConformance):
    @pytest.fixture
    async def pubsub(self, settings: Settings) -> AsyncIterator[PubSub]:
        async with open_pubsub(settings) as pubsub:
            yield pubsub

    async def test_a_channel_that_nobody_hears_takes_no_memory(self) -> None:
        pubsub = MemoryPubSub()
        one, other = [await pubsub.subscribe("c", lambda _: None, no_gap) for _ in range(2)]
        await one.close()
        await other.close()
        await other.close()
        assert not pubsub.channels

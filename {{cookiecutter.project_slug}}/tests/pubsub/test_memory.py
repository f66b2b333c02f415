from collections.abc import AsyncIterator

import pytest

from server.pubsub import PubSub
from server.pubsub.memory import MemoryPubSub, open_pubsub
from server.settings import Settings
from tests.pubsub.conformance import PubSubConformance


class TestMemoryPubSub(PubSubConformance):
    @pytest.fixture
    async def pubsub(self, settings: Settings) -> AsyncIterator[PubSub]:
        async with open_pubsub(settings) as pubsub:
            yield pubsub

    async def test_a_channel_that_nobody_hears_any_more_is_forgotten(self) -> None:
        pubsub = MemoryPubSub()
        one, two = [await pubsub.subscribe("c", print, print) for _ in range(2)]
        for subscription in (one, two):
            assert vars(pubsub) != vars(MemoryPubSub())
            for _ in range(2):
                await subscription.close()
        assert vars(pubsub) == vars(MemoryPubSub())

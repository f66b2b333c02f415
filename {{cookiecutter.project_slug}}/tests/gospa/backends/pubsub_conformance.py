"""What every pub/sub does, as one test-suite. Subclass it and give it a `pubsub` fixture."""

import asyncio

from gospa.pubsub import PubSub
from gospa.testing import until


def no_gap() -> None:
    raise AssertionError("nothing was missed")


class PubSubConformance:
    async def test_each_subscriber_hears_each_message_in_order(self, pubsub: PubSub) -> None:
        heard: list[asyncio.Queue[bytes]] = [asyncio.Queue(), asyncio.Queue()]
        for queue in heard:
            await pubsub.subscribe("c", queue.put_nowait, no_gap)
        messages = [bytes([number]) * number for number in range(100)]
        for message in messages:
            await pubsub.publish("c", message)
        async with asyncio.timeout(40):
            for queue in heard:
                assert [await queue.get() for _ in messages] == messages

    async def test_channels_are_apart(self, pubsub: PubSub) -> None:
        one: asyncio.Queue[bytes] = asyncio.Queue()
        two: asyncio.Queue[bytes] = asyncio.Queue()
        await pubsub.subscribe("one", one.put_nowait, no_gap)
        await pubsub.subscribe("two", two.put_nowait, no_gap)
        await pubsub.publish("one", b"1")
        await pubsub.publish("two", b"2")
        async with asyncio.timeout(40):
            assert (await one.get(), await two.get()) == (b"1", b"2")
        assert one.empty()
        assert two.empty()

    async def test_a_closed_subscription_is_silent_and_others_are_not(self, pubsub: PubSub) -> None:
        closed: asyncio.Queue[bytes] = asyncio.Queue()
        stays: asyncio.Queue[bytes] = asyncio.Queue()
        subscription = await pubsub.subscribe("c", closed.put_nowait, no_gap)
        await pubsub.subscribe("c", stays.put_nowait, lambda: None)
        await subscription.close()
        await subscription.close()
        await pubsub.publish("c", b"1")
        async with asyncio.timeout(40):
            assert await stays.get() == b"1"
        assert closed.empty()

    async def test_subscribing_again_after_the_last_one_closed(self, pubsub: PubSub) -> None:
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        for number in range(3):
            subscription = await pubsub.subscribe("c", heard.put_nowait, no_gap)
            await pubsub.publish("c", bytes([number]))
            async with asyncio.timeout(40):
                assert await heard.get() == bytes([number])
            await subscription.close()

    async def test_it_is_connected(self, pubsub: PubSub) -> None:
        await pubsub.subscribe("c", lambda _: None, no_gap)
        await until(lambda: pubsub.connected)

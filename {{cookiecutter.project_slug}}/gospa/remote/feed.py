"""Queues of items for waiting readers, in order of arrival."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeAlias, TypeVar

Item = TypeVar("Item")


class Feed(Generic[Item]):
    """Unread items; if there are more than `longest`, the oldest are dropped."""

    def __init__(self, longest: int | None = None) -> None:
        self._items: deque[Item] = deque(maxlen=longest)
        self._error: Exception | None = None
        self._news = asyncio.Event()

    def put(self, item: Item) -> None:
        self._items.append(item)
        self._news.set()

    def end(self, error: Exception) -> None:
        """Let `next` raise this once all items were read."""
        self._error = error
        self._news.set()

    async def next(self, meets: Callable[[Item], bool] = lambda _: True) -> Item:
        """Wait for the oldest item that meets a condition; remove and return it."""
        while True:
            for index, item in enumerate(self._items):
                if meets(item):
                    del self._items[index]
                    return item
            if self._error is not None:
                raise self._error
            self._news.clear()
            await self._news.wait()


Feeds: TypeAlias = set[Feed[Item]]


async def read(feeds: Feeds[Item], feed: Feed[Item]) -> AsyncGenerator[Item, None]:
    """Iterate over the items of one of these feeds, which gets none after that."""
    try:
        while True:
            yield await feed.next()
    finally:
        feeds.discard(feed)

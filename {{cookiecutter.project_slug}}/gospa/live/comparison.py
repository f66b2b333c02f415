"""Compares the rooms of this worker with the store, as messages may be lost."""

import asyncio
from collections.abc import Sequence

from sanic.log import logger

from gospa import tasks
from gospa.errors import StoreError
from gospa.live.local_room import LocalRoom
from gospa.store.contract import StateStore


async def compare_tags(store: StateStore, rooms: Sequence[LocalRoom]) -> None:
    """Have rooms loaded again whose newest commit in the store is another."""
    missing = 0
    behind: list[tuple[LocalRoom, bytes, bytes]] = []
    try:
        for some in tasks.batches(rooms):
            since = [local.follower.replica.tag for local in some]
            tags = await store.latest_tags([local.key for local in some])
            missing += len(some) - len(tags)
            behind += [
                (local, tags[local.key], tag)
                for local, tag in zip(some, since, strict=True)
                if local.key in tags and not local.follower.replica.passed(tags[local.key], tag)
            ]
    except StoreError as error:
        logger.warning("rooms cannot be compared with the store: %s", error)
    if missing:
        logger.warning("%d of %d rooms cannot be compared with the store", missing, len(rooms))
    await asyncio.gather(*(local.follower.compare(tag, since) for local, tag, since in behind))

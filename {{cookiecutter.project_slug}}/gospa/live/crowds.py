"""Publishes the member counts of large rooms, with which other workers count fan-out."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from gospa import tasks
from gospa.errors import StoreError
from gospa.live import wire
from gospa.live.local_room import LocalRoom
from gospa.pubsub import PubSub
from gospa.store.contract import channel

CROWD = 16  # members in this worker from which on a room's count is published
INTERVAL = 5.0  # seconds between publications


async def publish_crowds(worker: str, pubsub: PubSub, rooms: Mapping[str, LocalRoom]) -> None:
    """Publish the counts of a worker's large rooms at intervals, until cancelled."""
    while True:
        async for some in tasks.spread(rooms.values(), INTERVAL):
            await _tell(worker, pubsub, some)


async def _tell(worker: str, pubsub: PubSub, rooms: Sequence[LocalRoom]) -> None:
    for local in rooms:
        if len(local.fanout) >= CROWD:
            message = wire.crowd(worker, len(local.fanout))
            with suppress(StoreError):  # the next publication may succeed
                await pubsub.publish(channel(local.key), message)

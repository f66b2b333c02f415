"""Tells other workers how many members large rooms have here, as what is sent to them counts."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from gospa import tasks
from gospa.errors import StoreError
from gospa.live import wire
from gospa.live.local_room import LocalRoom
from gospa.pubsub import PubSub
from gospa.store.contract import channel

CROWD = 16  # members of a room in this worker, from which on other workers are told of them
INTERVAL = 5.0  # seconds between that


async def tell_of_crowds(worker: str, pubsub: PubSub, rooms: Mapping[str, LocalRoom]) -> None:
    """Tell of those of all rooms of a worker, until cancelled."""
    while True:
        async for some in tasks.spread(rooms.values(), INTERVAL):
            await _tell(worker, pubsub, some)


async def _tell(worker: str, pubsub: PubSub, rooms: Sequence[LocalRoom]) -> None:
    for local in rooms:
        if len(local.fanout) >= CROWD:
            message = wire.crowd(worker, len(local.fanout))
            with suppress(StoreError):  # then the next one is late
                await pubsub.publish(channel(local.key), message)

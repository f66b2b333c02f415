"""Calls `save` of a room some time after it was changed, and at the end."""

import asyncio
from contextlib import suppress
from typing import Any, Protocol

from sanic.log import logger

from gospa import tasks
from gospa.errors import SchemaMismatch
from gospa.live.replica import Replica
from gospa.room import Room
from gospa.store import schema
from gospa.store.content import Content
from gospa.store.draft import Draft

LONGEST_DELAY = 60.0  # seconds between attempts that fail
LAST_ATTEMPT = 5.0  # seconds that a save may take when the room is closed


class Follower(Protocol):
    """The owner of the room's replica."""

    replica: Replica

    async def catch_up(self, version: int, tag: bytes | None) -> None:
        """Load the room if the replica lacks this version. Raises StoreError."""


class Saver:
    """Saves a room after commits of this worker.

    Several that follow each other quickly are saved together. A save that fails is tried again.
    """

    def __init__(self, room: Room[Any], follower: Follower, delay: float) -> None:
        self._room, self._follower, self._delay = room, follower, delay
        self._wanted = 0  # the newest version that this worker committed,
        self._saved = 0  # and the one that was saved
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether everything is saved."""
        return self._saved >= self._wanted

    def committed(self, version: int) -> None:
        """Save this version, or a later one."""
        self._wanted = version
        if self._task is None or self._task.done():
            self._task = tasks.start(self._save_later(), f"saving {self._room.name}")

    async def close(self) -> None:
        """Save now what is not saved."""
        if self._task is not None:
            await tasks.stop(self._task)
        if self.idle:
            return
        try:
            async with asyncio.timeout(LAST_ATTEMPT):
                await self._save()
        except Exception:
            logger.exception(
                "room %s was closed, and its last changes were not saved", self._room.name
            )

    async def _save_later(self) -> None:
        delay = self._delay
        while not self.idle:
            await asyncio.sleep(delay)
            try:
                await self._save()
                delay = self._delay
            except Exception:
                logger.exception("room %s cannot be saved yet", self._room.name)
                delay = min(max(delay, self._delay) * 2, LONGEST_DELAY)

    async def _save(self) -> None:
        await self._find_wanted()
        replica = self._follower.replica
        version = replica.version
        content = Content(replica.content.fields, {})  # a copy: saving takes time
        if version > self._saved and not self._is_foreign(content):
            await self._room.save(self._room.state.of(Draft(content), frozen=True), version)
        self._saved = max(self._saved, version)

    async def _find_wanted(self) -> None:
        """Load the version that is to be saved, unless the store has lost or deleted it."""
        while (wanted := self._wanted) > self._follower.replica.version:
            with suppress(SchemaMismatch):  # a newer version belongs to another release
                await self._follower.catch_up(wanted, None)
            if self._wanted == wanted:
                self._wanted = min(wanted, self._follower.replica.version)

    def _is_foreign(self, content: Content) -> bool:
        """Whether another release has migrated the room: the state here would be wrong."""
        return schema.version_of(content.fields) != self._room.version


def has_save(kind: type[Room[Any]]) -> bool:
    """Whether rooms of a kind are saved."""
    return kind.save is not Room.save

"""Lists of the rooms of each session, which are deleted with it; in the session storage."""

from collections.abc import Awaitable, Callable

from sanic.log import logger

from gospa.errors import StoreError
from gospa.storage import Storage
from gospa.store.codec import CodecError, pack, unpack

MOST = 100  # rooms listed for a session; others are deleted when their time to live ends


class SessionRooms:
    """One list for each session, which is kept for the idle timeout."""

    def __init__(
        self, storage: Storage, ttl: float, delete: Callable[[str], Awaitable[None]]
    ) -> None:
        """`delete` deletes a room."""
        self._storage, self._ttl, self.delete = storage, ttl, delete

    async def add(self, identity: str, room: str) -> None:
        """Add a room to the list. Raises StoreError."""
        key = _key(identity)
        while True:
            raw = await self._storage.get(key)
            rooms = [each for each in _names(raw) if each != room] + [room]
            if await self._storage.replace(key, raw, pack(rooms[-MOST:]), ttl=self._ttl):
                return

    async def names(self, identity: str) -> list[str]:
        """The rooms in the list. Raises StoreError."""
        return _names(await self._storage.get(_key(identity)))

    async def delete_all(self, identity: str) -> None:
        """Delete the rooms of a session that ended; on failure, that is logged, and they expire."""
        try:
            for room in await self.names(identity):
                await self.delete(room)
            await self._storage.delete(_key(identity))
        except StoreError as error:
            logger.warning("the rooms of an ended session are not deleted yet: %s", error)


def decode(raw: bytes) -> list[str] | None:
    """The names in stored bytes, or None if they are not of this form."""
    try:
        names = unpack(raw)
    except CodecError:
        return None
    of_text = isinstance(names, list) and all(isinstance(each, str) for each in names)
    return names if of_text else None


def _names(raw: bytes | None) -> list[str]:
    """The names, none if the list cannot be read; its rooms then expire."""
    return (raw and decode(raw)) or []


def _key(identity: str) -> str:
    return "rooms:" + identity

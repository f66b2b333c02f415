"""Lists of the rooms of each session, which are deleted with it; in the session storage."""

from collections.abc import Awaitable, Callable

from sanic.log import logger

from gospa.errors import StoreError, StoreFull
from gospa.storage import Storage
from gospa.store.codec import CodecError, pack, unpack

MOST = 100  # rooms listed for a session; others are deleted when their time to live ends
ENDED = pack([])  # instead of the list of a session that ended
LATE = 90.0  # seconds for which that is known: longer than a request may take


class SessionRooms:
    """One list for each session, which is kept for the idle timeout.

    A room may be created before its session is stored, in the same request, or while its session
    ends. So an absent session says nothing, and the end of one is noted in place of its list.
    """

    def __init__(
        self, storage: Storage, ttl: float, delete: Callable[[str], Awaitable[None]]
    ) -> None:
        """`delete` deletes a room."""
        self._storage, self._ttl, self._delete = storage, ttl, delete

    async def add(self, identity: str, room: str) -> None:
        """Add a room to the list; delete it if the session has ended. Raises StoreError."""
        key = _key(identity)
        while (raw := await self._storage.get(key)) != ENDED:
            rooms = [each for each in _names(raw) if each != room] + [room]
            if await self._storage.replace(key, raw, pack(rooms[-MOST:]), ttl=self._ttl):
                return
        await self._delete(room)

    async def delete_all(self, identity: str) -> None:
        """Delete the rooms of a session that ended; on failure, that is logged, and they expire."""
        try:
            for room in await self._take(_key(identity)):
                await self._delete(room)
        except StoreError as error:
            logger.warning("the rooms of an ended session are not deleted yet: %s", error)

    async def _take(self, key: str) -> list[str]:
        """The rooms in the list, which is replaced by ENDED."""
        while True:
            raw = await self._storage.get(key)
            try:
                if await self._storage.replace(key, raw, ENDED, ttl=LATE):
                    return _names(raw)
            except StoreFull:  # the more reason to delete the rooms
                return _names(raw)


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

"""Sessions on a storage: load, save, renew, issue tokens, list, end."""

import asyncio
import os
import time
from dataclasses import dataclass
from enum import Enum, auto

from sanic.log import logger

from gospa.errors import StoreCorrupt, StoreError
from gospa.pubsub import PubSub
from gospa.sessions.index import UserIndex
from gospa.sessions.session import Session, decode, new_session, read_token
from gospa.settings import Settings
from gospa.storage import Storage

UNUSED = 3600.0  # seconds that a session lasts if it is never used
CHANNEL = "sessions"  # announces identities of sessions that ended or have a new token


class Due(Enum):
    """What has to be done when the request succeeds."""

    NOTHING = auto()  # save the session if it changed
    NEW_TOKEN = auto()
    LOG_IN = auto()


@dataclass(slots=True)
class SessionRecord:
    """A session and its status in the store."""

    session: Session
    raw: bytes | None = None
    """The stored bytes it was read from; None if it is not stored."""
    token: str | None = None
    """A new token that the client has to be sent."""
    replaced: bool = False
    """Whether the client sent a token that has been replaced."""
    due: Due = Due.NOTHING


class SessionStore:
    """Every method raises StoreError if the storage fails."""

    def __init__(self, storage: Storage, pubsub: PubSub, settings: Settings) -> None:
        self._storage = storage
        self._pubsub = pubsub
        self.settings = settings
        self._index = UserIndex(storage, settings.session_absolute)

    async def check(self) -> None:
        """Read from the storage. Raises StoreError if it does not answer."""
        await self._storage.get(_key(""))

    async def load(self, token: str) -> SessionRecord | None:
        """The session of a token, or None; an unknown token never becomes a session."""
        parts = read_token(token)
        record = await self.find(parts[0]) if parts else None
        if parts is None or record is None or record.session.opened_by(parts[1]):
            return record
        record.replaced = True
        grace = self.settings.session_grace
        return record if record.session.was_opened_by(parts[1], time.time(), grace) else None

    async def find(self, identity: str) -> SessionRecord | None:
        """The session of an identity, for callers that need no token."""
        try:
            raw = await self._storage.get(_key(identity))
        except StoreCorrupt as error:
            logger.warning("a session cannot be read, and counts as ended: %s", error)
            return None
        session = decode(raw) if raw else None
        if session is None or session.identity != identity or self._remaining(session) <= 0:
            return None
        return SessionRecord(session, raw)

    def create(self) -> SessionRecord:
        """A new session, not stored yet."""
        session = new_session(time.time())
        return SessionRecord(session, token=session.rotate(time.time(), 0))

    async def begin(self, record: SessionRecord) -> None:
        """Store a new session for an hour, since most visitors never come back.

        It is due for renewal, so that its first use gives it its full lifetime.
        """
        record.session.renewed -= max(0.0, self.settings.session_idle - UNUSED)
        await self.save(record)

    async def save(self, record: SessionRecord) -> bool:
        """Store what changed, merged with what other requests stored meanwhile.

        Returns False if it ended meanwhile (it is not stored again), or if another request also
        issued a token. Raises CodecError or SessionTooLarge for what cannot be stored.
        """
        session: Session | None = record.session
        while session is not None:
            raw = session.encode(self.settings.session_size)
            key, ttl = _key(session.identity), self._remaining(session)
            if await self._storage.replace(key, record.raw, raw, ttl=ttl):
                record.session, record.raw = session, raw
                return True
            raw_now = await self._storage.get(key)
            stored = decode(raw_now) if raw_now else None
            session = None if stored is None else record.session.merged_into(stored)
            if session is not None:  # else keep the loaded bytes as the expected value
                record.raw = raw_now
        return False

    async def touch(self, record: SessionRecord) -> bool:
        """Save if it changed or is due for renewal. Returns whether it has not ended."""
        session = record.session
        now = time.time()
        if record.raw is not None and session.due(now, self.settings.session_idle):
            session.renewed = now
        elif not session.changed:
            return True
        return await self.save(record)

    async def rotate(self, record: SessionRecord) -> bool:
        """Save the session under a new token, unless a parallel request issued one first.

        Returns whether it has not ended.
        """
        if await self._save_rotated(record):
            return True
        record.session.keep_access()
        return await self.save(record)

    async def log_in(self, record: SessionRecord) -> bool:
        """Save the session of a user who logged in, under a new token.

        If a parallel request ended it or issued a token first, a new session begins: the browser
        may never get the other token. Returns False if all sessions of the user were ended
        meanwhile.
        """
        mark = await self._enlist(record.session)
        if not await self._save_rotated(record):
            await self._unlist_unless_stored(record.session)
            self._replace_session(record)
            await self._enlist(record.session)
            await self.save(record)
        if await self._enlist(record.session) != mark:
            await self.destroy(record)
            return False
        return True

    async def finish(self, record: SessionRecord) -> bool:
        """Do what is due. False if, in a log-in, all sessions of the user were ended meanwhile."""
        match record.due:
            case Due.LOG_IN:
                return await self.log_in(record)
            case Due.NEW_TOKEN:
                await self.rotate(record)
            case Due.NOTHING:
                await self.touch(record)
        return True

    async def destroy(self, record: SessionRecord) -> None:
        """End the session."""
        if record.raw is None:
            return
        session, record.raw = record.session, None
        await self._end(session.identity)
        await self._unlist(session)

    async def sessions_of(self, user: str) -> list[Session]:
        """The user's sessions that have not ended, the newest log-in last."""
        identities = (await self._index.read(user)).identities
        records = await asyncio.gather(*map(self.find, identities))
        return [r.session for r in records if r is not None and r.session.user == user]

    async def everybody(self) -> dict[str, SessionRecord]:
        """All sessions that have not ended, by identity, anonymous ones included."""
        identities = [key.removeprefix(_key("")) async for key in self._storage.keys(_key(""))]
        return {i: record for i in identities if (record := await self.find(i))}

    async def log_out_everywhere(self, user: str) -> None:
        """End all sessions of a user, and every log-in that is under way."""
        entry, _ = await self._index.change(user, mark=os.urandom(8))
        for identity in entry.identities:
            await self._end(identity)
        await self._index.change(user, remove=entry.identities)

    async def _enlist(self, session: Session) -> bytes:
        """Index it before it is stored, so that every stored session is indexed."""
        if session.user is None:
            return b""
        entry, crowded = await self._index.change(session.user, add=[session.identity])
        for other in crowded:
            await self._end(other)
        return entry.mark

    async def _save_rotated(self, record: SessionRecord) -> bool:
        if record.replaced:
            return False
        if record.raw is not None:
            record.token = record.session.rotate(time.time(), self.settings.session_grace)
        if not await self.save(record):
            record.token = None
            return False
        await self._announce(record.session.identity)
        return True

    def _replace_session(self, record: SessionRecord) -> None:
        session, new = record.session, self.create()
        if session.user is not None:
            new.session.log_in(session.user, session.created)
        new.session.update(session)
        record.session, record.raw, record.token = new.session, None, new.token
        record.replaced = False

    async def _unlist_unless_stored(self, session: Session) -> None:
        current = await self.find(session.identity)
        if current is None or current.session.user != session.user:
            await self._unlist(session)

    async def _unlist(self, session: Session) -> None:
        if session.user is not None:
            await self._index.change(session.user, remove=[session.identity])

    async def _end(self, identity: str) -> None:
        await self._storage.delete(_key(identity))
        await self._announce(identity)

    async def _announce(self, identity: str) -> None:
        try:
            await self._pubsub.publish(CHANNEL, identity.encode())
        except StoreError as error:
            logger.warning("a session change is not announced; sockets notice it later: %s", error)

    def _remaining(self, session: Session) -> float:
        settings = self.settings
        return session.remaining(time.time(), settings.session_idle, settings.session_absolute)


def _key(identity: str) -> str:
    return "session:" + identity

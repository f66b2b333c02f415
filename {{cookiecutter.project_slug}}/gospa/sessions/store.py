"""Sessions on a storage: load, save, renew, issue tokens, list, end."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence

from sanic.log import logger

from gospa.errors import StoreCorrupt, StoreError
from gospa.pubsub import PubSub
from gospa.rates import Visitor
from gospa.sessions.index import UserIndex
from gospa.sessions.quota import SessionQuota
from gospa.sessions.record import Due, SessionRecord
from gospa.sessions.rooms import SessionRooms
from gospa.sessions.session import Session, decode, new_session, read_token
from gospa.settings import Settings
from gospa.storage import Storage

CHECK_TTL = 60.0  # seconds
UNUSED = 3600.0  # seconds for which an unused session lasts without a socket,
BRIEF = 90.0  # and the same if its network begins too many sessions
CHANNEL = "sessions"  # publishes identities of sessions that ended or have a new token


class SessionStore:
    """Every method raises StoreError if the storage fails."""

    def __init__(
        self,
        storage: Storage,
        pubsub: PubSub,
        settings: Settings,
        delete_room: Callable[[str], Awaitable[None]],
    ) -> None:
        """`delete_room` deletes a room of a session that ended."""
        self._storage = storage
        self._pubsub = pubsub
        self.settings = settings
        self.quota = SessionQuota(settings)
        self._rooms = SessionRooms(storage, max(settings.session_idle, UNUSED), delete_room)
        self._index = UserIndex(storage, settings.session_absolute)

    async def check(self) -> None:
        """Write to the storage. Raises StoreError if that fails."""
        await self._storage.set("check:ready", b"", ttl=CHECK_TTL)

    async def load(self, token: str) -> SessionRecord | None:
        """The session of a token, or None; an unknown token never becomes a session."""
        parts = read_token(token)
        record = await self.find(parts[0]) if parts else None
        if parts is None or record is None or record.session.opened_by(parts[1]):
            return record
        sent = (parts[1], time.time(), self.settings.session_grace)
        if record.session.is_barred(*sent):
            record = self.create()
            record.barred = True
        elif not record.session.was_opened_by(*sent):
            return None
        record.replaced = True
        return record

    async def read(self, identities: Sequence[str]) -> list[bytes | None]:
        """The stored bytes of sessions, in one round trip."""
        return await self._storage.get_many([_key(identity) for identity in identities])

    async def find(self, identity: str) -> SessionRecord | None:
        """The session of an identity, for callers without a token."""
        try:
            raw = await self._storage.get(_key(identity))
        except StoreCorrupt as error:
            logger.warning("a session cannot be read, and counts as ended: %s", error)
            return None
        session = decode(raw) if raw else None
        if raw and session is None:
            logger.warning("the session %s cannot be read, and counts as ended", identity)
        for key, reason in session.unreadable.items() if session else ():
            logger.error("the value %r of session %s cannot be read: %s", key, identity, reason)
        if session is None or session.identity != identity or self._remaining(session) <= 0:
            return None
        return SessionRecord(session, raw)

    def create(self) -> SessionRecord:
        """A new session, not stored yet."""
        session = new_session(time.time())
        return SessionRecord(session, token=session.rotate(time.time(), 0))

    async def begin(self, record: SessionRecord, network: str = "") -> None:
        """Store a new session for an hour, because most visitors do not return."""
        record.network = network
        self._shorten(record, network)
        await self.save(record)

    def _shorten(self, record: SessionRecord, network: str) -> None:
        """Shorten the lifetime of a new session, unless it is used."""
        settings = self.settings
        brief = max(BRIEF, 3 * settings.session_check_interval)  # open sockets renew their session
        lasts = UNUSED if self.quota.begin(network) else brief
        record.session.renewed = record.session.created - max(0.0, settings.session_idle - lasts)

    async def save(self, record: SessionRecord) -> bool:
        """Store the changes, merged with those that other requests stored meanwhile.

        Returns False if it ended meanwhile (it is not stored again), or if another request also
        issued a token. Raises CodecError or SessionTooLarge if it cannot be stored.
        """
        session: Session | None = record.session
        while session is not None:
            raw = session.encode(self.settings.session_size)
            key, ttl = _key(session.identity), self._remaining(session)
            visitor = Visitor(session.identity, record.network) if record.network else None
            if await self._storage.replace(key, record.raw, raw, ttl=ttl, visitor=visitor):
                record.session, record.raw = session, raw
                return True
            raw_now = await self._storage.get(key)
            stored = decode(raw_now) if raw_now else None
            session = None if stored is None else record.session.merged_into(stored)
            if session is not None:  # else keep the loaded bytes as the expected value
                record.raw = raw_now
        return False

    async def touch(self, record: SessionRecord, *, keep: bool = False, network: str = "") -> bool:
        """Save if it changed or is due for renewal. Returns whether it has not ended.

        With `keep`, a session that would end soon is kept, if the network's quota allows it.
        """
        session, due = record.session, record.session.changed
        record.network = network or record.network
        now, idle = time.time(), self.settings.session_idle
        if record.raw is None:
            if due and not (keep and self.quota.keep(network)):
                self._shorten(record, network)
        elif session.due(now, idle) and (session.kept or (keep and self.quota.keep(network))):
            # By this host's clock it may begin later; it would no longer count as `kept`.
            session.created = min(session.created, now)
            session.renewed, due = now, True
        elif self.expires_soon(session):
            session.renewed, due = now - max(0.0, idle - UNUSED), True
        return await self.save(record) if due else True

    def expires_soon(self, session: Session) -> bool:
        """Whether it ends soon unless it is renewed, though a socket is open."""
        return self._remaining(session) <= (0 if session.kept else UNUSED / 2)

    async def rotate(self, record: SessionRecord) -> bool:
        """Save the session under a new token, unless a parallel request issued one first.

        Returns whether it has not ended.
        """
        if await self._save_rotated(record):
            return True
        record.session.keep_credentials()
        return await self.save(record)

    async def log_in(self, record: SessionRecord) -> bool:
        """Save the session of a user who logged in, under a new token.

        If a parallel request ended it or issued a token first, a new session begins, because the
        browser may not get the other token. Returns False if all sessions of the user were ended
        meanwhile.
        """
        mark = await self._enlist(record.session)
        if not await self._save_rotated(record, bar=True):
            await self._unlist_unless_stored(record.session)
            self._replace_session(record)
            await self._enlist(record.session)
            await self.save(record)
        if await self._enlist(record.session) != mark:
            await self.destroy(record)
            return False
        return True

    async def finish(self, record: SessionRecord, network: str = "") -> str:
        """Do the due action. Returns why nothing was saved, or an empty text.

        `network` is the client's. Raises RateLimited if it reached its quota.
        """
        record.network = network
        if record.barred and record.due is not Due.LOG_IN:
            return "The session has a new token since a log-in." if record.session.changed else ""
        if record.session.changed:
            size = len(record.session.encode(self.settings.session_size))
            visitor = Visitor(record.session.identity, network)
            self.quota.store(visitor, size - len(record.raw or b""))
        match record.due:
            case Due.LOG_IN:
                if not await self.log_in(record):
                    return "All sessions of this user were ended meanwhile."
            case Due.NEW_TOKEN:
                if record.raw is None and not self.quota.keep(network):
                    self._shorten(record, network)
                await self.rotate(record)
            case Due.NOTHING:
                keep = record.session.changed or record.session.needed
                await self.touch(record, keep=keep, network=network)
        return ""

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
        """End all sessions of a user, and all log-ins in progress."""
        entry, _ = await self._index.change(user, mark=os.urandom(8))
        for identity in entry.identities:
            await self._end(identity)
        await self._index.change(user, remove=entry.identities)

    async def own_room(self, identity: str, room: str) -> None:
        """Register a room of the session, to be deleted with it. Raises StoreError."""
        await self._rooms.add(identity, room)

    async def _enlist(self, session: Session) -> bytes:
        """Index it before it is stored, so that every stored session is indexed."""
        if session.user is None:
            return b""
        entry, crowded = await self._index.change(session.user, add=[session.identity])
        for other in crowded:
            await self._end(other)
        return entry.mark

    async def _save_rotated(self, record: SessionRecord, *, bar: bool = False) -> bool:
        if record.replaced:
            return False
        if record.raw is not None:
            grace = self.settings.session_grace
            record.token = record.session.rotate(time.time(), grace, bar=bar)
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
        record.replaced = record.barred = False

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
        await self._rooms.delete_all(identity)

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

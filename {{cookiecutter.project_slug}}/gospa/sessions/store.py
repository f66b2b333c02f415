"""Sessions on a storage: load, save, renew, give a new token, list, end."""

import asyncio
import os
import time
from dataclasses import dataclass

from sanic.log import logger

from gospa.errors import StoreCorrupt, StoreError
from gospa.pubsub import PubSub
from gospa.sessions.index import UserIndex
from gospa.sessions.session import Session, decode, new_session, read_token
from gospa.settings import Settings
from gospa.storage import Storage

UNUSED = 3600.0  # seconds that a session lasts which was begun and never used
CHANNEL = "sessions"  # tells the identities of those that ended or have a new token


@dataclass(slots=True)
class Ticket:
    """A session as it was loaded; `raw` is what is stored, if anything.

    `token` is one that the client has not got yet. `outgoing`: it came with the token before the
    present one.
    """

    session: Session
    raw: bytes | None = None
    token: str | None = None
    outgoing: bool = False


class SessionStore:
    """Every method raises StoreError if the storage fails."""

    def __init__(self, storage: Storage, pubsub: PubSub, settings: Settings) -> None:
        self._storage = storage
        self._pubsub = pubsub
        self.settings = settings
        self._index = UserIndex(storage, settings.session_absolute)

    async def check(self) -> None:
        """Do nothing but ask the storage."""
        await self._storage.get(_key(""))

    async def load(self, token: str) -> Ticket | None:
        """The session of a token, or None: a token that is not known is never adopted."""
        parts = read_token(token)
        ticket = await self.find(parts[0]) if parts else None
        if parts is None or ticket is None or ticket.session.opened_by(parts[1]):
            return ticket
        ticket.outgoing = True
        grace = self.settings.session_grace
        return ticket if ticket.session.was_opened_by(parts[1], time.time(), grace) else None

    async def find(self, identity: str) -> Ticket | None:
        """The session of that identity, for those who need no token."""
        try:
            raw = await self._storage.get(_key(identity))
        except StoreCorrupt as error:
            logger.warning("a session cannot be read, and counts as ended: %s", error)
            return None
        session = decode(raw) if raw else None
        if session is None or session.identity != identity or self._remaining(session) <= 0:
            return None
        return Ticket(session, raw)

    def create(self) -> Ticket:
        """A new session, not stored yet."""
        session = new_session(time.time())
        return Ticket(session, token=session.rotate(time.time(), 0))

    async def begin(self, ticket: Ticket) -> None:
        """Store a new session, for an hour: anybody can have one, and most never come back.

        It is due for renewal, so that the first use gives it its full time.
        """
        ticket.session.renewed -= max(0.0, self.settings.session_idle - UNUSED)
        await self.save(ticket)

    async def save(self, ticket: Ticket) -> bool:
        """Store what changed, merged with what other requests stored meanwhile.

        False if it ended meanwhile, as it is not brought back, or if it was given a new token here
        and elsewhere. Raises CodecError or SessionTooLarge for what cannot be stored.
        """
        session: Session | None = ticket.session
        while session is not None:
            raw = session.encode(self.settings.session_size)
            key, ttl = _key(session.identity), self._remaining(session)
            if await self._storage.replace(key, ticket.raw, raw, ttl=ttl):
                ticket.session, ticket.raw = session, raw
                return True
            raw_now = await self._storage.get(key)
            stored = decode(raw_now) if raw_now else None
            session = None if stored is None else ticket.session.merged_into(stored)
            if session is not None:  # else what was loaded stays what has to be there
                ticket.raw = raw_now
        return False

    async def touch(self, ticket: Ticket) -> bool:
        """Save if something changed or the session is due for renewal. Whether it still lives."""
        session = ticket.session
        now = time.time()
        if ticket.raw is not None and session.due(now, self.settings.session_idle):
            session.renewed = now
        elif not session.changed:
            return True
        return await self.save(ticket)

    async def rotate(self, ticket: Ticket) -> bool:
        """Save the session under a new token, unless a parallel request gave it one first.

        Whether it still lives.
        """
        if await self._save_rotated(ticket):
            return True
        ticket.session.keep_access()
        return await self.save(ticket)

    async def log_in(self, ticket: Ticket) -> bool:
        """Save the session, as that of the user who logged in, under a new token.

        If a parallel request ended it or gave it a token first, a new one begins: the browser may
        never hear of the other token. False if all sessions of the user were ended meanwhile.
        """
        mark = await self._enlist(ticket.session)
        if not await self._save_rotated(ticket):
            await self._unlist_unless_stored(ticket.session)
            self._begin_anew(ticket)
            await self._enlist(ticket.session)
            await self.save(ticket)
        if await self._enlist(ticket.session) != mark:
            await self.destroy(ticket)
            return False
        return True

    async def destroy(self, ticket: Ticket) -> None:
        """End the session."""
        if ticket.raw is None:
            return
        session, ticket.raw = ticket.session, None
        await self._end(session.identity)
        await self._unlist(session)

    async def sessions_of(self, user: str) -> list[Session]:
        """The user's sessions that have not ended, the newest login last."""
        identities = (await self._index.read(user)).identities
        tickets = await asyncio.gather(*map(self.find, identities))
        return [t.session for t in tickets if t is not None and t.session.user == user]

    async def everybody(self) -> dict[str, Ticket]:
        """All sessions that have not ended, by identity, also of those who did not log in."""
        identities = [key.removeprefix(_key("")) async for key in self._storage.keys(_key(""))]
        return {i: ticket for i in identities if (ticket := await self.find(i))}

    async def log_out_everywhere(self, user: str) -> None:
        """End all sessions of a user, and every login that is under way."""
        entry, _ = await self._index.change(user, mark=os.urandom(8))
        for identity in entry.identities:
            await self._end(identity)
        await self._index.change(user, remove=entry.identities)

    async def _enlist(self, session: Session) -> bytes:
        """Put it on its user's index, before it is stored: what is stored can always be found."""
        if session.user is None:
            return b""
        entry, crowded = await self._index.change(session.user, add=[session.identity])
        for other in crowded:
            await self._end(other)
        return entry.mark

    async def _save_rotated(self, ticket: Ticket) -> bool:
        if ticket.outgoing:
            return False
        if ticket.raw is not None:
            ticket.token = ticket.session.rotate(time.time(), self.settings.session_grace)
        if not await self.save(ticket):
            ticket.token = None
            return False
        await self._announce(ticket.session.identity)
        return True

    def _begin_anew(self, ticket: Ticket) -> None:
        session, new = ticket.session, self.create()
        if session.user is not None:
            new.session.log_in(session.user, session.created)
        new.session.update(session)
        ticket.session, ticket.raw, ticket.token = new.session, None, new.token
        ticket.outgoing = False

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
            logger.warning("open sockets learn of a session at their next check: %s", error)

    def _remaining(self, session: Session) -> float:
        settings = self.settings
        return session.remaining(time.time(), settings.session_idle, settings.session_absolute)


def _key(identity: str) -> str:
    return "session:" + identity

"""Sessions on a storage: load, save, renew, give a new token, destroy."""

import time
from dataclasses import dataclass

from server.sessions.session import (
    Session,
    decode,
    new_session,
    new_token,
    storage_key,
)
from server.sessions.storage import Storage
from server.settings import Settings


@dataclass(slots=True)
class Ticket:
    """A session together with the token that opens it; `raw` is what is stored, if anything."""

    session: Session
    token: str
    raw: bytes | None = None


class SessionStore:
    """Every method raises StoreError if the storage fails."""

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self._storage = storage
        self._settings = settings

    async def load(self, token: str) -> Ticket | None:
        """The session of a token, or None: a token that is not known is never adopted."""
        key = storage_key(token)
        raw = await self._storage.get(key) if key else None
        session = decode(raw) if raw else None
        if session is None or self._remaining(session) <= 0:
            return None
        return Ticket(session, token, raw)

    def create(self) -> Ticket:
        """A new session, not stored yet."""
        return Ticket(new_session(time.time()), new_token())

    async def save(self, ticket: Ticket) -> bool:
        """Store what changed, merged with what other requests stored meanwhile.

        False if the session was destroyed meanwhile: it is not brought back.
        Raises CodecError or SessionTooLarge for what cannot be stored.
        """
        key = _key(ticket.token)
        session = ticket.session
        while ticket.raw is not None:
            raw = session.encode(self._settings.session_size)
            ttl = self._remaining(session)
            if await self._storage.replace(key, ticket.raw, raw, ttl=ttl):
                ticket.session, ticket.raw = session, raw
                return True
            ticket.raw = await self._storage.get(key)
            stored = decode(ticket.raw) if ticket.raw else None
            if stored is None:
                return False
            session = ticket.session.merged_into(stored)
        raw = session.encode(self._settings.session_size)
        await self._storage.set(key, raw, ttl=self._remaining(session))
        ticket.raw = raw
        return True

    async def touch(self, ticket: Ticket) -> bool:
        """Save if something changed or the session is due for renewal. Whether it still lives."""
        session = ticket.session
        now = time.time()
        if ticket.raw is not None and session.due(now, self._settings.session_idle):
            session.renewed = now
        elif not session.changed:
            return True
        return await self.save(ticket)

    async def rotate(self, ticket: Ticket) -> None:
        """Move the session to a new token, as after a login: the old one opens nothing more."""
        old, ticket.token, ticket.raw = ticket.token, new_token(), None
        await self.save(ticket)
        await self._storage.delete(_key(old))

    async def destroy(self, ticket: Ticket) -> None:
        """Forget the session."""
        await self._storage.delete(_key(ticket.token))
        ticket.raw = None

    def _remaining(self, session: Session) -> float:
        settings = self._settings
        return session.remaining(time.time(), settings.session_idle, settings.session_absolute)


def _key(token: str) -> str:
    key = storage_key(token)
    if key is None:
        raise ValueError("not a session token")
    return key

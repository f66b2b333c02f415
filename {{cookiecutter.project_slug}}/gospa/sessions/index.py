"""Index of each user's sessions, to list and end them; kept in the session storage."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from gospa.errors import StoreCorrupt
from gospa.storage import Storage
from gospa.store.codec import CodecError, pack, unpack

MAX_SESSIONS = 100  # of one user
EMPTY = 3600.0  # seconds for which an empty entry is kept, for log-ins that have read its mark


@dataclass(frozen=True, slots=True)
class Entry:
    """Identities of a user's sessions, some of which may have ended.

    `mark` changes before all sessions are ended. A log-in reads it before and after it stores its
    session: if the two values differ, all sessions were ended meanwhile.
    """

    mark: bytes
    identities: Sequence[str]


class UserIndex:
    """One entry for each user, changed by compare-and-set. Methods raise StoreError."""

    def __init__(self, storage: Storage, ttl: float) -> None:
        self._storage = storage
        self._ttl = ttl

    async def read(self, user: str) -> Entry:
        return decode(await self._storage.get(_key(user)))

    async def change(
        self,
        user: str,
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        mark: bytes | None = None,
    ) -> tuple[Entry, Sequence[str]]:
        """Change the entry; returns it, and the oldest identities that no longer fit."""
        key = _key(user)
        while True:
            raw = await self._storage.get(key)
            entry = decode(raw)
            kept = [i for i in entry.identities if i not in remove and i not in add] + list(add)
            crowded, kept = kept[:-MAX_SESSIONS], kept[-MAX_SESSIONS:]
            entry = Entry(mark or entry.mark, kept)
            new, ttl = pack([entry.mark, kept]), self._ttl if kept else min(self._ttl, EMPTY)
            if new == raw or await self._storage.replace(key, raw, new, ttl=ttl):
                return entry, crowded


def decode(raw: bytes | None) -> Entry:
    """The entry in stored bytes. Raises StoreCorrupt."""
    if raw is None:
        return Entry(os.urandom(8), ())
    try:
        match unpack(raw):
            case [bytes(mark), [*identities]] if all(type(i) is str for i in identities):
                return Entry(mark, identities)
    except CodecError:
        pass
    raise StoreCorrupt("the index of a user's sessions was not written by this application")


def _key(user: str) -> str:
    return "user:" + hashlib.sha256(user.encode()).hexdigest()

"""Index of each user's sessions, to list and end them; kept in the session storage."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from gospa.errors import StoreCorrupt
from gospa.storage import Storage
from gospa.store.codec import CodecError, pack, unpack

MAX_SESSIONS = 100  # of one user


@dataclass(frozen=True, slots=True)
class Entry:
    """Identities of a user's sessions, some of which may have ended.

    `mark` changes before all of them are ended. A log-in reads it before and after it stores its
    session: if the two differ, all sessions were ended meanwhile.
    """

    mark: bytes
    identities: Sequence[str]


class UserIndex:
    """One entry for each user, changed by compare-and-set. Methods raise StoreError."""

    def __init__(self, storage: Storage, ttl: float) -> None:
        self._storage = storage
        self._ttl = ttl

    async def read(self, user: str) -> Entry:
        return _decode(await self._storage.get(_key(user)))

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
            entry = _decode(raw)
            kept = [i for i in entry.identities if i not in remove and i not in add] + list(add)
            crowded, kept = kept[:-MAX_SESSIONS], kept[-MAX_SESSIONS:]
            entry = Entry(mark or entry.mark, kept)
            new = pack([entry.mark, kept])
            if new == raw or await self._storage.replace(key, raw, new, ttl=self._ttl):
                return entry, crowded


def _decode(raw: bytes | None) -> Entry:
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

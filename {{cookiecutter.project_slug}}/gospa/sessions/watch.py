"""Watches the sessions of open sockets: their end, new tokens, renewal."""

import asyncio
import random
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import chain, islice
from typing import NamedTuple, Protocol

from sanic.log import logger

from gospa import tasks
from gospa.errors import StoreError
from gospa.pubsub import PubSub
from gospa.sessions.session import Session
from gospa.sessions.store import CHANNEL, SessionStore
from gospa.settings import Settings

RECENT = 100  # announcements kept for handshakes in progress


class Use:
    """How the client of a socket uses its session. `network` is the client's."""

    def __init__(self, network: str) -> None:
        self.network = network
        self.changes = False  # whether it has sent a change to a room: then the session is kept
        self.on_first: Callable[[], None] | None = None
        self._used = False

    @property
    def noted(self) -> bool:
        """Whether the client sent a request since the last `take`."""
        return self._used

    def note(self, session: Session, *, change: bool) -> None:
        """Note a request."""
        self._used = True
        self.changes |= change
        if self.on_first is not None and (change or session.kept):
            self.on_first()
            self.on_first = None

    def take(self) -> bool:
        """Whether the client sent a request since the last call."""
        used, self._used = self._used, False
        return used


class Reads(Protocol):
    """A socket's session as far as known, and the order in which it is read from the store."""

    known: Session

    def begin_read(self) -> int:
        """The number of a read that begins, for `end_read`."""

    def end_read(self, read: int) -> bool:
        """Whether what it found may be used: nothing that was read later is here already."""


class Socket(Protocol):
    """An open socket, as the watch uses it."""

    use: Use

    @property
    def session(self) -> Reads:
        """Its session, as far as known."""

    def follow_session(self, session: Session | None) -> int:
        """Apply the session as stored now, None if it ended. Must not block.

        Returns how many rooms authorize again because of it.
        """


class _Found(NamedTuple):
    """A session as it was read, None if it ended, and the sockets that were open at that time."""

    identity: str
    session: Session | None
    reads: dict[Socket, int]


@asynccontextmanager
async def open_watch(
    sessions: SessionStore, pubsub: PubSub, settings: Settings
) -> AsyncIterator["SessionWatch"]:
    """A watch that runs until the block ends."""
    watch = SessionWatch(sessions, pubsub, settings)
    async with tasks.running(watch.run, "watch of sessions"):
        yield watch


class SessionWatch:
    """Compares sockets with their sessions: when a change is announced, and at intervals."""

    def __init__(self, sessions: SessionStore, pubsub: PubSub, settings: Settings) -> None:
        self._sessions = sessions
        self._pubsub = pubsub
        self._settings = settings
        self._sockets: defaultdict[str, set[Socket]] = defaultdict(set)
        self._due: set[str] = set()
        self._announced: set[str] = set()  # they are checked before those that are due
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._wake = asyncio.Event()
        self._next_round = 0.0
        self._asked = 0  # rooms, since other work had its turn

    def add(self, socket: Socket, session: Session) -> None:
        """Keep a socket informed of its session until `remove`."""
        self._sockets[session.identity].add(socket)
        if session.identity in self._recent:  # it may have been loaded before the announcement
            self._check_soon(session.identity)

    def remove(self, socket: Socket, session: Session) -> None:
        """Forget a socket that was closed."""
        self._sockets[session.identity].discard(socket)
        if not self._sockets[session.identity]:
            del self._sockets[session.identity]

    def on_first_use(self, session: Session) -> "partial[None] | None":
        """If the session is due for renewal, a function for the socket's first request."""
        due = session.due(time.time(), self._settings.session_idle)
        return partial(self._check_soon, session.identity) if due else None

    async def read(self, identity: str) -> Session | None:
        """The session as it is stored, None if it ended. Raises StoreError."""
        record = await self._sessions.find(identity)
        return record.session if record else None

    def on_message(self, message: bytes) -> None:
        """A session ended or has a new token: check it, if a socket here has it."""
        identity = message[:64].decode("ascii", "replace")
        self._recent.append(identity)
        if identity in self._sockets:
            self._check_soon(identity)

    def on_gap(self) -> None:
        """Messages may have been missed: check all sessions now."""
        self._next_round = 0.0
        self._wake.set()

    async def run(self) -> None:
        """Check announced sessions at once and all at intervals, until cancelled."""
        subscription = await self._pubsub.subscribe(CHANNEL, self.on_message, self.on_gap)
        try:
            self.on_gap()
            while True:
                await self._wait()
                await self._check_due()
        finally:
            await subscription.close()

    def _check_soon(self, identity: str) -> None:
        self._announced.add(identity)
        self._wake.set()

    async def _wait(self) -> None:
        now = asyncio.get_running_loop().time
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._next_round):
                await self._wake.wait()
        self._wake.clear()
        if now() >= self._next_round:
            jitter = random.uniform(0.8, 1.0)  # noqa: S311 - spread, not a secret
            self._next_round = now() + self._settings.session_check_interval * jitter
            self._due.update(self._sockets)

    async def _check_due(self) -> None:
        """Check sessions that are due; those of a batch share a round trip to the store."""
        while some := self._next():
            away: StoreError | None = None
            for found in await self._find_all(some):
                if isinstance(found, StoreError):
                    away = found
                elif isinstance(found, BaseException):
                    raise found
                else:
                    await self._follow(found)
            if away is not None:
                logger.warning("open sockets are not compared with their sessions: %s", away)
                return  # the next round has them all

    def _next(self) -> list[str]:
        """Some sessions to check: those that were announced first, then others."""
        some = list(dict.fromkeys(islice(chain(self._announced, self._due), tasks.BATCH)))
        self._announced.difference_update(some)
        self._due.difference_update(some)
        return some

    async def _find_all(self, identities: list[str]) -> list[_Found | BaseException]:
        unchanged = await self._find_unchanged(identities)
        others = (identity for identity in identities if identity not in unchanged)
        found = await asyncio.gather(*map(self._find, others), return_exceptions=True)
        return [*unchanged.values(), *found]

    async def _find_unchanged(self, identities: list[str]) -> dict[str, _Found]:
        """The sessions that need no renewal, and whose stored bytes are known: most of them."""
        found = {each.identity: each for each in map(self._known, identities) if each}
        try:
            stored = await self._sessions.read(list(found))
        except StoreError:  # maybe for one of them alone, so each is read by itself
            return {}
        return {
            identity: each
            for (identity, each), raw in zip(found.items(), stored, strict=True)
            if all(socket.session.known.was_read_from(raw) for socket in each.reads)
        }

    def _known(self, identity: str) -> _Found | None:
        """A session as its sockets know it; None if it was used or has to be renewed."""
        sockets = self._sockets.get(identity)
        if not sockets:
            return None
        session = next(iter(sockets)).session.known
        used = any(each.use.noted or (each.use.changes and not session.kept) for each in sockets)
        if used or self._sessions.expires_soon(session):
            return None
        return _Found(identity, session, {each: each.session.begin_read() for each in sockets})

    async def _find(self, identity: str) -> _Found:
        """Read a session; it is kept if it was used."""
        sockets = list(self._sockets.get(identity, ()))
        reads = {socket: socket.session.begin_read() for socket in sockets}
        record = await self._sessions.find(identity)
        used = [socket.use.take() for socket in sockets]
        if record and sockets and (any(used) or not record.session.kept):
            network = next((socket.use.network for socket in sockets if socket.use.changes), None)
            keep = network is not None
            if not await self._sessions.touch(record, keep=keep, network=network or ""):
                record = None
        return _Found(identity, record.session if record else None, reads)

    async def _follow(self, found: _Found) -> None:
        """Have sockets follow a session, except those that have gone, or know a newer one."""
        for socket, read in found.reads.items():
            open_ = socket in self._sockets.get(found.identity, ())
            if open_ and socket.session.end_read(read):
                self._asked += socket.follow_session(found.session)
            if self._asked >= tasks.BATCH:  # a socket may be in many rooms
                self._asked = 0
                await asyncio.sleep(0)

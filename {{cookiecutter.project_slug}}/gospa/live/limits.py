"""Who is connected to this worker: how many they may be, and whether their sessions still live."""

import asyncio
import random
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from sanic.log import logger

from gospa import tasks
from gospa.errors import StoreError
from gospa.live.bucket import TokenBucket
from gospa.live.connection import Connection
from gospa.pubsub import PubSub
from gospa.sessions.session import Session
from gospa.sessions.store import CHANNEL, SessionStore
from gospa.settings import Settings

MAX_ADDRESSES = 10_000  # whose handshakes are counted at a time
RECENT = 100  # messages, of which one may be about a handshake under way


class TooMany(Exception):
    """A client that has, or asks for, more connections than it may."""


@asynccontextmanager
async def open_visitors(
    sessions: SessionStore, pubsub: PubSub, settings: Settings
) -> AsyncIterator["Visitors"]:
    """Watches sessions until the end."""
    visitors = Visitors(sessions, pubsub, settings)
    watch = tasks.keep_running(visitors.watch, "watch of sessions")
    try:
        yield visitors
    finally:
        await tasks.stop(watch)


class Visitors:
    """Open connections by session, and how many there are of each address."""

    def __init__(self, sessions: SessionStore, pubsub: PubSub, settings: Settings) -> None:
        self._sessions = sessions
        self._pubsub = pubsub
        self._settings = settings
        self._present: defaultdict[str, set[Connection]] = defaultdict(set)
        self._addresses: Counter[str] = Counter()
        self._handshakes: dict[str, TokenBucket] = {}
        self._due: set[str] = set()
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._wake = asyncio.Event()
        self._next_round = 0.0

    def knock(self, address: str) -> None:
        """Count a handshake from `address` ("" where there is none). Raises TooMany."""
        now = asyncio.get_running_loop().time()
        if len(self._handshakes) >= MAX_ADDRESSES:  # who has so many is not held up by this
            self._handshakes.clear()
        rate = self._settings.handshakes_per_second
        bucket = self._handshakes.setdefault(address, TokenBucket(rate, now))
        if address and not bucket.take(1, now):
            raise TooMany("too many handshakes from this address")
        self._check_address(address)

    def check_room_for(self, session: Session, address: str) -> None:
        """Raise TooMany if session or address have all the connections that they may have."""
        self._check_address(address)  # again, as others may have come since it knocked
        present = len(self._present.get(session.identity, ()))
        if present >= self._settings.connections_per_session:
            raise TooMany("too many connections of this session")

    def _check_address(self, address: str) -> None:
        if address and self._addresses[address] >= self._settings.connections_per_address:
            raise TooMany("too many connections from this address")

    def add(self, connection: Connection, session: Session, address: str) -> None:
        """Count a connection until it ends, and keep it informed of its session."""
        identity = session.identity
        self._present[identity].add(connection)
        self._addresses[address] += 1
        remove = partial(self._remove, connection, identity, address)
        connection.closed.add_done_callback(remove, context=connection.context)
        if session.due(time.time(), self._settings.session_idle):
            connection.requests.on_use = partial(self._look_soon, identity)
        if identity in self._recent:  # it may have been loaded before that was heard
            self.hear(identity.encode())

    def _remove(self, connection: Connection, identity: str, address: str, _: object) -> None:
        self._present[identity].discard(connection)
        if not self._present[identity]:
            del self._present[identity]
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def hear(self, message: bytes) -> None:
        """A session ended or has a new token; perhaps one that somebody here has."""
        identity = message[:64].decode("ascii", "replace")
        self._recent.append(identity)
        if identity in self._present:
            self._look_soon(identity)

    def doubt(self) -> None:
        """Messages may have been missed: look at all sessions now."""
        self._next_round = 0.0
        self._wake.set()

    async def watch(self) -> None:
        """Look at sessions that were told of, and at all of them at intervals, until cancelled."""
        subscription = await self._pubsub.subscribe(CHANNEL, self.hear, self.doubt)
        try:
            self.doubt()
            while True:
                await self._wait()
                await self._look()
        finally:
            await subscription.close()

    def _look_soon(self, identity: str) -> None:
        self._due.add(identity)
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
            self._due.update(self._present)
            self._forget_handshakes(now())

    async def _look(self) -> None:
        while self._due:
            identity = self._due.pop()
            try:
                await self._inform(identity)
            except StoreError as error:
                logger.warning("open sockets are not compared with their sessions: %s", error)
                return  # the next round has them all

    async def _inform(self, identity: str) -> None:
        ticket = await self._sessions.find(identity)
        connections = list(self._present.get(identity, ()))
        used = [connection.requests.take_used() for connection in connections]
        if ticket and any(used) and not await self._sessions.touch(ticket):
            ticket = None
        for connection in connections:
            await connection.requests.follow_session(ticket.session if ticket else None)

    def _forget_handshakes(self, now: float) -> None:
        kept = {a: bucket for a, bucket in self._handshakes.items() if not bucket.full(now)}
        self._handshakes = kept

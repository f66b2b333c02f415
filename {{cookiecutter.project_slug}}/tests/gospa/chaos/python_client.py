"""A client made of `gospa.client`, as programs use it, over a relay that may cut and move it."""

import asyncio
import contextlib
import random
from collections.abc import Sequence

from gospa.client import Client, ClientRoom, Closed, Refused, connect
from gospa.store.contract import NO_TAG
from tests.gospa.chaos.client import RESTLESS, WINDOW
from tests.gospa.chaos.mutation import Author, Mutation
from tests.gospa.chaos.rooms import flat
from tests.gospa.chaos.sight import Sight
from tests.gospa.chaos.truth import Truth
from tests.gospa.relay import Relay, relay


class PythonClient:
    """Does what ChaosClient does; it sees states, but not frames and versions of answers."""

    def __init__(
        self,
        addresses: Sequence[str],
        rooms: Sequence[str],
        truth: Truth,
        rng: random.Random,
        pace: float,
    ) -> None:
        self.writing = False
        self.restless = RESTLESS
        self.reading = asyncio.Event()  # it reads always
        self._addresses, self._names = addresses, rooms
        self._truth, self._rng, self._pace = truth, rng, pace
        self._begin()
        self._client: Client | None = None  # another one when it has ended for good
        self._relay: Relay | None = None
        self._rooms: dict[str, ClientRoom] = {}
        self._calls: dict[asyncio.Task[None], Mutation] = {}

    @property
    def pid(self) -> int | None:
        """The process that serves it."""
        if self._client is None or self._client.status != "online":
            return None
        pid: int = self._client.server["pid"]
        return pid

    @property
    def settled(self) -> bool:
        """Whether everything it asked for was answered."""
        joined = [room.membership.joined for room in self._rooms.values()]
        return len(joined) == len(self._names) and all(joined) and not self._calls

    @property
    def heads(self) -> dict[str, tuple[int, bytes]]:
        """Version and tag of what it shows of each room."""
        heads = {name: (room.version, room.tag) for name, room in self._rooms.items()}
        return {name: heads.get(name, (-1, NO_TAG)) for name in self._names}

    def rest(self) -> None:
        """All was judged."""
        for name, room in self._rooms.items():
            self._sights[name].rest(self._author.client, flat(room.state))

    def disconnect(self) -> None:
        """Lose the connection; the next is to any host."""
        if self._relay is not None:
            self._relay.port = int(self._rng.choice(self._addresses).rpartition(":")[2])
            self._relay.cut()

    async def run(self) -> None:
        while True:
            async with relay(self._rng.choice(self._addresses)) as self._relay:
                with contextlib.suppress(Closed):
                    await self._live(f"ws://{self._relay.address}/ws")
            self._truth.counts["Python clients that ended, as their session had"] += 1
            self._begin()

    def _begin(self) -> None:
        """Be a client that was shown nothing yet."""
        client = self._rng.randbytes(16).hex()
        self._author = Author(client, self._truth.shelves, self._rng)
        self._sights = {
            room: Sight(client, room, self._truth, "Python client") for room in self._names
        }

    async def _live(self, url: str) -> None:
        """Be one client until it ends for good; raises Closed."""
        async with connect(url) as self._client, contextlib.AsyncExitStack() as stack:
            stack.callback(self._rooms.clear)
            for name in self._names:
                self._rooms[name] = await self._client.join(name)
            writing = asyncio.create_task(self._write())
            try:
                await asyncio.gather(*map(self._follow, self._rooms.values()))
            finally:
                writing.cancel()
                await asyncio.gather(writing, *self._calls, return_exceptions=True)

    async def _follow(self, room: ClientRoom) -> None:
        sight = self._sights[room.name]
        async for state in room.changes():
            if state is room.state:  # else a newer one follows, whose version the room has by now
                sight.shown((room.version, room.tag), flat(state))

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(self._rng.expovariate(1 / self._pace))
            room = self._rng.choice(list(self._rooms.values()))
            pending = sum(each.room == room.name for each in self._calls.values())
            if self.writing and room.membership.joined and pending < WINDOW:
                mutation = self._author.issue(room.name)
                self._truth.open.append(mutation)
                task = asyncio.create_task(self._call(room, mutation))
                self._calls[task] = mutation
                task.add_done_callback(self._calls.pop)

    async def _call(self, room: ClientRoom, mutation: Mutation) -> None:
        try:
            request = room.run if mutation.is_command else room.call
            result = await request(mutation.kind, **mutation.arguments)
        except Refused as error:
            if error.code == "other_session":
                self._lose(mutation)
            else:
                mutation.sent += 2  # it may have been sent again
                self._truth.counts[f"errors: {error.code}"] += 1
                self._truth.refuse(mutation, error.code, error.text)
        except Closed:
            self._lose(mutation)
        else:
            self._truth.acknowledge(mutation, None, result)
            if room.membership.error is None:  # else its effect may not have arrived before the end
                head = room.version, room.tag
                self._sights[room.name].returned(mutation, head, flat(room.state))
            if self._rng.random() < self.restless:
                self.disconnect()

    def _lose(self, mutation: Mutation) -> None:
        """It may be applied at any time: what follows gets another name."""
        mutation.unknown = True
        if mutation.client == self._author.client:
            self._author.client = self._rng.randbytes(16).hex()
            for sight in self._sights.values():
                sight.leave_line()
                sight.client = self._author.client

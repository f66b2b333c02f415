"""The application as a caller of its rooms: handlers that call, once or once for each key."""

import asyncio
import itertools
import random
from collections.abc import Sequence
from typing import Any

import httpx

from tests.gospa.chaos.mutation import Author, Mutation
from tests.gospa.chaos.sight import Sight
from tests.gospa.chaos.truth import Truth

AGAIN = (0.05, 0.3)  # seconds before a key is tried again
PARALLEL = (1, 2, 3)  # requests with one key at the same time
PATIENCE = 10  # seconds for an answer


class Caller:
    """Asks any worker of any host to call a room, one change after another."""

    def __init__(
        self,
        addresses: Sequence[str],
        rooms: Sequence[str],
        truth: Truth,
        rng: random.Random,
        pace: float,
    ) -> None:
        self.writing = False
        self.settled = True
        self._addresses, self._rooms = addresses, rooms
        self._truth, self._rng, self._pace = truth, rng, pace
        self._keys = itertools.count(1)
        self._rename()

    def rest(self) -> None:
        """All was judged."""
        client = self._author.client
        for room, sight in self._sights.items():
            sight.rest(client, {client: self._truth.lines[room].get(client, [])})

    async def run(self) -> None:
        # Each request is on a connection of its own, which any worker may accept.
        headers = {"Connection": "close"}
        async with httpx.AsyncClient(headers=headers, timeout=PATIENCE) as http:
            while True:
                self.settled = True
                await asyncio.sleep(self._rng.expovariate(1 / self._pace))
                if self.writing:
                    self.settled = False
                    await self._change(http)

    async def _change(self, http: httpx.AsyncClient) -> None:
        room = self._rng.choice(self._rooms)
        mutation = self._author.issue(room)
        self._truth.open.append(mutation)
        if self._rng.random() < 0.6:
            await self._call_once(http, mutation)
        else:
            self._truth.counts["calls by the application"] += 1
            self._settle(mutation, [await self._call(http, mutation)])
        if mutation.unknown:  # it may be applied at any time: what follows gets another name
            self._rename()
        elif mutation.acknowledged and mutation.writes:
            state = await self._ask(http, {"room": room, "action": "read"})
            if state is not None and state.status_code == 200:
                self._sights[room].read(mutation, state.json()["result"])

    async def _call_once(self, http: httpx.AsyncClient, mutation: Mutation) -> None:
        """Call with a key of its own, from several workers, until all of these are answered."""
        self._truth.counts["calls once for a key"] += 1
        key = f"{mutation.client} {next(self._keys)}"
        uncertain = False
        while mutation.answered is None:
            calls = [self._call(http, mutation, key) for _ in range(self._rng.choice(PARALLEL))]
            answers = await asyncio.gather(*calls)
            self._truth.counts["requests with a key"] += len(answers)
            if None not in answers or any(each and "result" in each for each in answers):
                self._settle(mutation, answers)
                mutation.unknown = uncertain and mutation.refused is not None
            else:
                uncertain = True
                await asyncio.sleep(self._rng.uniform(*AGAIN))

    def _settle(self, mutation: Mutation, answers: Sequence[dict[str, Any] | None]) -> None:
        """Note what was answered: to one of several requests, if that is that it was applied."""
        known = [each for each in answers if each is not None]
        applied = [each["result"] for each in known if "result" in each]
        if applied:
            result = next((each for each in applied if each is not None), None)
            self._truth.acknowledge(mutation, None, result)
        elif known:
            self._truth.refuse(mutation, known[0]["code"], known[0]["text"])
        else:
            mutation.unknown = True

    async def _call(
        self, http: httpx.AsyncClient, mutation: Mutation, key: str = ""
    ) -> dict[str, Any] | None:
        """The result or the refusal; None if it is unknown whether it was applied."""
        action = {"room": mutation.room, "action": mutation.kind, "args": mutation.arguments}
        answer = await self._ask(http, {**action, "key": key})
        if answer is None or answer.status_code not in (200, 409):
            return None
        said: dict[str, Any] = answer.json()
        return said

    async def _ask(self, http: httpx.AsyncClient, body: dict[str, Any]) -> httpx.Response | None:
        address = self._rng.choice(self._addresses)
        try:
            return await http.post(f"http://{address}/call", json=body)
        except httpx.TransportError:
            return None

    def _rename(self) -> None:
        client = self._rng.randbytes(16).hex()
        self._author = Author(client, self._truth.shelves, self._rng)
        self._sights = {room: Sight(client, room, self._truth, "caller") for room in self._rooms}

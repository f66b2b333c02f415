"""Sets alarms of rooms that nobody is in, and checks that each ran once."""

import asyncio
import itertools
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import httpx

from tests.gospa.chaos.rooms import items_of
from tests.gospa.chaos.truth import Kind, Truth

ROOMS = [f"timer/{number}" for number in range(12)]
LONGEST = 3.0  # seconds that an alarm waits
PATIENCE = 10  # seconds for an answer
AGAIN = 0.2  # seconds between requests
LOST = "alarms lost with the store"


class Alarms:
    """One alarm after another in each room, set through any worker of any host."""

    def __init__(self, addresses: Sequence[str], truth: Truth, rng: random.Random) -> None:
        self.writing = False
        self._addresses, self._truth, self._rng = addresses, truth, rng
        self._tokens = itertools.count(1)
        self._waiting: set[str] = set()  # rooms whose alarm has not run

    @property
    def settled(self) -> bool:
        """Whether each alarm that was set has run."""
        return not self._waiting

    def rest(self) -> None:
        """All was judged."""

    async def run(self) -> None:
        headers = {"Connection": "close"}  # so that any worker may answer
        async with httpx.AsyncClient(headers=headers, timeout=PATIENCE) as http:
            await asyncio.gather(*(self._use(http, room) for room in ROOMS))

    async def _use(self, http: httpx.AsyncClient, room: str) -> None:
        while True:
            await asyncio.sleep(AGAIN)
            if self.writing:
                self._waiting.add(room)
                await self._set_one(http, room, f"{next(self._tokens)}")
                self._waiting.remove(room)

    async def _set_one(self, http: httpx.AsyncClient, room: str, token: str) -> None:
        args = {"token": token, "after": self._rng.uniform(0, LONGEST)}
        call = {"room": room, "action": "arm", "args": args, "key": f"alarm {token}"}
        await self._ask(http, call)
        state: dict[str, Any] = {"pending": token}
        while state.get("pending") == token:
            state = await self._ask(http, {"room": room, "action": "read"})
        self._judge(room, token, state)

    def _judge(self, room: str, token: str, state: dict[str, Any]) -> None:
        lossy = any(loss.concerns(room) for loss in self._truth.losses)
        rung = items_of(state, "rung").get(token)
        if rung is not None:
            self._truth.counts["alarms that ran"] += 1
            self._truth.lateness.append(rung["late"])
        elif lossy:
            self._truth.counts[LOST] += 1
        else:
            self._truth.violate(Kind.LOST, f"the alarm {token} of {room} did not run: {state}")
        if (state.get("strays", 0) or (rung and rung["times"] > 1)) and not lossy:
            self._truth.violate(Kind.DOUBLED, f"an alarm of {room} ran twice: {state}")

    async def _ask(self, http: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
        """What a worker answers, in the end."""
        while True:
            await asyncio.sleep(AGAIN)
            address = self._rng.choice(self._addresses)
            with suppress(httpx.TransportError):
                answer = await http.post(f"http://{address}/call", json={"key": "", **body})
                if answer.status_code == 200:
                    return dict(answer.json()["result"] or {})

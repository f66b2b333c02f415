"""A room with commands that wait for somebody else, as the tests say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gospa import (
    Access,
    Caller,
    Member,
    Room,
    RoomError,
    Session,
    State,
    action,
    command,
)
from gospa.testing import OpenApp, Site

BANK = "bank/a"

Answer = list[int | str | None]


class BankState(State):
    paid: int = 0
    fees: int = 0
    log: list[str] = []


class Bank(Room[BankState]):
    """Payments that wait for somebody else, as the tests say."""

    pattern = "bank/<name>"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    @action(server=True)
    def pay(self, state: BankState, member: Member, amount: int) -> int:
        if amount > 100:
            raise RoomError("this is too much")
        state.paid += amount
        return state.paid

    @action(server=True)
    def charge(self, state: BankState) -> None:
        state.fees += 1

    @command
    async def order(self, caller: Caller, amount: int, wait: bool = True) -> Answer:
        """Pay, wait for the bank, and charge a fee."""
        self.app.ctx.runs.append(caller.id)
        paid = await caller.call(Bank.pay, amount=amount)
        if wait:
            await self.app.ctx.answer(caller)
        await caller.call(Bank.charge)
        return [paid, caller.user]

    @command
    async def ask(self) -> str:
        await self.app.ctx.answer(None)
        return "yes"

    @command
    async def answer_oddly(self) -> Any:
        return object()

    @command
    async def reach(self, caller: Caller) -> None:
        await caller.call(Other.go)


class Other(Room[State]):
    pattern = "other"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    @action
    def go(self, state: State) -> None: ...


class World:
    """What commands ask, which answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def answer(self, _: Caller | None) -> None:
        self.asked += 1
        await self.answers.wait()


@asynccontextmanager
async def open_bank(open_app: OpenApp) -> AsyncIterator[Site]:
    """Serve these rooms, with a world that answers."""
    async with open_app([Bank, Other]) as site:
        site.app.ctx.runs = []
        site.app.ctx.world = World()
        site.app.ctx.answer = site.app.ctx.world.answer
        yield site

"""Rooms of an application that sells things: what it does in them by itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Struct
from sanic import Blueprint, Request, json

from gospa import (
    Access,
    Caller,
    Event,
    Items,
    Member,
    Room,
    RoomError,
    Session,
    State,
    action,
    command,
    rooms_of,
)
from gospa.testing import OpenApp, Site

ROOM = "shop/toys"


class Sale(Struct):
    item: str
    price: int
    by_server: bool = False


class ShopState(State):
    stock: int = 3
    sold: Items[Sale] = Items()


class Shop(Room[ShopState]):
    """A shop that only the application sells from."""

    pattern = "shop/<name>"
    sold = Event(Sale, server=True)
    asked = Event(str)

    async def authorize(self, session: Session) -> Access:
        banned = getattr(self.app.ctx, "banned", ())
        return Access.NONE if session.user in banned else Access.FULL

    @action
    def ask(self, state: ShopState, member: Member, item: str) -> list[Any]:
        return [member.user, member.server, item]

    @action(server=True)
    def sell(self, state: ShopState, member: Member, item: str, price: int = 1) -> int:
        if state.stock == 0:
            raise RoomError("sold out")
        state.stock -= 1
        state.sold.append(Sale(item, price, member.server))
        return state.stock

    @action
    def look(self, state: ShopState) -> int:
        return state.stock

    @action
    def fail(self, state: ShopState) -> None:
        raise ZeroDivisionError

    @command
    async def restock(self, caller: Caller, items: list[str]) -> list[Any]:
        """Sell things, one after another; the application's own way."""
        return [await caller.call(Shop.sell, item=item) for item in items]


class MailState(State):
    unread: int = 0


class Mail(Room[MailState]):
    """Each session has one."""

    pattern = "mail"
    scope = "session"
    arrived = Event(str, server=True)

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    @action(server=True)
    def count(self, state: MailState) -> int:
        state.unread += 1
        return state.unread


class Purse(Room[MailState]):
    """Each user has one, on all devices; a visitor has one in the session."""

    pattern = "purse/<name>"
    scope = "user"
    arrived = Event(str, server=True)

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    @action(server=True)
    def count(self, state: MailState) -> int:
        state.unread += 1
        return state.unread


ROOMS = [Shop, Mail, Purse]
hooks = Blueprint("hooks")


@hooks.post("/webhook")
async def webhook(request: Request) -> Any:
    rooms = rooms_of(request)
    left = await rooms.once(request.json["id"]).call(Shop.sell, ROOM, request.json["item"])
    return json({"left": left})


@asynccontextmanager
async def open_shop(open_app: OpenApp) -> AsyncIterator[Site]:
    """Serve these rooms, with nobody banned and no extras."""
    async with open_app(ROOMS, views=[hooks], extras=[]) as site:
        site.app.ctx.banned = set()
        yield site

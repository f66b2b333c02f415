"""A job: closes what is over. It runs in every worker, and each auction closes once."""

import asyncio

from sanic import Sanic

from auction.database import database_of
from auction.rooms import Auction, Inbox
from gospa import rooms_of

INTERVAL = 0.5  # seconds


async def closer(app: Sanic) -> None:
    while True:
        for name in await database_of(app).close_due():
            await announce(app, name)
        await asyncio.sleep(INTERVAL)


async def announce(app: Sanic, name: str) -> None:
    """Show that an auction is closed. May run again, or at the same time on other workers."""
    database, rooms = database_of(app), rooms_of(app)
    bids = await database.newest(name)
    first = await rooms.once("close").call(Auction.close, Auction.named(name=name), bids=bids)
    if first and bids:
        await rooms.for_user(bids[-1].bidder).send(Inbox.notice, "inbox", f"{name}: you won")
    await database.announced(name)

"""The database, a resource of the application. It decides which bids count."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite
from msgspec import Struct
from sanic import Sanic

KEPT = 20  # bids that a room shows
SCHEMA = """
CREATE TABLE IF NOT EXISTS auctions (
    name TEXT PRIMARY KEY,
    item TEXT NOT NULL,
    closes_at REAL NOT NULL,  -- seconds since 1970
    closed INTEGER NOT NULL DEFAULT 0,  -- takes no more bids
    announced INTEGER NOT NULL DEFAULT 0,  -- its room shows that it is closed
    paid INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS bids (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    auction TEXT NOT NULL REFERENCES auctions (name),
    bidder TEXT NOT NULL,
    amount INTEGER NOT NULL,
    command TEXT NOT NULL UNIQUE  -- a command that runs again places no second bid
);
CREATE INDEX IF NOT EXISTS bids_of_an_auction ON bids (auction, amount);
"""
PLACE = """
INSERT INTO bids (auction, bidder, amount, command)
SELECT name, ?2, ?3, ?4 FROM auctions
WHERE name = ?1 AND NOT closed AND closes_at > unixepoch()
    AND ?3 > (SELECT coalesce(max(amount), 0) FROM bids WHERE auction = ?1)
ON CONFLICT (command) DO NOTHING
"""
PAY = """
UPDATE auctions SET paid = 1
WHERE name = ?1 AND closed AND ?2 = (SELECT max(amount) FROM bids WHERE auction = ?1)
"""


class Bid(Struct, frozen=True):
    number: int
    bidder: str
    amount: int


class Database:
    """Each statement is a transaction of its own."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def offer(self, name: str, item: str, closes_at: float) -> bool:
        """Begin an auction; returns whether the name was free."""
        offer = "INSERT OR IGNORE INTO auctions (name, item, closes_at) VALUES (?, ?, ?)"
        return await self._change(offer, name, item, closes_at)

    async def lot(self, name: str) -> tuple[str, float, bool, bool] | None:
        """The item, when it closes, whether it is closed, and paid."""
        find = "SELECT item, closes_at, closed, paid FROM auctions WHERE name = ?"
        for item, closes_at, closed, paid in await self._rows(find, name):
            return item, closes_at, bool(closed), bool(paid)
        return None

    async def newest(self, name: str) -> list[Bid]:
        """The last bids that were accepted, oldest first."""
        find = "SELECT number, bidder, amount FROM bids WHERE auction = ? ORDER BY amount DESC"
        return [Bid(*row) for row in (await self._rows(f"{find} LIMIT {KEPT}", name))[::-1]]

    async def place(self, name: str, bidder: str, amount: int, command: str) -> bool:
        """Place a bid; returns whether it counts, as it does when its command runs again."""
        placed = await self._change(PLACE, name, bidder, amount, command)
        return placed or bool(await self._rows("SELECT 1 FROM bids WHERE command = ?", command))

    async def close_due(self) -> list[str]:
        """Close what is over; returns what nobody has announced. No bid comes after this."""
        await self._change("UPDATE auctions SET closed = 1 WHERE closes_at <= unixepoch()")
        rows = await self._rows("SELECT name FROM auctions WHERE closed AND NOT announced")
        return [name for (name,) in rows]

    async def announced(self, name: str) -> None:
        await self._change("UPDATE auctions SET announced = 1 WHERE name = ?", name)

    async def pay(self, name: str, amount: int) -> bool:
        """Record a payment; returns whether that is what the winner owes."""
        return await self._change(PAY, name, amount)

    async def _change(self, statement: str, *values: object) -> bool:
        async with self._connection.execute(statement, values) as cursor:
            return cursor.rowcount > 0

    async def _rows(self, statement: str, *values: object) -> list[Any]:
        return list(await self._connection.execute_fetchall(statement, values))


@asynccontextmanager
async def database(app: Sanic) -> AsyncIterator[None]:
    """Open the database, which `database_of` finds."""
    path = os.environ.get("DATABASE", "auctions.sqlite3")
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        await connection.executescript(SCHEMA)
        app.ctx.database = Database(connection)
        yield


def database_of(app: Sanic) -> Database:
    found: Database = app.ctx.database
    return found

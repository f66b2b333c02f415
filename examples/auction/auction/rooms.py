"""An auction as everybody sees it, and what a user is told."""

from typing import Annotated

from msgspec import Meta, Struct

from auction.database import KEPT, Bid, database_of
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

Text = Annotated[str, Meta(min_length=1, max_length=500)]
Amount = Annotated[int, Meta(ge=1, le=10**9)]


class Remark(Struct, frozen=True):
    by: str
    text: Text


class AuctionState(State):
    item: str = ""
    closes_at: float = 0.0  # seconds since 1970
    highest: int = 0
    bidder: str | None = None
    newest: int = 0  # the number of the newest bid
    closed: bool = False
    paid: bool = False
    bids: Items[Bid] = Items(keep=KEPT)
    chat: Items[Remark] = Items(keep=50)


class Auction(Room[AuctionState]):
    """Users bid and talk, all others watch. The database decides, and the room shows it."""

    pattern = "auction/<name>"
    presence = "people"

    async def authorize(self, session: Session) -> Access:
        if await database_of(self.app).lot(self.params["name"]) is None:
            return Access.NONE
        return Access.FULL if session.user else Access.READ

    async def load(self) -> AuctionState | None:
        database, name = database_of(self.app), self.params["name"]
        if (lot := await database.lot(name)) is None:
            return None
        item, closes_at, closed, paid = lot
        state = AuctionState(item=item, closes_at=closes_at, closed=closed, paid=paid)
        self.show(state, bids=await database.newest(name))
        return state

    @command
    async def bid(self, caller: Caller, amount: Amount) -> None:
        database, name = database_of(self.app), self.params["name"]
        if caller.user is None:
            raise RoomError("only users bid")
        placed = await database.place(name, caller.user, amount, caller.id)
        outbid = await caller.call(Auction.show, bids=await database.newest(name))
        if not placed:
            raise RoomError("the auction is over, or there is a higher bid")
        if outbid and outbid != caller.user:
            user = rooms_of(self.app).for_user(outbid)
            await user.send(Inbox.notice, "inbox", f"{name}: someone bid {amount}")

    @action(server=True)
    def show(self, state: AuctionState, bids: list[Bid]) -> str | None:
        """Show bids that the room has not shown yet; returns who was the highest bidder before.

        Workers may come here in another order than to the database, and one that died not at all.
        So each brings the last bids, and whoever is late brings nothing new.
        """
        before = state.bidder
        for bid in bids:
            if bid.number > state.newest:
                state.newest, state.highest, state.bidder = bid.number, bid.amount, bid.bidder
                state.bids.append(bid)
        return before

    @action(server=True)
    def close(self, state: AuctionState, bids: list[Bid]) -> bool:
        self.show(state, bids=bids)
        state.closed = True
        sold = f"sold to {state.bidder} for {state.highest}" if state.bidder else "not sold"
        state.chat.append(Remark("auction", sold))
        return True

    @action(server=True)
    def mark_paid(self, state: AuctionState) -> None:
        state.paid = True
        state.chat.append(Remark("auction", "paid"))

    @action
    def say(self, state: AuctionState, member: Member, text: Text) -> None:
        state.chat.append(Remark(member.user or "?", text))


class Inbox(Room[State]):
    """Notices for a user, on all of their devices."""

    pattern = "inbox"
    scope = "user"
    notice = Event(str, server=True)

    async def authorize(self, session: Session) -> Access:
        return Access.FULL if session.user else Access.NONE

"""An auction, in one process on the chosen backends."""

import hashlib
import hmac
import json
import time

import pytest

from auction.database import Bid, database_of
from auction.rooms import Auction, AuctionState
from gospa import rooms_of
from gospa.testing import Refused, Site

ROOM = "auction/lamp"


async def offer(site: Site, name: str = "lamp", seconds: float = 60) -> None:
    assert await database_of(site.app).offer(name, f"A {name}", time.time() + seconds)


async def end(site: Site) -> None:
    """Have the time of all auctions be over."""
    assert await database_of(site.app)._change("UPDATE auctions SET closes_at = 0")  # noqa: SLF001


async def pay(site: Site, secret: bytes = b"example", **payment: object) -> int:
    body = json.dumps({"id": "p1", "auction": "lamp", "amount": 5, **payment}).encode()
    signature = hmac.new(secret, body, hashlib.sha256).hexdigest()
    async with site.http() as http:
        headers = {"X-Signature": signature}
        return (await http.post("/payments", content=body, headers=headers)).status_code


def test_bids_are_shown_in_the_order_of_the_database() -> None:
    state, auction = AuctionState(), Auction(ROOM, {"name": "lamp"})
    first, second = Bid(1, "ann", 5), Bid(2, "bob", 7)
    assert auction.show(state, bids=[first, second]) is None
    assert auction.show(state, bids=[first]) == "bob"
    assert (state.highest, state.bidder, list(state.bids.values())) == (7, "bob", [first, second])


async def test_only_a_higher_bid_counts_and_who_is_outbid_is_told(site: Site) -> None:
    await offer(site)
    async with site.connect(user="ann") as ann, site.connect(user="bob") as bob:
        room, inbox = await ann.join(ROOM), await ann.join("inbox")
        await room.run("bid", amount=5)
        other = await bob.join(ROOM)
        with pytest.raises(Refused, match="a higher bid"):
            await other.run("bid", amount=5)
        await other.run("bid", amount=6)
        assert (await inbox.next_event("notice")).payload == "lamp: someone bid 6"
        await room.until(lambda state: state["bidder"] == "bob")
    await rooms_of(site.app).delete(ROOM)
    state = await rooms_of(site.app).read(Auction, ROOM)
    assert [bid.amount for bid in state.bids.values()] == [5, 6]


async def test_visitors_watch(site: Site) -> None:
    await offer(site)
    async with site.connect() as visitor, site.connect(user="ann") as ann:
        room = await visitor.join(ROOM)
        with pytest.raises(Refused, match="unauthorized"):
            await room.call("say", text="hello")
        await (await ann.join(ROOM)).call("say", text="hello")
        await room.until(lambda state: len(state["chat"]) == 1)
        with pytest.raises(Refused, match="unauthorized"):
            await visitor.join("auction/none")


async def test_an_auction_is_sold_offered_and_paid(site: Site) -> None:
    async with site.http(user="ann") as http:
        form = {"name": "lamp", "item": "A lamp", "minutes": "60"}
        assert (await http.post("/auctions", data={**form, "minutes": "0"})).status_code == 422
        assert (await http.post("/auctions", data=form)).status_code == 200
        assert (await http.post("/auctions", data=form)).status_code == 409
    async with site.connect(user="ann") as ann:
        room, inbox = await ann.join(ROOM), await ann.join("inbox")
        await room.run("bid", amount=5)
        assert await pay(site) == 422
        await end(site)
        assert (await inbox.next_event("notice")).payload == "lamp: you won"
        assert await pay(site, b"guess") == 401
        assert await pay(site, amount=4) == 422
        assert [await pay(site), await pay(site)] == [204, 204]
        state = await room.until(lambda state: state["paid"])
        said = [line["text"] for line in state["chat"].values()]
        assert said == ["sold to ann for 5", "paid"]

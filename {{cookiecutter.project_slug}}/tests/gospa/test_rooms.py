"""The rooms as the application uses them: beside browsers, on other workers, in a script."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sanic import Sanic

from gospa import (
    Invalid,
    RoomError,
    Rooms,
    StoreUnavailable,
    UnknownRoom,
    rooms_of,
    storage_of,
)
from gospa.app import Backends
from gospa.store.draft import StateTooLarge
from gospa.testing import OpenApp, Refused, Site, logged_in
from tests.gospa.raw_client import ConnectRaw, raw_client
from tests.gospa.shop import ROOM, ROOMS, Mail, Sale, Shop, open_shop


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_shop(open_app) as site:
        yield site


async def test_a_call_returns_its_result_and_members_see_it(
    rooms: Rooms, connect_raw: ConnectRaw
) -> None:
    async with connect_raw() as ann:
        await ann.join(ROOM)
        assert await rooms.call(Shop.sell, ROOM, "ball", price=5) == 2
        state = await ann.sees(ROOM, lambda state: state["stock"] == 2)
        sales = [state[key] for key in state if key.startswith("sold/")]
        assert sales == [{"item": "ball", "price": 5, "by_server": True}]


async def test_what_a_call_raises_reaches_the_caller_and_changes_nothing(rooms: Rooms) -> None:
    for _ in range(3):
        await rooms.call(Shop.sell, ROOM, "ball")
    with pytest.raises(RoomError, match="sold out"):
        await rooms.call(Shop.sell, ROOM, "ball")
    with pytest.raises(ZeroDivisionError):
        await rooms.call(Shop.fail, ROOM)
    with pytest.raises(Invalid, match="price"):
        await rooms.call(Shop.sell, ROOM, "ball", price="1")  # type: ignore[arg-type]
    with pytest.raises(UnknownRoom):
        await rooms.call(Shop.sell, "nowhere", "ball")
    with pytest.raises(UnknownRoom, match="is a Shop, not a Mail"):
        await rooms.call(Mail.count, ROOM)
    with pytest.raises(Invalid, match="for_user"):
        await rooms.call(Mail.count, "mail")


@pytest.mark.parametrize(("item", "error"), [("\ud800", Invalid), ("x" * 200, StateTooLarge)])
async def test_what_a_room_cannot_hold_changes_nothing(
    open_app: OpenApp, item: str, error: type[Exception]
) -> None:
    async with open_app([Shop], room_size=200) as site:
        with pytest.raises(error):
            await rooms_of(site.app).call(Shop.sell, ROOM, item)
        assert (await rooms_of(site.app).read(Shop, ROOM)).stock == 3


async def test_mistakes_of_the_caller_are_explained(rooms: Rooms) -> None:
    with pytest.raises(TypeError, match=r"such as Poll\.vote"):
        await rooms.call("sell", ROOM)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="empty"):
        rooms.once("")
    with pytest.raises(UnknownRoom, match="presence = True in Shop"):
        await rooms.members(ROOM)
    with pytest.raises(RuntimeError, match="open_rooms"):
        rooms_of(Sanic("never_started"))
    Sanic.unregister_app(Sanic.get_app("never_started"))


async def test_a_view_that_lets_a_refusal_through_answers_with_its_reason(site: Site) -> None:
    async with site.http() as http:
        for item, status, said in (("ball", 200, "left"), (5, 400, "Expected `str`")):
            answer = await http.post("/webhook", json={"id": f"{item}", "item": item})
            assert (answer.status_code, said in answer.text) == (status, True)
        for number in range(3):
            answer = await http.post("/webhook", json={"id": f"n{number}", "item": "ball"})
        assert (answer.status_code, answer.text) == (409, "sold out\n")


async def test_a_member_may_not_call_or_send_what_is_the_applications(
    connect_raw: ConnectRaw,
) -> None:
    async with connect_raw() as ann:
        await ann.join(ROOM)
        with pytest.raises(Refused, match="only the application may call sell"):
            await ann.call(ROOM, "sell", item="ball")
        await ann.emit(ROOM, "sold", {"item": "ball", "price": 1})
        refusal = await ann.until(lambda message: message[0] == 4)
        assert refusal[1:] == [None, "refused", "only the application may send sold", ROOM]


async def test_calls_that_wait_together_share_a_commit(rooms: Rooms) -> None:
    await rooms.call(Shop.look, ROOM)
    counts = await asyncio.gather(*(rooms.call(Shop.sell, ROOM, "ball") for _ in range(3)))
    assert sorted(counts) == [0, 1, 2]
    snapshot = await rooms_store(rooms).load(ROOM)
    assert snapshot.version == 1


def rooms_store(rooms: Rooms) -> Any:
    return rooms._hub.store  # noqa: SLF001 - the version of a room is not for users


async def test_once_applies_a_call_one_time_however_often_it_comes(
    rooms: Rooms, site: Site
) -> None:
    once = [rooms.once("event-1").call(Shop.sell, ROOM, "ball") for _ in range(5)]
    results = await asyncio.gather(*once)
    assert sorted(results, key=str) == [2, None, None, None, None]
    async with site.http() as http:
        for _ in range(2):
            await http.post("/webhook", json={"id": "event-1", "item": "ball"})
            answer = await http.post("/webhook", json={"id": "event-2", "item": "kite"})
    assert answer.json() == {"left": None}
    assert (await rooms.read(Shop, ROOM)).stock == 1


async def test_once_remembers_a_call_that_changed_nothing_and_forgets_a_refused_one(
    rooms: Rooms,
) -> None:
    assert await rooms.once("look").call(Shop.look, ROOM) == 3
    assert await rooms.once("look").call(Shop.look, ROOM) is None
    assert await rooms.once("look").call(Shop.look, "shop/other") == 3
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await rooms.once("fail").call(Shop.fail, ROOM)


async def test_a_read_is_of_the_store_and_opens_nothing(rooms: Rooms, site: Site) -> None:
    state = await rooms.read(Shop, ROOM)
    assert (state.stock, dict(state.sold)) == (3, {})
    assert site.app.ctx.hub.rooms == {}
    await rooms.call(Shop.sell, ROOM, "ball")
    state = await rooms.read(Shop, ROOM)
    assert (state.stock, [sale.item for sale in state.sold.values()]) == (2, ["ball"])
    with pytest.raises(TypeError, match="call an action"):
        state.stock = 3


async def test_a_watch_gives_the_state_now_and_after_each_change(rooms: Rooms) -> None:
    async with rooms.watch(Shop, ROOM) as states, asyncio.timeout(40):
        assert (await anext(states)).stock == 3
        await rooms.call(Shop.sell, ROOM, "ball")
        assert (await anext(states)).stock == 2
        for _ in range(2):
            await rooms.call(Shop.sell, ROOM, "ball")
        async for state in states:
            if state.stock == 0:
                break


async def test_a_watch_ends_with_the_worker(open_app: OpenApp) -> None:
    async with open_app([Shop]) as site:
        watching = rooms_of(site.app).watch(Shop, ROOM)
        states = await watching.__aenter__()
        await anext(states)
    with pytest.raises(StopAsyncIteration):
        await anext(states)
    await watching.__aexit__(None, None, None)


async def test_an_event_reaches_those_who_are_in_the_room(
    rooms: Rooms, connect_raw: ConnectRaw
) -> None:
    async with connect_raw() as ann:
        await ann.join(ROOM)
        await rooms.send(Shop.sold, ROOM, Sale("ball", 5))
        message = await ann.until(lambda message: message[0] == 2)
        sale = {"item": "ball", "price": 5, "by_server": False}
        assert message == [2, ROOM, "sold", sale, None]
    with pytest.raises(Invalid):
        await rooms.send(Shop.sold, ROOM, "ball")  # type: ignore[misc]


async def test_a_deleted_room_is_as_if_nobody_had_changed_it(rooms: Rooms) -> None:
    await rooms.call(Shop.sell, ROOM, "ball")
    await rooms.delete(ROOM)
    assert (await rooms.read(Shop, ROOM)).stock == 3


async def test_names_are_those_of_stored_rooms(rooms: Rooms) -> None:
    for name in (ROOM, "shop/other"):
        await rooms.call(Shop.sell, name, "ball")
    assert {name async for name in rooms.names()} == {ROOM, "shop/other"}
    assert [name async for name in rooms.names("shop/o")] == ["shop/other"]


async def test_the_application_may_write_a_name_in_any_normal_form(rooms: Rooms) -> None:
    await rooms.call(Shop.sell, "shop/cafe\u0301", "ball")
    assert (await rooms.read(Shop, Shop.named(name="caf\u00e9"))).stock == 2
    assert [name async for name in rooms.names("shop/cafe\u0301")] == ["shop/caf\u00e9"]
    with pytest.raises(UnknownRoom, match="write '50%25' in its name"):
        await rooms.read(Shop, "shop/50%")


@pytest.mark.slow
async def test_a_call_fails_and_does_not_hang_when_the_worker_stops(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app([Shop]) as site:
        rooms = rooms_of(site.app)
        await rooms.call(Shop.look, ROOM)
        asked = asyncio.Event()

        async def hang(*_: Any) -> None:
            asked.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(site.app.ctx.hub.store, "commit", hang)
        calls = [asyncio.ensure_future(rooms.call(Shop.look, ROOM)) for _ in range(300)]
        await asked.wait()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 300
    with pytest.raises(StoreUnavailable):
        await rooms.call(Shop.look, ROOM)


async def test_a_call_whose_room_is_being_opened_fails_when_the_worker_stops(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app([Shop]) as site:
        hub, asked = site.app.ctx.hub, asyncio.Event()

        async def hang(_: str) -> None:
            asked.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(hub.store, "load", hang)
        calls = [asyncio.ensure_future(rooms_of(site.app).call(Shop.look, ROOM)) for _ in range(2)]
        await asked.wait()
        calls[0].cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, StoreUnavailable]
    assert hub.rooms == {}


async def test_who_stops_watching_leaves_no_listener(rooms: Rooms, site: Site) -> None:
    async with rooms.watch(Shop, ROOM) as states:
        await anext(states)
        (local,) = site.app.ctx.hub.rooms.values()
        assert len(local.listeners) == 1
    assert local.listeners == set()


async def test_the_application_has_a_storage_of_its_own(
    site: Site, connect_raw: ConnectRaw
) -> None:
    storage = storage_of(site.app)
    async with connect_raw(user="ann"):
        await storage.set("key", b"1", ttl=60)
        assert await storage.replace("key", b"1", b"2")
        assert await storage.get("key") == b"2"
        assert [key async for key in storage.keys("")] == ["key"]
        assert [session.user for session in await site.app.ctx.sessions.sessions_of("ann")] == [
            "ann"
        ]
        assert await storage.delete("key")


async def test_two_workers_call_the_same_room(
    open_app: OpenApp, backends: Backends, site: Site
) -> None:
    if not backends.state.shared:
        pytest.skip("workers share nothing")
    async with open_app(ROOMS) as other, raw_client(site) as ann:
        await ann.join(ROOM)
        await rooms_of(other.app).call(Shop.sell, ROOM, "ball")
        await ann.sees(ROOM, lambda state: state["stock"] == 2)
        await rooms_of(other.app).send(Shop.sold, ROOM, Sale("ball", 1))
        assert (await ann.hears(ROOM, "sold"))["item"] == "ball"
        cookie = await logged_in(other.app, "eve")
        async with raw_client(site, cookie=cookie) as eve:
            await eve.join(ROOM)
            await rooms_of(other.app).kick(ROOM, member=eve.welcome[2])
            await eve.until(lambda message: message[0] == 4)

"""The rooms as the application uses them: beside browsers, on other workers, in a script."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NoReturn

import pytest
from msgspec import Struct
from sanic import Blueprint, Request, Sanic, json

from gospa import (
    Draft,
    Event,
    Invalid,
    Member,
    Room,
    RoomError,
    Rooms,
    Session,
    StoreError,
    StoreUnavailable,
    UnknownRoom,
    action,
    create_app,
    open_rooms,
    rooms_of,
    storage_of,
)
from gospa.app import Backends
from gospa.settings import Settings
from gospa.testing import Connect, OpenApp, Refused, Site, logged_in, serve, until


class Sale(Struct):
    item: str
    price: int


class Shop(Room):
    """A shop that only the application sells from."""

    pattern = "shop/<name>"
    initial = {"sold": [], "stock": 3}
    sold = Event(Sale, server=True)
    asked = Event(str)

    async def authorize(self, session: Session) -> bool:
        return session.user != "bob" or not self.app.ctx.banned

    @action
    def ask(self, state: Draft, member: Member, item: str) -> list[Any]:
        return [member.user, member.server, item]

    @action(server=True)
    def sell(self, state: Draft, member: Member, item: str, price: int = 1) -> int:
        if state["stock"] == 0:
            raise RoomError("sold out")
        state["stock"] -= 1
        state["sold"] = [*state["sold"], [item, price, member.server]]
        return int(state["stock"])

    @action
    def look(self, state: Draft) -> int:
        return int(state["stock"])

    @action
    def fail(self, state: Draft) -> None:
        raise ZeroDivisionError


class Mail(Room):
    pattern = "mail"
    private = True
    initial = {"unread": 0}
    arrived = Event(str, server=True)

    async def authorize(self, session: Session) -> bool:
        return True

    @action(server=True)
    def count(self, state: Draft) -> int:
        state["unread"] += 1
        return int(state["unread"])


ROOM = "shop/toys"

hooks = Blueprint("hooks")


@hooks.post("/webhook")
async def webhook(request: Request) -> Any:
    rooms = rooms_of(request)
    left = await rooms.once(request.json["id"]).call(Shop.sell, ROOM, request.json["item"])
    return json({"left": left})


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app([Shop, Mail], views=[hooks], extras=[]) as site:
        site.app.ctx.banned = False
        yield site


@pytest.fixture
def rooms(site: Site) -> Rooms:
    return rooms_of(site.app)


async def test_a_call_returns_its_result_and_members_see_it(rooms: Rooms, connect: Connect) -> None:
    async with connect() as ann:
        await ann.join(ROOM)
        assert await rooms.call(Shop.sell, ROOM, "ball", price=5) == 2
        state = await ann.sees(ROOM, lambda state: state["stock"] == 2)
        assert state["sold"] == [["ball", 5, True]]


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


async def test_what_a_room_cannot_hold_is_refused(open_app: OpenApp) -> None:
    async with open_app([Shop], room_size=200) as site:
        for item in ("\ud800", "x" * 200):
            with pytest.raises(Invalid):
                await rooms_of(site.app).call(Shop.sell, ROOM, item)


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


async def test_a_member_may_not_call_or_send_what_is_the_applications(connect: Connect) -> None:
    async with connect() as ann:
        await ann.join(ROOM)
        with pytest.raises(Refused, match="only the application may call sell"):
            await ann.call(ROOM, "sell", item="ball")
        await ann.emit(ROOM, "sold", {"item": "ball", "price": 1})
        refusal = await ann.until(lambda message: message[0] == 4)
        assert refusal[1:] == [None, "unauthorized", "only the application may send sold", ROOM]


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
    assert (await rooms.read(Shop, ROOM))["stock"] == 1


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
    assert await rooms.read(Shop, ROOM) == {"sold": [], "stock": 3}
    assert site.app.ctx.hub.rooms == {}
    await rooms.call(Shop.sell, ROOM, "ball")
    state = await rooms.read(Shop, ROOM)
    assert state["stock"] == 2
    with pytest.raises(TypeError):
        state["stock"] = 3  # type: ignore[index]


async def test_a_watch_gives_the_state_now_and_after_each_change(rooms: Rooms) -> None:
    async with rooms.watch(Shop, ROOM) as states, asyncio.timeout(40):
        assert (await anext(states))["stock"] == 3
        await rooms.call(Shop.sell, ROOM, "ball")
        assert (await anext(states))["stock"] == 2
        for _ in range(2):
            await rooms.call(Shop.sell, ROOM, "ball")
        async for state in states:
            if state["stock"] == 0:
                break


async def test_a_watch_ends_with_the_worker(open_app: OpenApp) -> None:
    async with open_app([Shop]) as site:
        watching = rooms_of(site.app).watch(Shop, ROOM)
        states = await watching.__aenter__()
        await anext(states)
    with pytest.raises(StopAsyncIteration):
        await anext(states)
    await watching.__aexit__(None, None, None)


async def test_an_event_reaches_those_who_are_in_the_room(rooms: Rooms, connect: Connect) -> None:
    async with connect() as ann:
        await ann.join(ROOM)
        await rooms.send(Shop.sold, ROOM, Sale("ball", 5))
        message = await ann.until(lambda message: message[0] == 2)
        assert message == [2, ROOM, "sold", {"item": "ball", "price": 5}, ""]
    with pytest.raises(Invalid):
        await rooms.send(Shop.sold, ROOM, "ball")  # type: ignore[misc]


async def test_a_user_is_told_in_all_of_their_tabs_and_nobody_else(
    rooms: Rooms, site: Site, connect: Connect
) -> None:
    async with connect(user="ann") as one, connect(user="ann") as other, connect(user="bob") as bob:
        for member in (one, other, bob):
            await member.join("mail")
        await rooms.for_user("ann").send(Mail.arrived, "mail", "hello")
        for member in (one, other):
            assert await member.hears("mail", "arrived") == "hello"
        assert await rooms.for_user("ann").call(Mail.count, "mail") == [1, 1]
        assert await rooms.for_user("nobody").call(Mail.count, "mail") == []
        with pytest.raises(Invalid, match="one room for everybody"):
            await rooms.for_user("ann").send(Shop.asked, ROOM, "secret")
        with pytest.raises(Invalid, match="one room for everybody"):
            await rooms.for_user("ann").call(Shop.look, ROOM)
        assert bob.events == []
        assert (await bob.join("mail"))["unread"] == 0


async def test_who_is_kicked_learns_it_and_leaves_that_room_alone(
    rooms: Rooms, site: Site, connect: Connect
) -> None:
    async with connect(user="ann") as ann, connect(user="bob") as bob:
        for member in (ann, bob):
            for room in (ROOM, "shop/other"):
                await member.join(room)
        site.app.ctx.banned = True
        await rooms.kick(ROOM, user="bob")
        kicked = await bob.until(lambda message: message[0] == 4 and message[4] == ROOM)
        assert kicked[1:3] == [None, "kicked"]
        with pytest.raises(Refused, match="not_joined"):
            await bob.call(ROOM, "ask", item="ball")
        with pytest.raises(Refused, match="may not enter"):
            await bob.join(ROOM)
        assert await bob.call("shop/other", "ask", item="ball") == ["bob", False, "ball"]
        assert await ann.call(ROOM, "ask", item="ball") == ["ann", False, "ball"]


class Gate(asyncio.Event):
    """Once it is set, rooms are loaded."""

    asked = False


@pytest.fixture
def gate(site: Site, monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate, store = Gate(), site.app.ctx.hub.store
    load = store.load

    async def wait(room: str) -> Any:
        gate.asked = True
        await gate.wait()
        return await load(room)

    monkeypatch.setattr(store, "load", wait)
    return gate


async def test_who_joins_while_members_are_kicked_is_asked_again(
    rooms: Rooms, site: Site, connect: Connect, gate: Gate
) -> None:
    async with connect(user="bob") as bob:
        joining = asyncio.ensure_future(bob.join(ROOM))
        await until(lambda: gate.asked)
        site.app.ctx.banned = True
        await rooms.kick(ROOM, user="bob")
        gate.set()
        with pytest.raises(Refused, match="may not enter"):
            await joining


async def test_members_are_kicked_while_their_room_is_loaded_again(
    rooms: Rooms, site: Site, connect: Connect, gate: Gate
) -> None:
    async with connect(user="bob") as bob:
        gate.set()
        await bob.join(ROOM)
        gate.clear()
        site.app.ctx.hub.rooms[ROOM]._repair("a test")  # noqa: SLF001
        await rooms.kick(ROOM, user="bob")
        await bob.until(lambda message: message[:3] == [4, None, "kicked"])
        gate.set()


async def test_a_deleted_room_is_as_if_nobody_had_changed_it(rooms: Rooms) -> None:
    await rooms.call(Shop.sell, ROOM, "ball")
    await rooms.delete(ROOM)
    assert (await rooms.read(Shop, ROOM))["stock"] == 3


async def test_names_are_those_of_stored_rooms_that_are_not_private(
    rooms: Rooms, connect: Connect
) -> None:
    async with connect(user="ann") as ann:
        await ann.join("mail")
        await rooms.for_user("ann").call(Mail.count, "mail")
        for name in (ROOM, "shop/other"):
            await rooms.call(Shop.sell, name, "ball")
        assert {name async for name in rooms.names()} == {ROOM, "shop/other"}
        assert [name async for name in rooms.names("shop/o")] == ["shop/other"]


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


async def test_rooms_are_opened_again_but_not_while_they_are_open(
    settings: Settings, backends: Backends, site: Site
) -> None:
    with pytest.raises(RuntimeError, match="rooms_of"):
        async with open_rooms(site.app):
            pass
    app = create_app("again", backends, [Shop], settings, jobs=[partial(_job, "x")])
    try:
        for _ in range(2):
            async with open_rooms(app) as rooms:
                assert rooms_of(app) is rooms
                assert await rooms.call(Shop.look, ROOM) == 3
            with pytest.raises(RuntimeError, match="not running"):
                rooms_of(app)
            assert app.ctx.settings is settings
    finally:
        Sanic.unregister_app(app)


async def _job(_: str, app: Sanic) -> None: ...


async def test_what_is_open_is_closed_when_a_later_resource_fails(
    settings: Settings, backends: Backends
) -> None:
    log: list[str] = []

    @asynccontextmanager
    async def database(_: Sanic) -> AsyncIterator[None]:
        log.append("open")
        try:
            yield
        finally:
            log.append("closed")

    def broken(_: Sanic) -> NoReturn:
        raise OSError

    app = create_app("broken", backends, [Shop], settings, resources=[database, broken])
    try:
        with pytest.raises(OSError):  # noqa: PT011
            async with serve(app):
                pass
    finally:
        Sanic.unregister_app(app)
    assert log == ["open", "closed"]


async def test_resources_and_jobs_are_the_same_served_and_in_a_script(
    settings: Settings, backends: Backends, open_app: OpenApp
) -> None:
    log: list[str] = []

    @asynccontextmanager
    async def database(app: Sanic) -> AsyncIterator[None]:
        app.ctx.prices = {"ball": 7}
        log.append("open")
        yield
        still_open = [room for room in app.ctx.hub.rooms.values() if not room.closed]
        log.append(f"closed, {len(still_open)} rooms open")

    async def seller(app: Sanic) -> None:
        await rooms_of(app).call(Priced.sell_one, "priced", "ball")
        log.append("sold")

    class Priced(Room):
        pattern = "priced"
        initial = {"sum": 0}

        async def authorize(self, session: Session) -> bool:
            return True

        @action
        def sell_one(self, state: Draft, item: str) -> int:
            state["sum"] += self.app.ctx.prices[item]
            return int(state["sum"])

    app = create_app("script", backends, [Priced], settings, resources=[database], jobs=[seller])
    try:
        async with open_rooms(app) as rooms:
            await until(lambda: "sold" in log)
            assert (await rooms.read(Priced, "priced"))["sum"] == 7
            if backends.state.shared:
                async with open_app([Priced]) as site:
                    assert (await rooms_of(site.app).read(Priced, "priced"))["sum"] == 7
    finally:
        Sanic.unregister_app(app)
    assert log == ["open", "sold", "closed, 0 rooms open"]


async def test_a_job_that_fails_runs_again_and_one_that_ends_does_not(
    settings: Settings, backends: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []

    async def ending(_: Sanic) -> None:
        runs.append("ending")

    async def failing(_: Sanic) -> None:
        runs.append("failing")
        if runs.count("failing") < 3:
            raise StoreError

    monkeypatch.setattr("gospa.tasks.RESTART_DELAY", 0.01)
    app = create_app("jobs", backends, [Shop], settings, jobs=[ending, failing])
    try:
        async with open_rooms(app):
            await until(lambda: runs.count("failing") == 3)
            assert runs.count("ending") == 1
    finally:
        Sanic.unregister_app(app)


async def test_the_application_has_a_storage_of_its_own(site: Site, connect: Connect) -> None:
    storage = storage_of(site.app)
    async with connect(user="ann"):
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
    async with open_app([Shop, Mail]) as other, site.connect() as ann:
        await ann.join(ROOM)
        await rooms_of(other.app).call(Shop.sell, ROOM, "ball")
        await ann.sees(ROOM, lambda state: state["stock"] == 2)
        await rooms_of(other.app).send(Shop.sold, ROOM, Sale("ball", 1))
        assert await ann.hears(ROOM, "sold") == {"item": "ball", "price": 1}
        cookie = await logged_in(other.app, "eve")
        async with site.connect(cookie=cookie) as eve:
            await eve.join(ROOM)
            await rooms_of(other.app).kick(ROOM, member=eve.welcome[2])
            await eve.until(lambda message: message[0] == 4)

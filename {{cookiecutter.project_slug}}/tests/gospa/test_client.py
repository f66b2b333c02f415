"""The Python client's connections: it comes back as long as that may succeed, and says why not."""

import asyncio
import http
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import chain, repeat
from typing import Any

import msgpack
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidURI
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from gospa import client as client_module
from gospa.client import Client, Closed, Refused, connect
from gospa.live.wire import BYE, CALL, DONE, ERROR, HELLO, JOIN, JOINED, RUN, SNAPSHOT, WELCOME
from gospa.store.codec import CodecError
from gospa.testing import OpenApp, Site, until
from tests.gospa.relay import relay

ROOM = "sheet/a"
TAG = bytes(7) + b"\x01"


def at(site: Site, **options: Any) -> Client:
    return connect(f"ws://{site.address}/ws", **options)


class Peer:
    """The server's end of a connection, which says what a test has it say."""

    def __init__(self, websocket: ServerConnection) -> None:
        self.websocket = websocket

    async def send(self, *message: Any) -> None:
        await self.websocket.send(msgpack.packb(list(message)))

    async def expect(self, kind: int) -> list[Any]:
        """The next message of this type; others before it are passed over."""
        while True:
            message: list[Any] = msgpack.unpackb(await self.websocket.recv(decode=False))
            if message[0] == kind:
                return message

    async def welcome(self, *session: Any) -> None:
        """Answer HELLO."""
        await self.expect(HELLO)
        await self.send(WELCOME, 1, "ann", {"pid": 1}, *session)

    async def join(self) -> None:
        """Answer JOIN with the whole state."""
        await self.expect(JOIN)
        await self.send(SNAPSHOT, ROOM, 1, TAG, {"count": 1})
        await self.send(JOINED, ROOM, 1, TAG, {}, [], "full")

    async def close(self, code: int, reason: str = "") -> None:
        await self.websocket.close(code, reason)


@asynccontextmanager
async def served(
    *conversations: Callable[[Peer], Awaitable[None]], statuses: tuple[int, ...] = ()
) -> AsyncIterator[str]:
    """A server with one conversation for each connection, the last one for all further ones.

    The first handshakes are refused with these statuses. Yields the URL.
    """
    refused = iter(statuses)
    accepted = chain(conversations, repeat(conversations[-1] if conversations else stay))

    def refuse(connection: ServerConnection, _: Request) -> Response | None:
        status = next(refused, None)
        return connection.respond(http.HTTPStatus(status), "the reason") if status else None

    async def converse(websocket: ServerConnection) -> None:
        await next(accepted)(Peer(websocket))

    subprotocols = [Subprotocol("gospa.v1")]
    async with serve(
        converse, "127.0.0.1", 0, subprotocols=subprotocols, process_request=refuse
    ) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"


async def stay(peer: Peer) -> None:
    """Welcome a client, and let it go when it wants."""
    await peer.welcome()
    await peer.websocket.wait_closed()


# Connections


async def test_a_client_knows_which_worker_serves_it_in_a_demonstration(open_app: OpenApp) -> None:
    async with open_app(demo=True) as site, at(site) as ann:
        assert ann.pid == os.getpid()
    async with open_app() as site, at(site) as ann:
        with pytest.raises(LookupError, match="GOSPA_DEMO"):
            assert ann.pid


async def test_a_client_knows_its_server_and_its_own_id(site: Site) -> None:
    async with at(site) as ann, at(site) as bob:
        assert ann.status == bob.status == "online"
        assert ann.server["frame_size"] == site.app.ctx.settings.frame_size
        assert len({ann.member, bob.member}) == 2


async def test_a_cookie_opens_its_users_session(site: Site) -> None:
    async with at(site, cookie=await site.log_in("ann")) as client:
        await (await client.join("users")).call("say", text="hello")


async def test_a_new_session_is_kept_over_connections(open_app: OpenApp) -> None:
    async with open_app() as site, relay(site.address) as between:
        async with connect(f"ws://{between.address}/ws") as client:
            room = await client.join("my")
            await room.set("note", "x")
            cookie, member = client.cookie, client.member
            await between.reconnect(client)
            await room.set("note", "y")
            assert (client.cookie, client.member) == (cookie, member)
            assert len(site.app.ctx.connections) == 1
        async with connect(f"ws://{site.address}/ws", cookie=cookie) as client:
            assert (await client.join("my")).state["note"] == "y"


async def test_headers_and_options_are_those_of_the_handshake(site: Site) -> None:
    with pytest.raises(Closed) as caught:
        async with at(site, headers={"Origin": "https://elsewhere.test"}):
            raise AssertionError
    assert caught.value.code == 403
    with pytest.raises(Closed) as caught:
        async with connect("http://nowhere.test"):
            raise AssertionError
    assert isinstance(caught.value.__cause__, InvalidURI)


async def test_a_client_waits_for_a_server_that_is_not_there_yet(open_app: OpenApp) -> None:
    async with open_app() as site, relay(site.address) as between:
        between.closed = True
        connecting = asyncio.create_task(connect(f"ws://{between.address}/ws").__aenter__())
        await until(lambda: between.accepted >= 2)
        between.closed = False
        client = await connecting
        assert client.status == "online"
        await client.__aexit__()


@pytest.mark.parametrize("status", [429, 503])
async def test_a_handshake_that_may_succeed_later_is_tried_again(status: int) -> None:
    async with served(stay, statuses=(status,)) as url, connect(url) as client:
        assert client.status == "online"


@pytest.mark.parametrize("status", [400, 401, 403, 426])
async def test_a_handshake_that_is_refused_for_good_ends_the_client(status: int) -> None:
    async with served(statuses=(status,)) as url:
        client = connect(url)
        with pytest.raises(Closed, match="the reason") as caught:
            await client.__aenter__()
        assert caught.value.code == status
        assert client.status == "closed"


async def test_who_has_to_log_in_learns_so(open_app: OpenApp) -> None:
    async with open_app(sockets_need_login=True) as site:
        with pytest.raises(Closed, match="log in first") as caught:
            await at(site).__aenter__()
        assert caught.value.code == 4503


@pytest.mark.parametrize("code", [1000, 1009, 1012, 4000, 4001, 4002, 4499])
async def test_a_client_comes_back_after_codes_below_4500(code: int) -> None:
    async def close(peer: Peer) -> None:
        await peer.welcome()
        await peer.close(code)

    back = asyncio.Event()

    async def come(peer: Peer) -> None:
        back.set()
        await stay(peer)

    async with served(close, come) as url, connect(url) as client:
        await back.wait()
        await until(lambda: client.status == "online")


async def test_a_client_comes_back_no_sooner_than_it_is_asked_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "RECONNECT", (0.0, 0.0))
    times = []

    async def restart(peer: Peer) -> None:
        await peer.welcome()
        await peer.send(BYE, 1012, 400)
        times.append(time.monotonic())
        await peer.close(1012)

    async def come(peer: Peer) -> None:
        times.append(time.monotonic())
        await stay(peer)

    async with served(restart, come) as url, connect(url):
        await until(lambda: len(times) == 2)
        assert times[1] - times[0] >= 0.4


async def test_a_server_that_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PATIENCE", 0.2)

    async def say_nothing(peer: Peer) -> None:
        await peer.websocket.wait_closed()

    async with served(say_nothing, stay) as url, connect(url, open_timeout=10) as client:
        assert client.status == "online"


async def test_a_connection_that_answers_no_ping_is_replaced(open_app: OpenApp) -> None:
    async with (
        open_app() as site,
        relay(site.address) as between,
        connect(f"ws://{between.address}/ws", ping_interval=0.1, ping_timeout=0.5) as client,
    ):
        room = await client.join(ROOM)
        between.mute()
        await room.call("add")
        assert room.state["count"] == 1


# The end


async def test_codes_from_4500_on_end_all_that_waits(open_app: OpenApp) -> None:
    async with open_app() as site, relay(site.address) as between:
        cookie = await site.log_in("ann")
        async with connect(f"ws://{between.address}/ws", cookie=cookie) as client:
            room = await client.join(ROOM)
            site.app.ctx.hub.draining = True  # so that a call stays unanswered
            waiting = [
                asyncio.create_task(each)
                for each in (room.call("add"), room.until(lambda s: s["count"] == 1))
            ]
            following = anext(room.events())
            session = await site.app.ctx.sessions.load(cookie.partition("=")[2])
            await site.app.ctx.sessions.destroy(session)
            for outcome in (*waiting, following, room.call("add"), client.join("sheet/b")):
                with pytest.raises(Closed) as caught:
                    await outcome
                assert caught.value.code == 4502
                assert caught.value.reason == "the session ended"
            assert client.status == "closed"


async def test_a_users_session_that_ended_during_an_outage_ends_the_client(site: Site) -> None:
    async with relay(site.address) as between:
        cookie = await site.log_in("ann")
        async with connect(f"ws://{between.address}/ws", cookie=cookie) as client:
            await client.join(ROOM)
            async with between.disconnected(client):
                session = await site.app.ctx.sessions.load(cookie.partition("=")[2])
                await site.app.ctx.sessions.destroy(session)
            await until(lambda: client.status == "closed")
            with pytest.raises(Closed, match="there is no session"):
                await client.join("sheet/b")


async def test_leaving_the_block_ends_all_that_waits(site: Site) -> None:
    async with at(site) as client:
        room = await client.join(ROOM)
        site.app.ctx.hub.draining = True
        waiting = asyncio.create_task(room.call("add"))
        await asyncio.sleep(0)
    with pytest.raises(Closed, match="the client was closed") as caught:
        await waiting
    assert caught.value.code == 1000
    for outcome in (room.call("add"), room.send("typing"), client.join(ROOM)):
        with pytest.raises(Closed):
            await outcome
    await until(lambda: not site.app.ctx.connections)


async def test_a_client_can_be_cancelled_while_it_connects(open_app: OpenApp) -> None:
    async with open_app() as site, relay(site.address) as between:
        between.closed = True
        client = connect(f"ws://{between.address}/ws")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.__aenter__()
        assert client.status == "closed"


async def test_an_unexpected_error_ends_the_client_and_reaches_callers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def talk_nonsense(peer: Peer) -> None:
        await peer.welcome()
        await peer.join()
        await peer.expect(CALL)
        await peer.websocket.send(b"\xc1")
        await peer.websocket.wait_closed()

    async with served(talk_nonsense) as url, connect(url) as client:
        room = await client.join(ROOM)
        with pytest.raises(Closed) as caught:
            await room.call("add")
        assert caught.value.code == 1011
        assert isinstance(caught.value.__cause__, CodecError)
        assert client.status == "closed"
        assert "failed" in caplog.text


# Later forms of the protocol


async def test_a_mutation_is_not_repeated_under_another_session() -> None:
    async def lose(peer: Peer) -> None:
        await peer.welcome({"id": "one", "user": "ann"})
        await peer.join()
        await peer.expect(CALL)
        await peer.close(4001)

    repeated = []

    async def come(peer: Peer) -> None:
        await peer.welcome({"id": "two", "user": None})
        await peer.join()
        while True:
            repeated.append(await peer.expect(CALL))

    async def converse(peer: Peer) -> None:
        try:
            await come(peer)
        except ConnectionClosed:
            return

    async with served(lose, converse) as url, connect(url) as client:
        room = await client.join(ROOM)
        assert client.session == {"id": "one", "user": "ann"}
        with pytest.raises(Refused) as caught:
            await room.call("add")
        assert caught.value.code == "other_session"
        assert client.session == {"id": "two", "user": None}
        assert room.state["count"] == 1
    assert repeated == []


async def test_defaults_of_a_room_and_unknown_messages(site: Site) -> None:
    async def converse(peer: Peer) -> None:
        await peer.welcome()
        await peer.send(99, "more")
        await peer.send(98)
        await peer.expect(JOIN)
        await peer.send(SNAPSHOT, ROOM, 1, TAG, {"count": 1}, "more")
        await peer.send(JOINED, ROOM, 1, TAG, {"count": 0, "title": ""}, ["notes"], "full", "more")
        await peer.websocket.wait_closed()

    async with served(converse) as url, connect(url) as client:
        assert client.session is None
        room = await client.join(ROOM)
        assert room.state == {"count": 1, "title": "", "notes": {}}
        assert room.access == "full"


# Commands


async def test_a_command_runs_again_under_its_id_after_a_lost_connection() -> None:
    ids = []

    async def lose(peer: Peer) -> None:
        await peer.welcome()
        await peer.join()
        ids.append((await peer.expect(RUN))[1:])
        await peer.close(1012)

    async def come(peer: Peer) -> None:
        await peer.welcome()
        await peer.join()
        ids.append((await peer.expect(RUN))[1:])
        await peer.send(DONE, ids[-1][0], "bought")
        run = await peer.expect(RUN)
        await peer.send(ERROR, run[1], "refused", "sold out", ROOM)
        await peer.websocket.wait_closed()

    async with served(lose, come) as url, connect(url) as client:
        room = await client.join(ROOM)
        assert await room.run("buy", item="ball") == "bought"
        with pytest.raises(Refused, match="sold out"):
            await room.run("buy", item="ball")
    (first, *rest), second = ids
    assert len(first) == 16
    assert rest == [ROOM, "buy", {"item": "ball"}]
    assert second == [first, *rest]


async def test_a_command_ends_with_its_room_or_client() -> None:
    async with served(host) as url, connect(url) as client:
        room = await client.join(ROOM)
        waiting = asyncio.create_task(room.run("buy"))
        await asyncio.sleep(0)
        await room.leave()
        for outcome in (waiting, room.run("buy")):
            with pytest.raises(Refused, match="left"):
                await outcome
        with pytest.raises(Refused, match="invalid"):
            await (await client.join(ROOM)).run("")


# Access


async def host(peer: Peer) -> None:
    """Welcome a client, and have it join."""
    await peer.welcome()
    while True:
        await peer.join()


async def test_a_room_that_access_was_lost_to_is_empty_and_others_go_on() -> None:
    lost = asyncio.Event()

    async def converse(peer: Peer) -> None:
        await peer.welcome()
        await peer.join()
        await peer.expect(JOIN)
        await peer.send(SNAPSHOT, "sheet/b", 1, TAG, {"count": 2})
        await peer.send(JOINED, "sheet/b", 1, TAG, {}, [], "full")
        number = (await peer.expect(CALL))[1]
        await lost.wait()
        await peer.send(ERROR, None, "unauthorized", "you may no longer be here", ROOM)
        await peer.send(ERROR, number, "not_joined", f"join {ROOM} first", ROOM)
        await peer.join()
        await peer.websocket.wait_closed()

    async with served(converse) as url, connect(url) as client:
        room, other = await client.join(ROOM), await client.join("sheet/b")
        changes = room.changes()
        assert await anext(changes) == {"count": 1}
        waiting = [
            asyncio.create_task(each)
            for each in (room.run("buy"), room.call("add"), room.until(lambda s: s["count"] == 9))
        ]
        await asyncio.sleep(0)
        lost.set()
        for outcome in (*waiting, anext(changes), room.next_event("typing"), room.send("typing")):
            with pytest.raises(Refused, match="you may no longer be here") as caught:
                await outcome
            assert caught.value.code == "unauthorized"
        assert room.state == {}
        assert other.state == {"count": 2}
        again = await client.join(ROOM)
        assert again is not room
        assert again.state == {"count": 1}


async def test_who_may_only_read_sends_no_events() -> None:
    async def converse(peer: Peer) -> None:
        await peer.welcome()
        await peer.join()
        await peer.send(JOINED, ROOM, 1, TAG, {}, [], "read")
        await peer.websocket.wait_closed()

    async with served(converse) as url, connect(url) as client:
        room = await client.join(ROOM)
        await until(lambda: room.access == "read")
        with pytest.raises(Refused, match="you may only read"):
            await room.send("typing")

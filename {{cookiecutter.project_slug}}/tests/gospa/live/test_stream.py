"""Event streams: how they are opened, fed and ended. What they carry is tested with sockets."""

import asyncio
import os
import re
import socket
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import httpx
import msgpack
import pytest
from websockets.exceptions import ConnectionClosed

from gospa import (
    Access,
    Caller,
    Member,
    Room,
    Session,
    State,
    action,
    command,
    rooms_of,
)
from gospa.errors import StoreUnavailable
from gospa.live import connections, reviews, visits, writer
from gospa.live.stream import channel_of
from gospa.stats import Stats
from gospa.testing import OpenApp, Site, logged_in, until
from tests.gospa.raw_client import RawClient, Transport, raw_client
from tests.gospa.raw_stream import PATIENCE, RawStream, open_stream
from tests.gospa.rooms import Sheet

SIZE = 600_000
TRANSPORTS: list[Transport] = ["socket", "stream"]


class WallState(State):
    text: str = ""
    count: int = 0


class Wall(Room[WallState]):
    """A large state, and a command that takes until it is told to end."""

    pattern = "wall"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    @action
    def paint(self, state: WallState) -> None:
        state.text = os.urandom(SIZE // 2).hex()

    @action
    def add(self, state: WallState) -> int:
        state.count += 1
        return state.count

    @command
    async def wait(self, caller: Caller) -> None:
        await self.app.ctx.over.wait()


class Visited(Room[WallState]):
    """Counts who is there."""

    pattern = "visited"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    def joined(self, state: WallState, member: Member) -> None:
        state.count += 1

    def left(self, state: WallState, member: Member) -> None:
        state.count -= 1


def packed(*message: Any) -> bytes:
    return bytes(msgpack.packb(list(message)))


def call(number: int) -> bytes:
    return packed(2, number, "sheet/a", "add", {})


@asynccontextmanager
async def streaming(site: Site, **options: Any) -> AsyncIterator[tuple[RawClient, RawStream]]:
    """A client in the room `sheet/a`."""
    async with raw_client(site, transport="stream", **options) as member:
        await member.join("sheet/a")
        yield member, member.websocket


async def closed(stream: RawStream) -> tuple[int, str]:
    await stream.wait_closed()
    return stream.close_code or 0, stream.close_reason


async def count(site: Site) -> int:
    return (await rooms_of(site.app).read(Sheet, "sheet/a")).count


# What is sent


async def test_a_batch_that_is_repeated_is_applied_once_and_acknowledged_again(site: Site) -> None:
    async with streaming(site) as (member, stream):
        number = stream.number + 1
        for _ in range(3):
            assert await stream.post(number, call(1)) == 204
        await member.answer(1)
        await until(lambda: stream.taken == number)
        stream.number, stream.taken = number, 0
        assert await stream.post(number, call(1)) == 204
        await until(lambda: stream.taken == number)
        assert await member.call("sheet/a", "add") is None  # number 1, which was applied
        assert await member.call("sheet/a", "add") == 2


async def test_a_batch_that_overtakes_one_ends_the_stream(site: Site) -> None:
    async with streaming(site) as (_, stream):
        assert await stream.post(stream.number + 2, call(1)) == 204
        code, reason = await closed(stream)
        assert (code, "batch" in reason) == (4500, True)
    assert await count(site) == 0


async def test_who_does_not_wait_for_the_acknowledgement_is_closed(open_app: OpenApp) -> None:
    """The worker keeps one batch at most."""
    async with open_app([Wall]) as site, raw_client(site, transport="stream") as member:
        site.app.ctx.over = asyncio.Event()
        stream: RawStream = member.websocket
        await member.join("wall")
        await member.send(7, bytes(16), "wall", "wait", {})
        site.app.ctx.hub.rooms["wall"].mutations.submit = lambda _: None  # a store that hangs
        calls = [packed(2, number, "wall", "add", {}) for number in range(1, 101)]
        await stream.post(stream.number + 1, *calls)
        await until(lambda: next(iter(site.app.ctx.connections)).requests.full)
        await stream.post(stream.number + 1)
        assert stream.taken == stream.number  # it is not acknowledged
        await stream.post(stream.number + 2)
        assert (await closed(stream))[0] == 4500


async def test_what_is_not_acknowledged_is_so_once_answers_are_read(open_app: OpenApp) -> None:
    async with open_app([Wall]) as site, raw_client(site, transport="stream") as member:
        await member.join("wall")
        for number in range(1, 201):
            await member.send(2, number, "wall", "add", {})
        member.number = 200
        assert await member.call("wall", "add") == 201


@pytest.mark.parametrize(
    ("body", "status"),
    [("", 400), ("x 1", 400), ("{id}", 400), ("{id} 1\n?", 400), ("{unknown} 1\nYQ==", 204)],
)
async def test_what_is_no_batch_of_a_stream_here_reaches_none(
    site: Site, body: str, status: int
) -> None:
    async with streaming(site) as (member, stream), site.http() as other:
        unknown = stream.id[:-8] + "00000000"
        text = body.format(id=stream.id, unknown=unknown)
        assert (await other.post("/ws/send", content=text)).status_code == status
        assert await member.call("sheet/a", "add") == 1


async def test_a_message_that_is_malformed_ends_the_stream_with_its_code(site: Site) -> None:
    async with streaming(site) as (_, stream):
        await stream.send(b"\xc1")
        assert (await closed(stream))[0] == 4500


async def test_a_batch_that_cannot_be_passed_on_may_be_sent_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise StoreUnavailable("it is away")

    async with streaming(site) as (member, stream):
        with monkeypatch.context() as broken:
            broken.setattr(site.app.ctx.hub.pubsub, "publish", fail)
            assert await stream.post(stream.number + 1, call(1)) == 503
        await stream.send(call(1))
        assert (await member.answer(1))[3] == 1


async def test_a_message_of_another_release_harms_nobody(site: Site) -> None:
    async with streaming(site) as (member, _):
        hub = site.app.ctx.hub
        await hub.pubsub.publish(channel_of(hub.worker), b"\x93 something else")
        assert await member.call("sheet/a", "add") == 1


# Over both transports


@pytest.mark.parametrize("first", TRANSPORTS)
async def test_a_change_that_is_repeated_over_the_other_transport_is_applied_once(
    site: Site, first: Transport
) -> None:
    (second,) = set(TRANSPORTS) - {first}
    async with raw_client(site, transport=first) as member:
        await member.join("sheet/a")
        assert await member.call("sheet/a", "add") == 1
        cookie, client = member.cookie, member.client
        async with raw_client(site, transport=second, cookie=cookie, client=client) as again:
            assert (await again.join("sheet/a", version=1))["count"] == 1
            assert await again.call("sheet/a", "add") is None  # it is number 1
            assert await again.call("sheet/a", "add") == 2
            await member.sees("sheet/a", lambda state: state["count"] == 2)


async def test_who_follows_over_either_transport_sees_the_same_commits(site: Site) -> None:
    async with raw_client(site) as one, raw_client(site, transport="stream") as two:
        await one.join("sheet/a")
        await two.join("sheet/a")
        for member in (one, two, one, two):
            await member.call("sheet/a", "add")
        for member in (one, two):
            await member.sees("sheet/a", lambda state: state["count"] == 4)
        assert one.heads == two.heads


@pytest.mark.slow
async def test_a_visit_lasts_as_long_as_the_stream(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews, "REVIEW", 0.05)
    monkeypatch.setattr(visits, "LEASE", 0.2)
    async with open_app([Visited]) as site, raw_client(site) as one:
        await one.join("visited")
        async with raw_client(site, transport="stream") as two:
            await two.join("visited")
            await one.sees("visited", lambda state: state["count"] == 2)
        await one.sees("visited", lambda state: state["count"] == 1)


# Who may open one


@pytest.mark.parametrize("path", ["/ws/stream", "/ws/send"])
async def test_pages_of_other_origins_are_refused(site: Site, path: str) -> None:
    async with site.http() as http:
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = await http.post(path, headers=headers)
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers


async def test_pages_of_allowed_origins_may_read_it(open_app: OpenApp) -> None:
    origin = "https://pages.example"
    async with (
        open_app(allowed_origins=origin) as site,
        open_stream(site.address, {"Origin": origin}) as stream,
    ):
        assert stream.response.headers["Access-Control-Allow-Origin"] == origin
        assert stream.response.headers["Access-Control-Allow-Credentials"] == "true"


async def test_its_headers_keep_proxies_from_holding_it_back(site: Site) -> None:
    async with open_stream(site.address, {}) as stream:
        headers = stream.response.headers
    assert headers["Content-Type"].startswith("text/event-stream")
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["Connection"] == "close"


@pytest.mark.parametrize(
    ("offered", "code"),
    [("gospa.v1 gospa.session", 4003), ("gospa.v0", 4504), ("gospa.v2", 4005)],
)
async def test_who_cannot_connect_learns_why(site: Site, offered: str, code: int) -> None:
    async with open_stream(site.address, {}, offered) as stream:
        assert (await closed(stream))[0] == code
        assert "set-cookie" not in stream.response.headers
    await until(lambda: not site.app.ctx.connections)
    assert await site.app.ctx.sessions.everybody() == {}


async def test_who_has_a_session_goes_on_with_it(site: Site) -> None:
    cookie = await site.log_in("ann")
    async with open_stream(site.address, {"Cookie": cookie}, "gospa.v1 gospa.session") as stream:
        await stream.send(packed(6, bytes(16)))
        assert msgpack.unpackb(await stream.recv())[4]["user"] == "ann"


async def test_only_who_is_logged_in_connects_if_so_set(open_app: OpenApp) -> None:
    async with open_app(sockets_need_login=True) as site:
        async with open_stream(site.address, {}) as stream:
            assert await closed(stream) == (4503, "log in first")
        async with streaming(site, user="ann") as (member, _):
            assert await member.call("sheet/a", "add") == 1


async def test_streams_count_as_connections(open_app: OpenApp) -> None:
    async with open_app(connections_per_session=2) as site:
        cookie = await site.log_in("ann")
        async with (
            raw_client(site, cookie=cookie),
            raw_client(site, cookie=cookie, transport="stream"),
        ):
            with pytest.raises(httpx.HTTPStatusError) as refusal:
                async with raw_client(site, cookie=cookie, transport="stream"):
                    pass
            assert refusal.value.response.status_code == 429
            assert int(refusal.value.response.headers["Retry-After"]) > 0


async def test_handshakes_are_limited(open_app: OpenApp) -> None:
    async with open_app(handshakes_per_second=0.1) as site, AsyncExitStack() as stack:
        await stack.enter_async_context(open_stream(site.address, {}))
        with pytest.raises(httpx.HTTPStatusError) as refusal:
            await stack.enter_async_context(open_stream(site.address, {}))
        assert refusal.value.response.status_code == 429


async def test_a_flood_ends_the_stream_alone(open_app: OpenApp) -> None:
    async with (
        open_app(frames_per_second=10) as site,
        raw_client(site) as bystander,
        streaming(site) as (_, stream),
    ):
        await bystander.join("sheet/a")
        await stream.post(stream.number + 1, *(packed(5) for _ in range(200)))
        assert (await closed(stream))[0] == 4002
        assert await bystander.call("sheet/a", "add") == 1


# How it ends


async def test_it_ends_with_its_session(site: Site) -> None:
    cookie = await logged_in(site.app, "ann")
    async with streaming(site, cookie=cookie) as (_, stream):
        await site.app.ctx.sessions.log_out_everywhere("ann")
        assert await closed(stream) == (4502, "the session ended")
    await until(lambda: not site.app.ctx.connections)
    assert not site.app.ctx.streams


async def test_a_client_that_is_gone_is_forgotten(site: Site) -> None:
    async with streaming(site):
        assert len(site.app.ctx.streams) == len(site.app.ctx.connections) == 1
    await until(lambda: not site.app.ctx.connections)
    assert not site.app.ctx.streams


async def test_when_the_worker_stops_clients_are_told_to_come_back(open_app: OpenApp) -> None:
    async with AsyncExitStack() as stack:
        async with open_app() as site:
            member, stream = await stack.enter_async_context(streaming(site))
        bye = await member.until(lambda message: message[0] == 6)
        assert bye[1] == 1012
        assert await closed(stream) == (1012, "the server restarts")


async def test_a_worker_that_stops_opens_none_and_takes_nothing(site: Site) -> None:
    async with site.http() as http:
        site.app.ctx.hub.draining = True
        for path in ("/ws/stream", "/ws/send"):
            answer = await http.post(path)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


async def test_a_silent_client_is_asked_and_closed_without_an_answer(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TICK", 0.05)
    async with open_app(ping_interval=0.2) as site, streaming(site) as (_, stream):
        number = stream.number
        await until(lambda: stream.taken > number + 2)  # as long as it answers, it stays
        stream.silent = True
        assert await closed(stream) == (4000, "no answer to a ping")


async def test_another_request_on_its_connection_ends_it(site: Site) -> None:
    host, _, port = site.address.partition(":")
    reader, stream = await asyncio.open_connection(host, int(port))
    head = f"POST /ws/stream HTTP/1.1\r\nHost: {site.address}\r\nContent-Length: 0\r\n\r\n"
    stream.write(head.encode())
    assert b"\nevent: open" in await reader.readuntil(b"\ndata: ")
    stream.write(head.encode())
    async with asyncio.timeout(PATIENCE):
        with suppress(ConnectionError):
            while await reader.read(1024):
                pass
    await until(lambda: not site.app.ctx.connections)
    stream.close()


@asynccontextmanager
async def slow_reader(site: Site) -> AsyncIterator[asyncio.StreamReader]:
    """A client that joins, and reads no more than the first line of the snapshot."""
    host, _, port = site.address.partition(":")
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, (host, int(port)))
        reader, stream = await asyncio.open_connection(sock=plain, limit=1024)
        try:
            head = f"POST /ws/stream HTTP/1.1\r\nHost: {site.address}\r\nContent-Length: 0\r\n\r\n"
            stream.write(head.encode())
            opened = (await reader.readuntil(b"\n\n")).decode()
            while "event: open" not in opened:
                opened = (await reader.readuntil(b"\n\n")).decode()
            (id,) = re.findall("data: (.*)", opened)
            messages = (packed(6, os.urandom(16)), packed(0, "wall", None, None))
            async with site.http() as http:
                body = b"\n".join([f"{id} 1".encode(), *map(b64encode, messages)])
                assert (await http.post("/ws/send", content=body)).status_code == 204
            await reader.readuntil(b"data: ")
            yield reader
        finally:
            stream.transport.abort()


async def test_who_reads_too_little_is_closed_and_told_why(
    open_app: OpenApp, stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TICK", 0.05)
    monkeypatch.setattr(writer, "HIGH_WATER", 4096)
    async with open_app([Wall], drain_timeout=0.5) as site, raw_client(site) as fast:
        await fast.join("wall")
        await fast.call("wall", "paint")
        async with slow_reader(site) as reader:
            await until(lambda: stats.stuck > 0)
            async with asyncio.timeout(PATIENCE):
                end = b""
                while part := await reader.read(1024):
                    end = (end + part)[-4096:]
            assert end.endswith(b"\nevent: close\ndata: 4004 too little was read\n\n")
        assert await fast.call("wall", "add") == 1
    assert (stats.stuck, stats.stuck_memory) == (1, 0)


async def test_slow_readers_share_a_bounded_memory(
    open_app: OpenApp, stats: Stats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TICK", 0.05)
    monkeypatch.setattr(writer, "HIGH_WATER", 4096)
    limit = 2 * 1024 * 1024
    async with (
        open_app([Wall], unsent_size=limit, drain_timeout=3600.0) as site,
        raw_client(site) as fast,
        AsyncExitStack() as stack,
    ):
        await fast.join("wall")
        await fast.call("wall", "paint")
        for _ in range(8):
            await stack.enter_async_context(slow_reader(site))
            await fast.call("wall", "paint")
            assert site.app.ctx.hub.unsent.total <= limit + 2 * SIZE
        await until(lambda: site.app.ctx.hub.unsent.total <= limit)
        assert stats.stuck_memory > 0


async def test_a_large_state_arrives_whole(open_app: OpenApp) -> None:
    async with open_app([Wall]) as site, raw_client(site, transport="stream") as member:
        await member.join("wall")
        await member.call("wall", "paint")
        shown = await rooms_of(site.app).read(Wall, "wall")
        await member.sees("wall", lambda state: state["text"] == shown.text)


async def test_a_stream_that_ends_raises_in_the_client(site: Site) -> None:
    async with streaming(site) as (member, _):
        next(iter(site.app.ctx.connections)).abort()
        with pytest.raises(ConnectionClosed):
            await member.until(lambda _: False)
        assert member.websocket.close_code == 1006

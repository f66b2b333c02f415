"""The socket as clients see it, in one process, on the chosen backends."""

import asyncio
import contextlib
import gc
import os
import tempfile
from collections.abc import Callable
from typing import Any

import httpx
import msgpack
import pytest
from sanic import Blueprint, HTTPResponse, Request
from sanic.response import raw
from sanic.server import HttpProtocol
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

import app as chosen
from gospa.app import create_app
from gospa.errors import StoreUnavailable
from gospa.live import socket, writer
from gospa.live.requests import public_id
from gospa.sessions import cookie
from gospa.sessions.session import Session, new_session
from gospa.settings import Settings
from gospa.testing import Member, OpenApp, Refused, logged_in, serve, until
from tests.gospa import wire
from tests.gospa.conftest import EXTRAS
from tests.gospa.rooms import ROOMS

Connect = Callable[..., Any]


async def test_welcome_names_the_worker(connect: Connect) -> None:
    async with connect() as member:
        assert member.welcome[1] == 1
        assert member.welcome[3]["pid"] == os.getpid()


async def test_join_shows_the_initial_state(connect: Connect) -> None:
    async with connect() as member:
        assert await member.join("sheet/a") == {"count": 0, "notes": 0}
        assert member.heads["sheet/a"] == (0, bytes(8))


async def test_a_call_reaches_every_member_with_one_version_and_state(connect: Connect) -> None:
    async with connect() as one, connect() as two:
        await one.join("sheet/a")
        await two.join("sheet/a")
        assert await one.call("sheet/a", "add", amount=3) == 3
        for member in (one, two):
            state = await member.sees("sheet/a", lambda s: s["count"] == 3)
            assert state == {"count": 3, "notes": 0}
        assert one.heads["sheet/a"] == two.heads["sheet/a"]


async def test_who_changes_a_room_hears_so_before_being_shown_it(connect: Connect) -> None:
    async with connect() as member:
        await member.join("sheet/a")
        for number in range(1, 51):
            await member.send(2, number, "sheet/a", "add", {})
        shown, told = set[int](), list[int]()
        while len(told) < 50 or told[-1] not in shown:
            message = await member.receive()
            if message[0] == 1:
                shown.add(message[2])
            else:
                assert message[2] not in shown
                told.append(message[2])


async def test_sheets_of_other_names_are_apart(connect: Connect) -> None:
    async with connect() as one, connect() as two:
        await one.join("sheet/a")
        await one.call("sheet/a", "add")
        assert (await two.join("sheet/b"))["count"] == 0


async def test_a_note_is_added_edited_and_removed(connect: Connect) -> None:
    async with connect() as member:
        await member.join("sheet/a")
        note = await member.call("sheet/a", "add_note", text="milk")
        state = await member.sees("sheet/a", lambda s: f"note:{note}" in s)
        assert state[f"note:{note}"]["text"] == "milk"
        await member.call("sheet/a", "edit_note", id=note, text="oat milk")
        await member.sees("sheet/a", lambda s: s[f"note:{note}"]["text"] == "oat milk")
        await member.call("sheet/a", "remove_note", id=note)
        assert f"note:{note}" not in await member.sees("sheet/a", lambda s: s["notes"] == 0)
        with pytest.raises(Refused, match="removed"):
            await member.call("sheet/a", "edit_note", id=note, text="late")


async def test_a_private_room_is_shared_by_a_sessions_connections_and_nobody_elses(
    connect: Connect,
) -> None:
    async with connect() as one:
        await one.join("my")
        await one.write("my", note="mine")
        async with connect(cookie=one.cookie) as again:
            assert (await again.join("my"))["note"] == "mine"
        async with connect() as other:
            assert (await other.join("my"))["note"] == ""


async def test_a_private_room_has_no_public_name(connect: Connect) -> None:
    async with connect() as member:
        for name in ("my/x", "my@x", "my@" + "0" * 32):
            with pytest.raises(Refused) as refusal:
                await member.join(name)
            assert refusal.value.code == "unknown_room"


async def test_requests_sent_while_joining_wait_for_the_join(connect: Connect) -> None:
    async with connect() as member:
        await member.send(0, "sheet/a", None, None)
        assert await member.call("sheet/a", "add") == 1


async def test_mutations_of_one_client_are_applied_in_their_order(connect: Connect) -> None:
    async with connect() as member:
        await member.join("sheet/a")
        for number in range(1, 101):
            await member.send(2, number, "sheet/a", "add", {})
        answers = [await member.answer(number) for number in range(1, 101)]
        assert [answer[3] for answer in answers] == list(range(1, 101))


async def test_a_mutation_sent_again_is_acknowledged_and_not_applied_twice(
    connect: Connect,
) -> None:
    async with connect() as first:
        await first.join("sheet/a")
        await first.call("sheet/a", "add", amount=5)
    async with connect(client=first.client, cookie=first.cookie) as again:
        await again.join("sheet/a")
        await again.send(2, 1, "sheet/a", "add", {"amount": 5})
        assert await again.answer(1) == [3, 1, 1, None]
        again.number = 1
        assert await again.call("sheet/a", "add", amount=1) == 6


async def test_the_numbers_of_a_client_are_those_of_its_session_alone(connect: Connect) -> None:
    async with connect() as ann:
        await ann.join("sheet/a")
        await ann.call("sheet/a", "add", amount=5)
        async with connect(client=ann.client) as bob:  # who learned her client id
            await bob.join("sheet/a")
            assert await bob.call("sheet/a", "add", amount=1) == 6
            assert bob.welcome[4]["id"] != ann.welcome[4]["id"]
        assert await ann.call("sheet/a", "add", amount=1) == 7


def test_a_session_has_another_public_id_under_another_user() -> None:
    session = new_session(0.0)
    ids = {public_id(session)}
    for user in ("ann", "bob"):
        session.log_in(user, 1.0)
        ids.add(public_id(session))
    assert len(ids) == 3


async def test_a_repeat_is_acknowledged_though_its_action_would_refuse_by_now(
    connect: Connect,
) -> None:
    async with connect() as first:
        await first.join("sheet/a")
        note = await first.call("sheet/a", "add_note", text="milk")
        await first.call("sheet/a", "remove_note", id=note)
        removed = first.number
    async with connect(client=first.client, cookie=first.cookie) as again:
        await again.join("sheet/a")
        await again.send(2, removed, "sheet/a", "remove_note", {"id": note})
        assert (await again.answer(removed))[::3] == [3, None]
        await again.send(2, removed + 1, "sheet/a", "remove_note", {"id": note})
        with pytest.raises(Refused, match="this note was removed"):
            await again.answer(removed + 1)


async def test_who_sent_an_event_is_told_by_the_server_and_not_by_the_sender(
    connect: Connect,
) -> None:
    async with connect() as ann, connect() as bob:
        await ann.join("sheet/a")
        await bob.join("sheet/a")
        said = {"member": bob.welcome[2], "note": ""}
        await ann.send(4, "sheet/a", "typing", said)
        heard = await bob.until(lambda message: message[0] == 2)
        assert heard == [2, "sheet/a", "typing", said, ann.welcome[2]]


async def test_a_client_that_comes_back_gets_only_what_it_missed(connect: Connect) -> None:
    async with connect() as stays, connect() as goes:
        await stays.join("sheet/a")
        await goes.join("sheet/a")
        await stays.call("sheet/a", "add")
        await goes.sees("sheet/a", lambda s: s["count"] == 1)
        version, tag = goes.heads["sheet/a"]
        await goes.send(1, "sheet/a")
        await stays.call("sheet/a", "add")
        await stays.sees("sheet/a", lambda s: s["count"] == 2)
        await goes.send(0, "sheet/a", version, tag)
        assert (await goes.receive())[0] == 1
        assert (await goes.receive())[0] == 8
        assert goes.heads["sheet/a"] == stays.heads["sheet/a"]


@pytest.mark.parametrize("tag", [b"", b"not mine", b"x" * 100])
async def test_a_client_with_a_strange_tag_gets_a_snapshot(connect: Connect, tag: bytes) -> None:
    async with connect() as member:
        await member.join("sheet/a")
        await member.call("sheet/a", "add")
        await member.sees("sheet/a", lambda s: s["count"] == 1)
        async with connect() as other:
            assert (await other.join("sheet/a", 2**60, tag or None))["count"] == 1


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ([2, 1, "sheet/a", "nothing", {}], "unknown_action"),
        ([2, 1, "sheet/a", "_note", {"id": "x"}], "unknown_action"),
        ([2, 1, "sheet/a", "__init__", {}], "unknown_action"),
        ([2, 1, "sheet/a", "authorize", {}], "unknown_action"),
        ([2, 1, "sheet/a", "add", {"amount": "1"}], "invalid"),
        ([2, 1, "sheet/a", "add", {"amount": 1.5}], "invalid"),
        ([2, 1, "sheet/a", "add", {"more": 1}], "invalid"),
        ([2, 1, "sheet/a", "add_note", {}], "invalid"),
        ([2, 1, "sheet/a", "add_note", {"text": ""}], "invalid"),
        ([2, 1, "sheet/a", "edit_note", {"id": "none", "text": "x"}], "refused"),
        ([2, 1, "sheet/b", "add", {}], "not_joined"),
        ([3, 1, "sheet/a", {"count": 9}, []], "invalid"),
        ([3, 1, "sheet/a", {}, ["count"]], "invalid"),
        ([4, "sheet/a", "shout", 1], "invalid"),
        ([4, "sheet/b", "shout", 1], "not_joined"),
        ([0, "nowhere", None, None], "unknown_room"),
        ([0, "sheet/../my", None, None], "unknown_room"),
        ([0, "sheet/ä", None, None], "unknown_room"),
    ],
)
async def test_what_a_room_refuses_is_an_error_that_changes_nothing(
    connect: Connect, message: list[Any], code: str
) -> None:
    async with connect() as member:
        await member.join("sheet/a")
        before = dict(await member.join("sheet/a"))
        await member.send(*message)
        answer = await member.until(lambda m: m[0] == 4)
        assert answer[2] == code
        assert await member.join("sheet/a") == before


MALFORMED = {
    "empty": b"",
    "not msgpack": b"\xc1",
    "truncated": b"\x93\x05",
    "trailing bytes": b"\x91\x05\x05",
    "a map": b"\x80",
    "no elements": b"\x90",
    "unknown type": msgpack.packb([99]),
    "too few elements": msgpack.packb([0, "sheet/a"]),
    "too many elements": msgpack.packb([5, 1]),
    "a list as a room": msgpack.packb([0, ["sheet/a"], None, None]),
    "a room name of 129 letters": msgpack.packb([0, "a" * 129, None, None]),
    "mutation 0": msgpack.packb([2, 0, "sheet/a", "add", {}]),
    "mutation 2^64 - 1": msgpack.packb([2, 2**64 - 1, "sheet/a", "add", {}]),
    "nil as a key": msgpack.packb([2, 1, "sheet/a", "add", {None: 1}]),
    "bytes as a key": msgpack.packb([2, 1, "sheet/a", "add", {b"amount": 1}]),
    "an extension": msgpack.packb([4, "sheet/a", "x", msgpack.ExtType(9, b"x")]),
    "an array of 2^32 - 1": b"\xdd\xff\xff\xff\xff",
    "a map of 2^32 - 1": b"\xdf\xff\xff\xff\xff",
    "a text of 2^32 - 1": b"\xdb\xff\xff\xff\xff",
    "bytes of 2^32 - 1": b"\xc6\xff\xff\xff\xff",
    "an extension of 2^32 - 1": b"\xc9\xff\xff\xff\xff\x05",
    "a time beyond all years": b"\x94\x04\xa1a\xa1b\xc7\x0c\xff" + b"\xff" * 12,
    "a time of the wrong length": b"\x94\x04\xa1a\xa1b\xc7\x03\xff" + b"\x00" * 3,
    "NaN as a key": msgpack.packb([2, 1, "sheet/a", "add", {float("nan"): 1}]),
    "a number as a key": msgpack.packb([2, 1, "sheet/a", "add", {1: 1}]),
    "an array as a key": b"\x95\x02\x01\xa1a\xa1b\x81\x90\x01",
    "a lone surrogate": b"\x92\x01\xa3\xed\xa0\x80",
    "50,000 keys": b"\x95\x03\x01\xa2me\xde\xc3\x50" + b"\xa0\xc0" * 25_000,
    "60,000 empty maps": b"\x94\x04\xa1a\xa1b\xdc\xea\x60" + b"\x80" * 60_000,
    "a number as a room": msgpack.packb([0, 1, None, None]),
    "an empty room name": msgpack.packb([0, "", None, None]),
    "a list as arguments": msgpack.packb([2, 1, "sheet/a", "add", []]),
    "a text as a mutation": msgpack.packb([2, "1", "sheet/a", "add", {}]),
    "true as a mutation": msgpack.packb([2, True, "sheet/a", "add", {}]),
    "a map as keys to delete": msgpack.packb([3, 1, "my", {}, {}]),
    "a text as a tag": msgpack.packb([0, "sheet/a", 1, "12345678"]),
    "true as a type": msgpack.packb([True, "sheet/a"]),
    "a fraction as a type": msgpack.packb([5.0]),
    "nested 1,000 times": b"\x94\x04\xa1a\xa1b" + b"\x91" * 1000 + b"\x00",
    "bad UTF-8": b"\x92\x01\xa2\xff\xff",
}


@pytest.mark.parametrize("frame", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_message_closes_its_connection_alone(
    connect: Connect, frame: bytes
) -> None:
    async with connect() as bystander, connect() as member:
        await bystander.join("sheet/a")
        await member.websocket.send(frame)
        with pytest.raises(ConnectionClosed):
            await member.until(lambda _: False)
        assert member.websocket.close_code == 4500
        assert member.websocket.close_reason
        assert await bystander.call("sheet/a", "add") == 1


@pytest.mark.parametrize(
    "payload",
    [
        *(float("nan"), float("inf"), 2**53 + 1, 2**64 - 1, -(2**63)),
        *({"__proto__": 1, "constructor": 2}, "\ufffe\0", bytes(1000)),
    ],
)
async def test_strange_values_are_values(connect: Connect, payload: Any) -> None:
    async with connect() as member:
        await member.send(4, "sheet/a", "shout", payload)
        assert (await member.receive())[2] == "not_joined"


async def test_of_a_key_that_comes_twice_the_last_counts(connect: Connect) -> None:
    async with connect() as member:
        await member.join("sheet/a")
        twice = b"\x82\xa6amount\x05\xa6amount\x07"
        await member.websocket.send(b"\x95\x02\x01\xa7sheet/a\xa3add" + twice)
        assert (await member.answer(1))[3] == 7


async def test_a_frame_over_the_limit_closes_with_1009(connect: Connect) -> None:
    async with connect() as member:
        await member.websocket.send(bytes(64 * 1024 + 1))
        with pytest.raises(ConnectionClosed):
            await member.until(lambda _: False)
        assert member.websocket.close_code == 1009


async def test_a_text_frame_closes_with_1003(connect: Connect) -> None:
    async with connect() as member:
        await member.websocket.send("hello")
        with pytest.raises(ConnectionClosed):
            await member.until(lambda _: False)
        assert member.websocket.close_code == 1003


async def test_a_fragmented_message_is_one_message(connect: Connect) -> None:
    async with connect() as member:
        message = msgpack.packb([0, "sheet/a", None, None])
        await member.websocket.send([message[:3], message[3:5], message[5:]])
        await member.until(lambda m: m[0] == 8)


@pytest.mark.parametrize("first", [[5], [0, "sheet/a", None, None], [2, 1, "a", "b", {}]])
async def test_what_comes_before_hello_closes_with_4501(connect: Connect, first: list[Any]) -> None:
    async with connect(hello=False) as member:
        await member.send(*first)
        with pytest.raises(ConnectionClosed):
            await member.until(lambda _: False)
        assert member.websocket.close_code == 4501


async def test_a_second_hello_closes_with_4501(connect: Connect) -> None:
    async with connect() as member:
        await member.send(6, member.client)
        with pytest.raises(ConnectionClosed):
            await member.until(lambda _: False)
        assert member.websocket.close_code == 4501


async def test_ping_is_answered_with_pong(connect: Connect) -> None:
    async with connect() as member:
        await member.send(5)
        assert await member.receive() == [7]


async def test_a_connection_is_in_so_many_rooms_at_most(connect: Connect) -> None:
    async with connect() as member:
        for number in range(64):
            await member.join(f"sheet/{number}")
        with pytest.raises(Refused, match="too many rooms"):
            await member.join("sheet/64")


async def test_a_client_without_our_subprotocol_is_refused(address: str) -> None:
    for subprotocols in (None, [Subprotocol("other")]):
        with pytest.raises(InvalidStatus) as refusal:
            async with open_websocket(f"ws://{address}/ws", subprotocols=subprotocols, proxy=None):
                pass
        assert refusal.value.response.status_code == 400


async def refusal_of(address: str, **options: Any) -> Any:
    """The answer to a handshake that is refused."""
    with pytest.raises(InvalidStatus) as refusal:
        async with Member.connect(address, **options):
            pass
    return refusal.value.response


async def test_pages_of_other_origins_are_refused_with_the_remedy(address: str) -> None:
    answer = await refusal_of(address, Origin="http://evil.example")
    assert answer.status_code == 403
    assert b"GOSPA_ALLOWED_ORIGINS" in answer.body
    assert "Set-Cookie" not in answer.headers


async def test_our_subprotocol_is_taken_among_others(address: str) -> None:
    offered = [Subprotocol("other"), Subprotocol("gospa.v1")]
    url = f"ws://{address}/ws"
    async with open_websocket(url, subprotocols=offered, proxy=None) as websocket:
        assert websocket.subprotocol == "gospa.v1"


@pytest.mark.parametrize("cookie", ["", "session=", "session=" + "0" * 32 + "x" * 43])
async def test_who_has_no_session_gets_a_new_one(address: str, cookie: str) -> None:
    async with Member.connect(address, cookie=cookie) as member:
        assert member.cookie not in ("session=", cookie)


async def test_who_has_a_session_keeps_it(open_app: OpenApp) -> None:
    async with open_app() as (app, address):
        cookie = await logged_in(app, "ann")
        async with Member.connect(address, cookie=cookie) as member:
            assert member.websocket.response is not None
            assert "Set-Cookie" not in member.websocket.response.headers


async def test_a_session_that_ended_is_not_revived_by_a_handshake(open_app: OpenApp) -> None:
    async with open_app() as (app, address):
        cookie = await logged_in(app, "ann")
        await app.ctx.sessions.log_out_everywhere("ann")
        async with Member.connect(address, cookie=cookie) as member:
            assert member.cookie[:40] != cookie[:40]
        assert await app.ctx.sessions.sessions_of("ann") == []


async def test_a_token_that_was_replaced_opens_no_socket(open_app: OpenApp) -> None:
    async with open_app() as (app, address):
        cookie = await logged_in(app, "ann")
        record = await app.ctx.sessions.load(cookie.removeprefix("session="))
        await app.ctx.sessions.rotate(record)
        answer = await refusal_of(address, cookie=cookie)
        assert (answer.status_code, b"new token" in answer.body) == (401, True)
        async with Member.connect(address, cookie=f"session={record.token}"):
            pass


async def test_where_sockets_need_a_login_others_are_refused(open_app: OpenApp) -> None:
    async with open_app(sockets_need_login=True) as (app, address):
        answer = await refusal_of(address)
        assert (answer.status_code, b"log in" in answer.body) == (401, True)
        async with Member.connect(address, cookie=await logged_in(app, "ann")):
            pass


async def test_without_its_store_a_handshake_is_503(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise StoreUnavailable("away")

    async with open_app() as (app, address):
        cookie = await logged_in(app, "ann")
        monkeypatch.setattr(app.ctx.sessions, "find", away)
        answer = await refusal_of(address, cookie=cookie)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"connections_per_session": 2}, b"connections of this session"),
        ({"connections_per_address": 2}, b"connections from this address"),
        ({"handshakes_per_second": 0.2}, b"handshakes from this address"),
    ],
)
async def test_too_many_connections_are_refused_with_the_reason(
    open_app: OpenApp, limits: dict[str, Any], reason: bytes
) -> None:
    async with open_app(**limits) as (app, address), contextlib.AsyncExitStack() as stack:
        cookie = await logged_in(app, "ann")
        for _ in range(2):
            await stack.enter_async_context(Member.connect(address, cookie=cookie))
        answer = await refusal_of(address, cookie=cookie)
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) > 0
        assert reason in answer.body


@pytest.mark.parametrize("limit", ["connections_per_session", "connections_per_address"])
async def test_of_handshakes_at_once_no_more_are_taken_than_may_be(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    async with open_app(None, (), EXTRAS, **{limit: 2}) as (app, address):
        cookie = await logged_in(app, "ann")
        find, all_came, over = app.ctx.sessions.find, asyncio.Barrier(6), asyncio.Event()
        outcomes: list[bool] = []

        async def held_up(identity: str) -> Any:
            await all_came.wait()
            return await find(identity)

        async def come() -> None:
            try:
                async with Member.connect(address, cookie=cookie):
                    outcomes.append(True)
                    await over.wait()
            except InvalidStatus:
                outcomes.append(False)

        monkeypatch.setattr(app.ctx.sessions, "find", held_up)
        async with asyncio.TaskGroup() as coming:
            for _ in range(6):
                coming.create_task(come())
            await until(lambda: len(outcomes) == 6)
            over.set()
        assert outcomes.count(True) == 2


@pytest.mark.parametrize("limit", ["connections_per_session", "connections_per_address"])
async def test_who_has_gone_leaves_room_for_another(open_app: OpenApp, limit: str) -> None:
    async with open_app(None, (), EXTRAS, **{limit: 1}) as (app, address):
        cookie = await logged_in(app, "ann")

        async def let_in() -> bool:
            with contextlib.suppress(InvalidStatus):
                async with Member.connect(address, cookie=cookie):
                    return True
            return False

        for _ in range(3):
            await until(let_in)


async def test_of_the_handshake_nothing_is_kept(open_app: OpenApp) -> None:
    def kept() -> int:
        gc.collect()
        return sum(isinstance(each, HttpProtocol | Request) for each in gc.get_objects())

    async with open_app() as (_, address), Member.connect(address):  # opens connections to a store
        before = kept()
        async with Member.connect(address) as one, Member.connect(address) as two:
            await until(lambda: kept() <= before)
            await one.join("sheet/a")
            await two.join("sheet/a")
            assert await one.call("sheet/a", "add") == 1


async def test_a_handshake_with_a_body_is_refused(address: str) -> None:
    headers = {"Content-Length": "3"}
    with pytest.raises(InvalidStatus) as refused:
        async with open_websocket(
            f"ws://{address}/ws",
            subprotocols=[Subprotocol("gospa.v1")],
            additional_headers=headers,
        ):
            pass
    assert refused.value.response.status_code == 400


async def test_what_is_no_handshake_gets_no_session(address: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://{address}/ws")
    assert answer.status_code == 426
    assert "set-cookie" not in answer.headers


async def test_who_goes_during_the_handshake_leaves_nothing_behind(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start, came, gone = cookie.start_session, asyncio.Event(), asyncio.Event()

    async def outlast_the_client(request: Request) -> tuple[Session, str | None]:
        started = await start(request)
        came.set()
        with contextlib.suppress(asyncio.CancelledError):  # a library may do so
            await until(lambda: bool(request.conn_info and request.conn_info.lost))
        gone.set()
        return started

    monkeypatch.setattr(cookie, "start_session", outlast_the_client)
    async with open_app() as (app, address), asyncio.timeout(40):
        _, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(wire.HEAD.format(address).encode())
        await came.wait()
        writer.transport.abort()
        await gone.wait()
        assert not app.ctx.connections
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def answer_to(address: str, sent: str) -> bytes:
    """All that comes back for the text of requests, up to the end of the connection."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent.encode("latin-1"))
    async with asyncio.timeout(40):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("name", ["Cookie", "Host", "X-Name"])
@pytest.mark.parametrize("value", ["session=\xe9", "\x01"])
async def test_strange_bytes_in_other_headers_harm_no_handshake(
    address: str, name: str, value: str
) -> None:
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = wire.HEAD.format(address).replace("\r\n\r\n", f"\r\n{name}: {value}\r\n\r\n")
    writer.write(head.encode("latin-1"))
    assert b" 101 " in await reader.readline()
    writer.close()


@pytest.mark.parametrize("name", ["Sec-WebSocket-Key: ", "Sec-WebSocket-Version: ", "Connection: "])
async def test_strange_bytes_in_its_own_headers_are_a_bad_handshake(
    address: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    head = wire.HEAD.format(address).replace(name, name + "\xff")
    answer = await answer_to(address, head.replace("Upgrade\r\n", "Upgrade, close\r\n"))
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 426 "))
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("upgrade", ["WebSocket", "websocket ", ",websocket"])
async def test_an_upgrade_may_be_written_in_other_ways(
    address: str, upgrade: str, caplog: pytest.LogCaptureFixture
) -> None:
    head = wire.HEAD.format(address).replace("Upgrade: websocket", f"Upgrade: {upgrade}")
    answer = await answer_to(address, head + wire.frame(wire.CLOSE).decode("latin-1"))
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_who_reads_no_answers_opens_no_socket(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, start, asked = Blueprint("large"), cookie.start_session, asyncio.Event()

    async def tell(request: Request) -> tuple[Session, str | None]:
        started = await start(request)
        asked.set()
        return started

    @view.get("/large")
    async def large(_: Request) -> HTTPResponse:
        return raw(bytes(2**24))

    monkeypatch.setattr(cookie, "start_session", tell)
    async with open_app(views=[view]) as (app, address), asyncio.timeout(40):
        reader, writer = await asyncio.open_connection(*address.split(":"))
        transport: Any = writer.transport
        transport.pause_reading()
        writer.write(f"GET /large HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
        writer.write(wire.HEAD.format(address).encode())
        await asked.wait()
        assert not app.ctx.connections
        transport.resume_reading()
        assert b" 101 " not in (await reader.read())[-1000:]
        writer.close()


async def test_a_handshake_that_outlasts_its_worker_opens_no_socket(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = cookie.start_session

    async def outlast_the_hub(request: Request) -> tuple[Session, str | None]:
        started = await start(request)
        await request.app.ctx.hub.drain()
        return started

    monkeypatch.setattr(cookie, "start_session", outlast_the_hub)
    async with open_app() as (app, address):
        assert await answer_to(address, wire.HEAD.format(address)) == b""
        assert not app.ctx.connections


async def test_a_proxy_may_come_through_a_unix_socket(settings: Settings) -> None:
    app = create_app("unix", chosen.BACKENDS, ROOMS, settings)
    with tempfile.TemporaryDirectory() as folder:  # pytest's have names too long for a socket
        path = f"{folder}/socket"
        async with serve(app, unix=path), asyncio.timeout(40):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(wire.HEAD.format("localhost").encode() + wire.frame(wire.CLOSE))
            assert b" 101 " in await reader.read()
            writer.close()


async def test_pages_of_the_same_origin_are_let_in(address: str) -> None:
    async with Member.connect(address, Origin=f"http://{address}") as member:
        await member.join("sheet/a")


async def test_a_member_that_reads_nothing_is_behind_and_then_up_to_date(
    connect: Connect, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "HIGH_WATER", 4096)
    monkeypatch.setattr(socket, "UNSENT", 4096)
    async with connect() as fast, connect() as slow:
        await fast.join("sheet/a")
        await slow.join("sheet/a")
        slow.websocket.transport.pause_reading()
        note = await fast.call("sheet/a", "add_note", text="x")
        for number in range(1000):
            await fast.call("sheet/a", "edit_note", id=note, text=f"{number} " + "x" * 490)
        async with httpx.AsyncClient() as client:
            report = (await client.get(f"http://{address}/health/ready")).json()
        assert report["counters"]["skipped"] > 0
        slow.websocket.transport.resume_reading()
        last = f"note:{note}"
        await slow.sees("sheet/a", lambda s: s.get(last, {}).get("text", "").startswith("999 "))
        assert slow.states == fast.states or await fast.sees(
            "sheet/a", lambda s: s == slow.states["sheet/a"]
        )


async def test_many_clients_of_one_room_all_end_at_the_same_state(connect: Connect) -> None:
    async def take_part(number: int) -> tuple[int, bytes]:
        async with connect() as member:
            await member.join("sheet/a")
            for _ in range(5):
                await member.call("sheet/a", "add", amount=number)
            await member.sees("sheet/a", lambda s: s["count"] == 5 * sum(range(20)))
            return member.heads["sheet/a"]

    heads = await asyncio.gather(*(take_part(number) for number in range(20)))
    assert len(set(heads)) == 1

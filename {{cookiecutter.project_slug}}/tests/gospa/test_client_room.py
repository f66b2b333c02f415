"""Rooms of the Python client: against a served application, over connections that break."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from gospa import Draft, Room, Session, StoreUnavailable, action
from gospa.client import Client, ClientRoom, Refused, connect
from gospa.live.wire import ERROR, JOINED, PATCH
from gospa.testing import Connect, OpenApp, Site, until
from tests.gospa.relay import Relay, relay

ROOM = "sheet/a"


class Log(Room):
    """Keeps the order of what was appended; entering it may be made to fail."""

    pattern = "log"
    initial = {"entries": []}
    failures = 0

    async def authorize(self, session: Session) -> bool:
        if Log.failures:
            Log.failures -= 1
            raise StoreUnavailable
        return not session.get("banned")

    @action
    def append(self, state: Draft, entry: int) -> None:
        state["entries"].append(entry)


class Setting(NamedTuple):
    site: Site
    relay: Relay
    client: Client
    room: ClientRoom


@asynccontextmanager
async def entered(
    open_app: OpenApp, room: str = ROOM, rooms: Sequence[type[Room]] | None = None
) -> AsyncIterator[Setting]:
    """A client in a room of a served application, behind a relay."""
    async with (
        open_app(rooms) as site,
        relay(site.address) as between,
        connect(f"ws://{between.address}/ws") as client,
    ):
        yield Setting(site, between, client, await client.join(room))


async def started(room: ClientRoom, action: str = "add", **args: Any) -> asyncio.Task[Any]:
    """A call whose frame was handed over, if there is a connection."""
    task = asyncio.create_task(room.call(action, **args))
    await asyncio.sleep(0)
    return task


# State


async def test_a_joined_room_has_its_state(site: Site) -> None:
    async with connect(f"ws://{site.address}/ws") as client:
        room = await client.join(ROOM)
        assert room.name == ROOM
        assert dict(room.state) == {"count": 0, "notes": 0}
        assert room.version == 0
        assert await client.join(ROOM) is room


async def test_what_was_called_is_in_the_state(site: Site) -> None:
    async with connect(f"ws://{site.address}/ws") as client:
        room = await client.join(ROOM)
        for count in range(1, 20):
            assert await room.call("add") == count
            assert room.state["count"] == count
        assert room.version == 19


async def test_writable_keys_are_set_and_deleted(site: Site) -> None:
    async with connect(f"ws://{site.address}/ws") as client:
        room = await client.join("my")
        await room.set("note", "x")
        assert room.state["note"] == "x"
        await room.delete("note")
        assert room.state.get("note") != "x"
        with pytest.raises(Refused, match="invalid"):
            await room.set("other", 1)


async def test_until_waits_for_a_state_and_misses_none(site: Site, connect: Connect) -> None:
    async with open_client(site) as client, connect() as ann:
        room = await client.join(ROOM)
        await ann.join(ROOM)
        three = asyncio.create_task(room.until(lambda state: state["count"] == 3))
        for _ in range(5):
            await ann.call(ROOM, "add")
        assert (await three)["count"] == 3
        assert (await room.until(lambda state: state["count"] == 5)) is room.state


async def test_a_condition_that_fails_raises_its_error(site: Site) -> None:
    async with open_client(site) as client:
        room = await client.join(ROOM)
        with pytest.raises(KeyError):
            await room.until(lambda state: bool(state["other"]))


async def test_changes_begin_with_the_current_state_and_skip_to_the_newest(site: Site) -> None:
    async with open_client(site) as client:
        room = await client.join(ROOM)
        changes = room.changes()
        assert (await anext(changes))["count"] == 0
        for _ in range(5):
            await room.call("add")
        assert (await anext(changes))["count"] == 5
        following = asyncio.ensure_future(anext(changes))
        await room.call("add")
        assert (await following)["count"] == 6
        await changes.aclose()


async def test_a_broken_connection_is_resumed_with_patches_only(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with entered(open_app) as (site, relay, client, room):
        await room.call("add")
        seen = received(room, monkeypatch)
        relay.closed = True
        relay.cut()
        await until(lambda: client.status == "offline")
        async with site.connect() as ann:
            await ann.join(ROOM)
            await ann.call(ROOM, "add")
            relay.closed = False
            assert await room.until(lambda state: state["count"] == 2)
            await until(lambda: JOINED in seen)
        assert seen == [PATCH, JOINED]


# Mutations


async def test_a_call_whose_answer_was_lost_is_applied_once(open_app: OpenApp) -> None:
    async with entered(open_app) as (site, relay, _, room):
        relay.muted = True
        adding = await started(room, amount=5)
        async with site.connect() as ann:
            await ann.join(ROOM)
            await ann.sees(ROOM, lambda state: state["count"] == 5)
            relay.cut()
            await relay.ended()
            relay.muted = False
            assert await adding is None  # the result of the first try was lost as well
            assert room.state["count"] == 5
            assert await ann.call(ROOM, "add") == 6


async def test_calls_keep_their_order_over_broken_connections(open_app: OpenApp) -> None:
    async with entered(open_app, "log", [Log]) as (_, relay, client, room):
        calls = []
        for entry in range(60):
            calls.append(await started(room, "append", entry=entry))
            if entry in (20, 40):
                relay.cut()
                await until(lambda: client.status != "online")
            elif entry == 30:
                await until(lambda: client.status == "online")
        await asyncio.gather(*calls)
        assert room.state["entries"] == list(range(60))
        assert relay.accepted >= 3


async def test_a_call_made_while_disconnected_waits_for_a_connection(open_app: OpenApp) -> None:
    async with entered(open_app) as (_, relay, client, room):
        relay.closed = True
        relay.cut()
        await until(lambda: client.status == "offline")
        adding = await started(room)
        relay.closed = False
        assert await adding == 1


async def test_an_unavailable_call_is_retried_before_later_ones(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with entered(open_app, "log", [Log]) as (site, _, _, room):
        seen = received(room, monkeypatch, "answer")
        monkeypatch.setattr(site.app.ctx.hub, "draining", True)
        calls = [await started(room, "append", entry=entry) for entry in range(3)]
        await until(lambda: seen.count(ERROR) >= 3)
        monkeypatch.setattr(site.app.ctx.hub, "draining", False)
        calls.append(await started(room, "append", entry=3))
        await asyncio.gather(*calls)
        assert room.state["entries"] == [0, 1, 2, 3]


async def test_a_refused_call_raises_what_the_action_said(site: Site) -> None:
    async with open_client(site) as client:
        room = await client.join(ROOM)
        with pytest.raises(Refused) as caught:
            await room.call("remove_note", id="none")
        assert (caught.value.code, caught.value.room) == ("refused", ROOM)
        assert caught.value.text == "this note was removed"
        assert await room.call("add") == 1


async def test_what_the_server_would_close_on_is_refused_here(site: Site) -> None:
    async with open_client(site) as client:
        room = await client.join(ROOM)
        for text, code in (("x" * 70_000, "too_large"), ({1: 2}, "invalid"), (object(), "invalid")):
            with pytest.raises(Refused) as caught:
                await room.call("add_note", text=text)
            assert caught.value.code == code
        with pytest.raises(Refused, match="invalid"):
            await room.call("")
        assert await room.call("add") == 1


async def test_a_call_cancelled_before_it_was_sent_is_withdrawn(open_app: OpenApp) -> None:
    async with entered(open_app, "log", [Log]) as (_, relay, client, room):
        relay.closed = True
        relay.cut()
        await until(lambda: client.status == "offline")
        calls = [await started(room, "append", entry=entry) for entry in range(3)]
        calls[1].cancel()
        relay.closed = False
        await asyncio.gather(*calls, return_exceptions=True)
        assert room.state["entries"] == [0, 2]


async def test_a_call_cancelled_after_it_was_sent_keeps_its_place(open_app: OpenApp) -> None:
    async with entered(open_app, "log", [Log]) as (_, relay, _, room):
        relay.muted = True
        calls = [await started(room, "append", entry=entry) for entry in range(3)]
        await until(lambda: relay.lost > 0)
        calls[1].cancel()
        relay.cut()
        await relay.ended()
        relay.muted = False
        await asyncio.gather(*calls, return_exceptions=True)
        assert room.state["entries"] == [0, 1, 2]


# Events


async def test_events_reach_members_with_their_sender(site: Site) -> None:
    async with open_client(site) as ann, open_client(site) as bob:
        room = await bob.join(ROOM)
        events = room.events()
        here = await ann.join(ROOM)
        for number in range(3):
            assert await here.send("typing", number)
        assert [await anext(events) for _ in range(3)] == [
            ("typing", number, ann.member) for number in range(3)
        ]
        await events.aclose()


async def test_no_event_is_sent_while_disconnected(open_app: OpenApp) -> None:
    async with entered(open_app) as (_, relay, client, room):
        relay.closed = True
        relay.cut()
        await until(lambda: client.status == "offline")
        assert not await room.send("typing")


async def test_no_event_is_sent_before_the_room_is_joined_again(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with entered(open_app, "log", [Log]) as (_, relay, client, room):
        monkeypatch.setattr(Log, "failures", 1000)
        relay.cut()
        await until(lambda: relay.accepted == 2 and client.status == "online")
        assert not await room.send("typing")


async def test_a_refused_event_is_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    async with open_client(site) as client:
        room = await client.join(ROOM)
        assert await room.send("other")
        await until(lambda: "other" in caplog.text)
        assert await room.call("add") == 1


# Membership


async def test_a_refused_join_raises_its_reason(site: Site) -> None:
    async with open_client(site) as client:
        for room, code in (("users", "unauthorized"), ("nowhere", "unknown_room"), ("", "invalid")):
            with pytest.raises(Refused) as caught:
                await client.join(room)
            assert caught.value.code == code
        assert await (await client.join(ROOM)).call("add") == 1


async def test_an_unavailable_room_is_joined_when_it_is_available(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Log, "failures", 2)
    async with entered(open_app, "log", [Log]) as (_, _, _, room):
        assert room.state["entries"] == []
        assert Log.failures == 0


async def test_a_room_that_is_left_ends_what_waits_in_it(site: Site) -> None:
    async with open_client(site) as client:
        room = await client.join(ROOM)
        waiting = asyncio.create_task(room.until(lambda state: state["count"] == 1))
        events = room.events()
        await asyncio.sleep(0)
        await room.leave()
        for outcome in (waiting, anext(events), room.call("add"), room.send("typing")):
            with pytest.raises(Refused, match="left"):
                await outcome
        with pytest.raises(Refused, match="left"):
            await room.until(bool)
        await room.leave()
        again = await client.join(ROOM)
        assert again is not room
        assert await again.call("add") == 1


async def test_who_left_is_no_member(site: Site) -> None:
    async with open_client(site) as ann, open_client(site) as bob:
        room = await ann.join(ROOM)
        members = await bob.join(f"{ROOM}#members")
        listed = await ann.join(f"{ROOM}#members", {"name": "ann"})
        shown = await members.until(lambda state: ann.member in state)
        assert shown[ann.member]["details"] == {"name": "ann"}
        await listed.leave()
        await members.until(lambda state: ann.member not in state)
        assert await room.call("add") == 1


async def test_a_cancelled_join_ends_no_other_join(open_app: OpenApp) -> None:
    async with entered(open_app) as (_, relay, client, _):
        relay.closed = True
        relay.cut()
        await until(lambda: client.status == "offline")
        joins = [asyncio.create_task(client.join("sheet/b")) for _ in range(3)]
        await asyncio.sleep(0)
        joins[0].cancel()
        relay.closed = False
        assert await joins[1] is await joins[2]
        assert await (await joins[1]).call("add") == 1


async def test_a_room_is_left_when_all_its_joins_are_cancelled(open_app: OpenApp) -> None:
    async with entered(open_app) as (site, relay, client, room):
        relay.closed = True
        relay.cut()
        await until(lambda: client.status == "offline")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await client.join("sheet/b")
        relay.closed = False
        assert await room.call("add") == 1
        assert [name for name in site.app.ctx.hub.rooms if name.endswith("b")] == []


def open_client(site: Site) -> Client:
    return connect(f"ws://{site.address}/ws")


def received(
    room: ClientRoom, monkeypatch: pytest.MonkeyPatch, method: str = "receive"
) -> list[int]:
    """The types of the messages that this method of the membership handles from now on."""
    kinds: list[int] = []
    handle = getattr(room.membership, method)

    def receive(message: list[Any]) -> None:
        kinds.append(message[0])
        handle(message)

    monkeypatch.setattr(room.membership, method, receive)
    return kinds

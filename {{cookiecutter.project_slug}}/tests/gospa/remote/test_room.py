"""Rooms of the Python client: against a served application, over connections that break."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from gospa import (
    Access,
    Caller,
    Items,
    Room,
    Session,
    State,
    StoreUnavailable,
    action,
    command,
    rooms_of,
)
from gospa.client import Client, ClientRoom, Refused, connect
from gospa.live.wire import ERROR, JOINED, PATCH
from gospa.testing import Connect, OpenApp, Site, until
from tests.gospa.relay import Relay, relay
from tests.gospa.rooms import Sheet

ROOM = "sheet/a"


class LogState(State):
    entries: list[int] = []
    lines: Items[str] = Items()


class Log(Room[LogState]):
    """Keeps the order of what was appended; entering it may be made to fail."""

    pattern = "log"
    failures = 0
    access = Access.FULL
    runs = 0

    async def authorize(self, session: Session) -> Access:
        if Log.failures:
            Log.failures -= 1
            raise StoreUnavailable
        return Log.access

    @action
    def append(self, state: LogState, entry: int) -> None:
        state.entries.append(entry)

    @action
    def write(self, state: LogState, line: str) -> str:
        return state.lines.append(line)

    @command
    async def later(self, caller: Caller, entry: int) -> str:
        Log.runs += 1
        await caller.call(Log.append, entry)
        return f"{entry} by {caller.member.id}"


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
        assert dict(room.state) == {"count": 0, "notes": {}}
        assert room.version == 0
        assert await client.join(ROOM) is room


async def test_a_room_whose_parameter_has_64_encoded_characters_is_joined(site: Site) -> None:
    name = Sheet.named(name="/" * 64)
    async with connect(f"ws://{site.address}/ws") as client:
        assert (await client.join(name)).name == name
        with pytest.raises(Refused, match="1 to 512 characters"):
            await client.join("x" * 513)


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


async def test_items_are_in_the_order_in_which_they_were_added(open_app: OpenApp) -> None:
    async with entered(open_app, "log", [Log]) as (_, relay, _, room):
        assert room.state == {"entries": [], "lines": {}}
        ids = [await room.call("write", line=f"line {number}") for number in range(5)]
        await relay.cut()
        ids.append(await room.call("write", line="line 5"))
        assert list(room.state["lines"].items()) == [
            (id_, f"line {number}") for number, id_ in enumerate(ids)
        ]


async def test_until_waits_for_a_state_and_misses_none(site: Site, connect: Connect) -> None:
    async with open_client(site) as client, connect() as ann:
        room, other = await client.join(ROOM), await ann.join(ROOM)
        three = asyncio.create_task(room.until(lambda state: state["count"] == 3))
        for _ in range(5):
            await other.call("add")
        assert (await three)["count"] == 3
        assert (await room.until(lambda state: state["count"] == 5)) is room.state


@pytest.mark.slow
async def test_waiting_ends_with_what_was_missed(open_app: OpenApp) -> None:
    async with (
        open_app() as site,
        relay(site.address) as between,
        connect(f"ws://{between.address}/ws") as client,
    ):
        room = await client.join(ROOM)
        client._uplink.patience = 0.2  # noqa: SLF001 - now, that nothing need come in time
        with pytest.raises(TimeoutError, match=r"sheet/a: no state .* \{'count': 0, "):
            await room.until(lambda state: state["count"] == 1)
        with pytest.raises(TimeoutError, match="no event 'typing' arrived"):
            await room.next_event("typing")
        between.mute()
        with pytest.raises(TimeoutError, match="sheet/b: not joined"):
            await client.join("sheet/b")
        with pytest.raises(TimeoutError):
            await room.call("add")
        between.closed = True
        with pytest.raises(TimeoutError):
            await connect(f"ws://{between.address}/ws", patience=0.1).__aenter__()


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
    async with entered(open_app) as (site, relay, client, room), site.connect() as ann:
        other = await ann.join(ROOM)  # a room without members forgets its patches
        await room.call("add")
        seen = received(room, monkeypatch)
        async with relay.disconnected(client):
            await other.call("add")
        assert await room.until(lambda state: state["count"] == 2)
        await until(lambda: JOINED in seen)
        assert seen == [PATCH, JOINED]


# Mutations


async def test_a_call_whose_answer_was_lost_is_applied_once(open_app: OpenApp) -> None:
    async with entered(open_app) as (site, relay, _, room):
        relay.mute()
        adding = await started(room, amount=5)
        async with site.connect() as ann:
            other = await ann.join(ROOM)
            await other.until(lambda state: state["count"] == 5)
            await relay.cut()
            assert await adding is None  # the result of the first try was lost as well
            assert room.state["count"] == 5
            assert await other.call("add") == 6


@pytest.mark.slow
async def test_calls_keep_their_order_over_broken_connections(open_app: OpenApp) -> None:
    async with entered(open_app, "log", [Log]) as (_, relay, client, room):
        calls = []
        for entry in range(60):
            calls.append(await started(room, "append", entry=entry))
            if entry in (10, 30):
                reconnecting = asyncio.create_task(relay.reconnect(client))
            elif entry in (20, 40):
                await reconnecting
        await asyncio.gather(*calls)
        assert room.state["entries"] == list(range(60))


async def test_a_call_made_while_disconnected_waits_for_a_connection(open_app: OpenApp) -> None:
    async with entered(open_app) as (_, relay, client, room):
        async with relay.disconnected(client):
            adding = await started(room)
        assert await adding == 1


async def test_an_unavailable_call_is_retried_before_later_ones(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with entered(open_app, "log", [Log]) as (site, _, _, room):
        seen = received(room, monkeypatch, "answer")

        async def be_away(*_: Any) -> None:
            raise StoreUnavailable

        with monkeypatch.context() as patch:
            patch.setattr(site.app.ctx.hub.store, "commit", be_away)
            calls = [await started(room, "append", entry=entry) for entry in range(3)]
            await until(lambda: seen.count(ERROR) >= 3)
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
        async with relay.disconnected(client):
            calls = [await started(room, "append", entry=entry) for entry in range(3)]
            calls[1].cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert room.state["entries"] == [0, 2]


async def test_a_call_cancelled_after_it_was_sent_keeps_its_place(open_app: OpenApp) -> None:
    async with entered(open_app, "log", [Log]) as (_, relay, _, room):
        relay.mute()
        calls = [await started(room, "append", entry=entry) for entry in range(3)]
        await until(lambda: relay.lost > 0)
        calls[1].cancel()
        await relay.cut()
        await asyncio.gather(*calls, return_exceptions=True)
        assert room.state["entries"] == [0, 1, 2]


# Commands


async def test_a_command_has_its_result(open_app: OpenApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Log, "runs", 0)
    async with entered(open_app, "log", [Log]) as (_, _, client, room):
        assert await room.run("later", entry=1) == f"1 by {client.member}"
        await room.until(lambda state: state["entries"] == [1])
        for name, code in (("earlier", "unknown_action"), ("append", "unknown_action")):
            with pytest.raises(Refused) as caught:
                await room.run(name, entry=2)
            assert caught.value.code == code
        with pytest.raises(Refused, match="invalid"):
            await room.run("later", entry="x")
        assert Log.runs == 1


async def test_a_command_whose_answer_was_lost_runs_again_and_changes_the_room_once(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Log, "runs", 0)
    async with entered(open_app, "log", [Log]) as (_, relay, client, room):
        relay.mute()
        running = asyncio.create_task(room.run("later", entry=1))
        await until(lambda: Log.runs == 1 and relay.lost > 0)
        await relay.cut()
        assert await running == f"1 by {client.member}"
        await room.call("append", entry=2)
        assert (Log.runs, room.state["entries"]) == (2, [1, 2])


async def test_more_commands_than_may_run_at_once_all_run(open_app: OpenApp) -> None:
    async with entered(open_app, "log", [Log]) as (_, _, _, room):
        await asyncio.gather(*(room.run("later", entry=entry) for entry in range(20)))
        await room.call("append", entry=20)
        assert sorted(room.state["entries"]) == list(range(21))


async def test_a_command_made_while_disconnected_waits(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Log, "runs", 0)
    async with entered(open_app, "log", [Log]) as (_, relay, client, room):
        async with relay.disconnected(client):
            running = [asyncio.create_task(room.run("later", entry=entry)) for entry in range(2)]
            await asyncio.sleep(0)
            running[0].cancel()
        assert await running[1] == f"1 by {client.member}"
        assert Log.runs == 1


# Access


async def test_access_changes_while_the_room_is_joined(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app([Log], session_check_interval=0.1) as site, open_client(site) as client:
        room = await client.join("log")
        await room.call("append", entry=1)
        monkeypatch.setattr(Log, "access", Access.READ)
        await until(lambda: room.access == "read")
        for refused in (room.call("append", entry=2), room.run("later", entry=2), room.send("x")):
            with pytest.raises(Refused, match="you may only read"):
                await refused
        assert room.state["entries"] == [1]
        monkeypatch.setattr(Log, "access", Access.NONE)
        with pytest.raises(Refused) as caught:
            await room.until(lambda state: not state)
        assert caught.value.code == "unauthorized"
        assert room.state == {}
        assert client.status == "online"
        monkeypatch.setattr(Log, "access", Access.FULL)
        again = await client.join("log")
        assert (again.access, again.state["entries"]) == ("full", [1])


async def test_who_is_kicked_leaves_one_room_and_may_come_back(site: Site) -> None:
    async with site.connect(user="ann") as ann:
        room, other = await ann.join(ROOM), await ann.join("sheet/b")
        events = room.events()
        await rooms_of(site.app).kick(ROOM, user="ann")
        with pytest.raises(Refused) as caught:
            await anext(events)
        assert caught.value.code == "kicked"
        assert room.state == {}
        assert await other.call("add") == 1
        assert await (await ann.join(ROOM)).call("add") == 1


# Events


async def test_events_reach_members_with_their_sender(site: Site) -> None:
    async with open_client(site) as ann, open_client(site) as bob:
        room = await bob.join(ROOM)
        events = room.events()
        here = await ann.join(ROOM)
        for number in range(3):
            assert await here.send("typing", number)
        assert [await anext(events) for _ in range(3)] == [
            ("typing", number, {"id": ann.member, "user": None, "info": {}}) for number in range(3)
        ]
        await events.aclose()


async def test_the_next_event_of_a_name_may_have_arrived_before(site: Site) -> None:
    async with open_client(site) as ann, open_client(site) as bob:
        here, there = await ann.join(ROOM), await bob.join(ROOM)
        arrived = there.events()
        waiting = asyncio.create_task(there.next_event("announced"))
        for number in range(3):
            await here.send("typing", number)
        await rooms_of(site.app).send(Sheet.announced, ROOM, "hello")
        assert (await waiting).payload == "hello"
        for _ in range(4):
            await anext(arrived)
        first = await there.next_event("typing")
        assert first == ("typing", 0, {"id": ann.member, "user": None, "info": {}})
        assert (await there.next_event("typing")).payload == 1
        await there.leave()
        assert (await there.next_event("typing")).payload == 2
        with pytest.raises(Refused, match="left"):
            await there.next_event("typing")


async def test_no_event_is_sent_while_disconnected(open_app: OpenApp) -> None:
    async with entered(open_app) as (_, relay, client, room), relay.disconnected(client):
        assert not await room.send("typing")


async def test_no_event_is_sent_before_the_room_is_joined_again(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with entered(open_app, "log", [Log]) as (_, relay, client, room):
        monkeypatch.setattr(Log, "failures", 1000)
        await relay.reconnect(client)
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
        shown = await members.until(lambda state: ann.member in state["people"])
        person = {"user": None, "info": {}, "claims": {"name": "ann"}, "tabs": 1}
        assert shown["people"][ann.member] == person
        assert shown["count"] == 2
        await listed.leave()
        shown = await members.until(lambda state: state["count"] == 1)
        assert list(shown["people"]) == [bob.member]
        assert await room.call("add") == 1


async def test_a_cancelled_join_ends_no_other_join(open_app: OpenApp) -> None:
    async with entered(open_app) as (_, relay, client, _):
        async with relay.disconnected(client):
            joins = [asyncio.create_task(client.join("sheet/b")) for _ in range(3)]
            await asyncio.sleep(0)
            joins[0].cancel()
        assert await joins[1] is await joins[2]
        assert await (await joins[1]).call("add") == 1


async def test_a_room_is_left_when_all_its_joins_are_cancelled(open_app: OpenApp) -> None:
    async with entered(open_app) as (site, relay, client, room):
        async with relay.disconnected(client):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await client.join("sheet/b")
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

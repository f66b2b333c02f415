"""Rooms as clients see them through the socket, in one process, on the chosen backends."""

import asyncio
import os
from typing import Any

import pytest

from gospa.live import handshake, writer
from gospa.live.answers import member_id, public_id
from gospa.sessions.session import new_session
from gospa.testing import OpenApp, Refused
from tests.gospa.raw_client import ConnectRaw, RawClient, raw_client


async def joined_again(member: RawClient, room: str) -> list[Any]:
    """The JOINED that a member is sent who joins once more."""
    await member.send(0, room, None, None)
    return await member.until(lambda message: message[0] == 8)


async def test_welcome_names_the_worker_in_a_demonstration(open_app: OpenApp) -> None:
    async with open_app(demo=True) as site, raw_client(site) as member:
        assert member.welcome[1] == 1
        assert member.welcome[3]["pid"] == os.getpid()


async def test_join_shows_the_defaults_and_names_the_collections(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as member:
        assert await member.join("sheet/a") == {"count": 0}
        joined = await joined_again(member, "sheet/a")
        assert joined == [8, "sheet/a", 0, bytes(8), {"count": 0}, ["notes"], "full"]
        assert member.heads["sheet/a"] == (0, bytes(8))


async def test_a_call_reaches_every_member_with_one_version_and_state(
    connect_raw: ConnectRaw,
) -> None:
    async with connect_raw() as one, connect_raw() as two:
        await one.join("sheet/a")
        await two.join("sheet/a")
        assert await one.call("sheet/a", "add", amount=3) == 3
        for member in (one, two):
            state = await member.sees("sheet/a", lambda s: s["count"] == 3)
            assert state == {"count": 3}
        assert one.heads["sheet/a"] == two.heads["sheet/a"]


async def test_who_changes_a_room_hears_so_before_being_shown_it(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as member:
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


async def test_sheets_of_other_names_are_apart(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as one, connect_raw() as two:
        await one.join("sheet/a")
        await one.call("sheet/a", "add")
        assert (await two.join("sheet/b"))["count"] == 0


async def test_a_note_is_added_edited_and_removed(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as member:
        await member.join("sheet/a")
        note = await member.call("sheet/a", "add_note", text="milk")
        key = f"notes/{note}"
        state = await member.sees("sheet/a", lambda s: key in s)
        assert state[key] == {"text": "milk"}
        await member.call("sheet/a", "edit_note", id=note, text="oat milk")
        await member.sees("sheet/a", lambda s: s[key] == {"text": "oat milk"})
        await member.call("sheet/a", "remove_note", id=note)
        assert await member.sees("sheet/a", lambda s: key not in s) == {"count": 0}
        with pytest.raises(Refused, match="removed"):
            await member.call("sheet/a", "edit_note", id=note, text="late")


async def test_a_private_room_is_shared_by_a_sessions_connections_and_nobody_elses(
    connect_raw: ConnectRaw,
) -> None:
    async with connect_raw() as one:
        await one.join("my")
        await one.write("my", note="mine")
        async with connect_raw(cookie=one.cookie) as again:
            assert (await again.join("my"))["note"] == "mine"
        async with connect_raw() as other:
            assert (await other.join("my"))["note"] == ""


async def test_a_private_room_has_no_public_name(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as member:
        for name in ("my/x", "my@x", "my@" + "0" * 32):
            with pytest.raises(Refused) as refusal:
                await member.join(name)
            assert refusal.value.code == "unknown_room"


async def test_requests_sent_while_joining_wait_for_the_join(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as member:
        await member.send(0, "sheet/a", None, None)
        assert await member.call("sheet/a", "add") == 1


async def test_mutations_of_one_client_are_applied_in_their_order(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as member:
        await member.join("sheet/a")
        for number in range(1, 101):
            await member.send(2, number, "sheet/a", "add", {})
        answers = [await member.answer(number) for number in range(1, 101)]
        assert [answer[3] for answer in answers] == list(range(1, 101))


async def test_a_mutation_sent_again_is_acknowledged_and_not_applied_twice(
    connect_raw: ConnectRaw,
) -> None:
    async with connect_raw() as first:
        await first.join("sheet/a")
        await first.call("sheet/a", "add", amount=5)
    async with connect_raw(client=first.client, cookie=first.cookie) as again:
        await again.join("sheet/a")
        await again.send(2, 1, "sheet/a", "add", {"amount": 5})
        assert await again.answer(1) == [3, 1, 1, None]
        again.number = 1
        assert await again.call("sheet/a", "add", amount=1) == 6


async def test_the_numbers_of_a_client_are_those_of_its_session_alone(
    connect_raw: ConnectRaw,
) -> None:
    async with connect_raw() as ann:
        await ann.join("sheet/a")
        await ann.call("sheet/a", "add", amount=5)
        async with connect_raw(client=ann.client) as bob:  # who learned her client id
            await bob.join("sheet/a")
            assert await bob.call("sheet/a", "add", amount=1) == 6
            assert bob.welcome[4]["id"] != ann.welcome[4]["id"]
        assert await ann.call("sheet/a", "add", amount=1) == 7


async def test_a_client_has_the_same_id_for_others_over_all_its_connections(
    connect_raw: ConnectRaw,
) -> None:
    client = os.urandom(16)
    for _ in range(2):
        async with connect_raw(client=client) as member:
            assert member.welcome[2] == member_id(client)
    assert client.hex() not in member_id(client)


def test_a_session_has_another_public_id_under_another_user() -> None:
    session = new_session(0.0)
    ids = {public_id(session)}
    for user in ("ann", "bob"):
        session.log_in(user, 1.0)
        ids.add(public_id(session))
    assert len(ids) == 3


async def test_a_repeat_is_acknowledged_though_its_action_would_refuse_by_now(
    connect_raw: ConnectRaw,
) -> None:
    async with connect_raw() as first:
        await first.join("sheet/a")
        note = await first.call("sheet/a", "add_note", text="milk")
        await first.call("sheet/a", "remove_note", id=note)
        removed = first.number
    async with connect_raw(client=first.client, cookie=first.cookie) as again:
        await again.join("sheet/a")
        await again.send(2, removed, "sheet/a", "remove_note", {"id": note})
        assert (await again.answer(removed))[::3] == [3, None]
        await again.send(2, removed + 1, "sheet/a", "remove_note", {"id": note})
        with pytest.raises(Refused, match="this note was removed"):
            await again.answer(removed + 1)


async def test_who_sent_an_event_is_told_by_the_server_and_not_by_the_sender(
    connect_raw: ConnectRaw,
) -> None:
    async with connect_raw() as ann, connect_raw() as bob:
        await ann.join("sheet/a")
        await bob.join("sheet/a")
        said = {"member": bob.welcome[2], "note": ""}
        await ann.send(4, "sheet/a", "typing", said)
        heard = await bob.until(lambda message: message[0] == 2)
        sender = {"id": ann.welcome[2], "user": None, "info": {}}
        assert heard == [2, "sheet/a", "typing", said, sender]


async def test_a_client_that_comes_back_gets_only_what_it_missed(connect_raw: ConnectRaw) -> None:
    async with connect_raw() as stays, connect_raw() as goes:
        await stays.join("sheet/a")
        await goes.join("sheet/a")
        await stays.call("sheet/a", "add")
        await goes.sees("sheet/a", lambda s: s["count"] == 1)
        version, tag = goes.heads["sheet/a"]
        await goes.send(1, "sheet/a")
        await goes.send(5)
        assert await goes.receive() == [7], "it has left"
        await stays.call("sheet/a", "add")
        await stays.sees("sheet/a", lambda s: s["count"] == 2)
        await goes.send(0, "sheet/a", version, tag)
        assert (await goes.receive())[0] == 1
        assert (await goes.receive())[0] == 8
        assert goes.heads["sheet/a"] == stays.heads["sheet/a"]


@pytest.mark.parametrize("tag", [b"", b"not mine", b"x" * 100])
async def test_a_client_with_a_strange_tag_gets_a_snapshot(
    connect_raw: ConnectRaw, tag: bytes
) -> None:
    async with connect_raw() as member:
        await member.join("sheet/a")
        await member.call("sheet/a", "add")
        await member.sees("sheet/a", lambda s: s["count"] == 1)
        async with connect_raw() as other:
            assert (await other.join("sheet/a", 2**60, tag or None))["count"] == 1


@pytest.mark.slow
async def test_a_member_that_reads_nothing_is_behind_and_then_up_to_date(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "HIGH_WATER", 4096)
    monkeypatch.setattr(handshake, "UNSENT", 4096)
    async with (
        open_app(drain_timeout=3600, ping_interval=3600) as site,
        raw_client(site) as fast,
        raw_client(site) as slow,
    ):
        await fast.join("sheet/a")
        await slow.join("sheet/a")
        slow.websocket.transport.pause_reading()
        note = await fast.call("sheet/a", "add_note", text="x")
        for number in range(1000):
            await fast.call("sheet/a", "edit_note", id=note, text=f"{number} " + "x" * 490)
        async with site.http() as http:
            report = (await http.get("/health/ready")).json()
        assert report["counters"]["skipped"] > 0
        slow.websocket.transport.resume_reading()
        last = f"notes/{note}"
        await slow.sees("sheet/a", lambda s: s.get(last, {}).get("text", "").startswith("999 "))
        assert slow.states == fast.states or await fast.sees(
            "sheet/a", lambda s: s == slow.states["sheet/a"]
        )


async def test_many_clients_of_one_room_all_end_at_the_same_state(connect_raw: ConnectRaw) -> None:
    async def take_part(number: int) -> tuple[int, bytes]:
        async with connect_raw() as member:
            await member.join("sheet/a")
            for _ in range(5):
                await member.call("sheet/a", "add", amount=number)
            await member.sees("sheet/a", lambda s: s["count"] == 5 * sum(range(20)))
            return member.heads["sheet/a"]

    heads = await asyncio.gather(*(take_part(number) for number in range(20)))
    assert len(set(heads)) == 1

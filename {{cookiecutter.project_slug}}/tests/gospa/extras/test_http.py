"""Rooms over HTTP: what a visitor may do on a socket, no more and no less."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import httpx
import pytest
from msgspec import Struct

from gospa import (
    Access,
    Caller,
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
from gospa.extras import http as extra
from gospa.testing import OpenApp, Site, cookie_of
from tests.gospa.raw_client import raw_client


class Entry(Struct):
    by: str
    at: datetime
    data: bytes = b""


class LedgerState(State):
    total: int = 0
    title: str = "Ledger"
    entries: Items[Entry] = Items()


class Ledger(Room[LedgerState]):
    pattern = "ledger/<name>"

    async def authorize(self, session: Session) -> Access:
        if self.params["name"] == "shut":
            return Access.NONE
        return Access.FULL if session.user else Access.READ

    def introduce(self, session: Session) -> dict[str, Any]:
        return {"role": "clerk"}

    def allows(self, member: Member, name: str) -> bool:
        return name != "close"

    @action
    def add(self, state: LedgerState, member: Member, amount: int = 1) -> int:
        if amount < 0:
            raise RoomError("only more")
        state.total += amount
        return state.total

    @action
    def enter(self, state: LedgerState, member: Member, at: datetime, data: bytes) -> str:
        return state.entries.append(Entry(f"{member.user} {member.info['role']}", at, data))

    @action
    def close(self, state: LedgerState) -> None: ...

    @action
    def tell(self, state: LedgerState, value: Any) -> None: ...

    @action(server=True)
    def audit(self, state: LedgerState) -> None: ...

    @command
    async def settle(self, caller: Caller, amount: int) -> dict[str, Any]:
        await caller.call(Ledger.add, amount=amount)
        return {"by": caller.user}


class Own(Room[LedgerState]):
    pattern = "own"
    scope = "user"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    @action
    def add(self, state: LedgerState) -> int:
        state.total += 1
        return state.total


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app([Ledger, Own], extras=[extra]) as site:
        yield site


@pytest.fixture
async def ann(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with site.http(user="ann") as client:
        yield client


@pytest.fixture
async def visitor(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with site.http() as client:
        yield client


def told(answer: httpx.Response, status: int) -> str:
    """The code of a refusal."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body.keys() == {"error", "text"}
    return str(body["error"])


async def test_an_action_is_called_and_a_state_is_read(ann: httpx.AsyncClient) -> None:
    assert (await ann.post("/rooms/ledger/a/add")).json() == 1
    assert (await ann.post("/rooms/ledger/a/add", json={"amount": 4})).json() == 5
    state = {"total": 5, "title": "Ledger", "entries": {}}
    assert (await ann.get("/rooms/ledger/a")).json() == state
    head = await ann.head("/rooms/ledger/a")
    assert (head.status_code, head.content) == (200, b"")


async def test_members_on_a_socket_see_what_was_called(site: Site, ann: httpx.AsyncClient) -> None:
    async with site.connect(user="bob") as bob:
        ledger = await bob.join("ledger/a")
        await ann.post("/rooms/ledger/a/add", json={"amount": 4})
        assert (await ledger.until(lambda state: state["total"] != 0))["total"] == 4


async def test_values_that_json_lacks_are_text(ann: httpx.AsyncClient) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    given = {"at": at.isoformat(), "data": "AAEC"}
    id = (await ann.post("/rooms/ledger/a/enter", json=given)).json()
    entries = (await ann.get("/rooms/ledger/a")).json()["entries"]
    assert entries == {id: {"by": "ann clerk", "at": "2026-01-02T03:04:05Z", "data": "AAEC"}}


async def test_a_state_that_is_known_is_not_sent_again(ann: httpx.AsyncClient) -> None:
    first = await ann.get("/rooms/ledger/a")
    known = {"If-None-Match": first.headers["ETag"]}
    again = await ann.get("/rooms/ledger/a", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    await ann.post("/rooms/ledger/a/add")
    changed = await ann.get("/rooms/ledger/a", headers=known)
    assert changed.status_code == 200
    assert changed.headers["ETag"] != first.headers["ETag"]


async def test_an_etag_is_that_of_the_state_with_its_defaults(ann: httpx.AsyncClient) -> None:
    """They are not stored, and another release may have others under the same tag."""
    answer = await ann.get("/rooms/ledger/a")
    assert answer.json()["title"] == "Ledger"
    assert blake2b(answer.content, digest_size=8).hexdigest() in answer.headers["ETag"]


@pytest.mark.parametrize("name", ["%ff", "%fe", "%C3"])
async def test_a_name_that_is_not_utf_8_is_of_no_room(ann: httpx.AsyncClient, name: str) -> None:
    assert (await ann.get(f"/rooms/ledger/{name}")).status_code == 404
    assert (await ann.post(f"/rooms/ledger/{name}/add")).status_code == 404


async def test_a_key_has_a_call_applied_once(
    site: Site, ann: httpx.AsyncClient, visitor: httpx.AsyncClient
) -> None:
    key = {"Idempotency-Key": "a payment"}
    assert (await ann.post("/rooms/ledger/a/add", headers=key)).json() == 1
    assert (await ann.post("/rooms/ledger/a/add", headers=key)).json() is None
    for _ in range(2):
        settled = await ann.post("/rooms/ledger/a/settle", headers=key, json={"amount": 5})
        assert settled.json() == {"by": "ann"}
    async with site.http(user="bob") as bob:  # whose key it is not
        assert (await bob.post("/rooms/ledger/a/add", headers=key)).json() == 7
    for wrong in (b"x" * 256, b"caf\xe9"):  # which is not UTF-8
        headers = [(b"Idempotency-Key", wrong)]
        assert told(await ann.post("/rooms/ledger/a/add", headers=headers), 400) == "invalid"


async def test_a_refused_call_does_not_use_its_key_up(ann: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "a payment"}
    refused = await ann.post("/rooms/ledger/a/add", headers=key, json={"amount": -1})
    assert told(refused, 409) == "refused"
    assert (await ann.post("/rooms/ledger/a/add", headers=key)).json() == 1


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("ledger/a/add", b'{"amount": "x"}', 400, "invalid"),
        ("ledger/a/add", b'{"more": 1}', 400, "invalid"),
        ("ledger/a/add", b"[1]", 400, "invalid"),
        ("ledger/a/add", b"{", 400, "invalid"),
        ("ledger/a/add", b"\xff", 400, "invalid"),
        ("ledger/a/tell", b'{"value": ' + b"[" * 9000 + b"]" * 9000 + b"}", 400, "invalid"),
        ("ledger/a/add", b'{"amount": -1}', 409, "refused"),
        ("ledger/a/none", b"", 404, "unknown_action"),
        ("ledger/a/authorize", b"", 404, "unknown_action"),
        ("ledger/a/audit", b"", 403, "unauthorized"),
        ("ledger/a/close", b"", 403, "unauthorized"),
        ("ledger/shut/add", b"", 403, "unauthorized"),
        ("none/add", b"", 404, "unknown_room"),
        ("add", b"", 404, "unknown_room"),
        ("own@user:bob/add", b"", 404, "unknown_room"),
        ("own%40user:bob/add", b"", 404, "unknown_room"),
    ],
)
async def test_what_is_wrong_is_refused_with_its_code(
    ann: httpx.AsyncClient, path: str, body: bytes, status: int, code: str
) -> None:
    assert told(await ann.post(f"/rooms/{path}", content=body), status) == code


@pytest.mark.parametrize("entries", ["[" * 40 + "]" * 40, f"[{'1,' * 5000}1]"])
async def test_a_body_is_bounded_as_a_frame_is(ann: httpx.AsyncClient, entries: str) -> None:
    answer = await ann.post("/rooms/ledger/a/add", content=f'{{"amount": {entries}}}')
    assert told(answer, 400) == "invalid"
    assert "Expected" not in answer.json()["text"]  # by its type: the bounds come before


async def test_who_may_only_read_reads(visitor: httpx.AsyncClient) -> None:
    assert (await visitor.get("/rooms/ledger/a")).json()["total"] == 0
    assert told(await visitor.post("/rooms/ledger/a/add"), 403) == "unauthorized"
    assert told(await visitor.get("/rooms/ledger/shut"), 403) == "unauthorized"
    assert told(await visitor.get("/rooms/none"), 404) == "unknown_room"


async def test_a_page_of_another_site_may_not_call(ann: httpx.AsyncClient) -> None:
    answer = await ann.post("/rooms/ledger/a/add", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert (await ann.get("/rooms/ledger/a")).json()["total"] == 0


async def test_each_user_has_a_room_of_their_own(site: Site, ann: httpx.AsyncClient) -> None:
    for count in (1, 2):
        assert (await ann.post("/rooms/own/add")).json() == count
    async with site.http(user="bob") as bob:
        assert (await bob.post("/rooms/own/add")).json() == 1


async def test_a_new_visitor_keeps_the_room_that_a_call_made(
    site: Site, visitor: httpx.AsyncClient
) -> None:
    refused = await visitor.post("/rooms/own/none")
    assert (refused.status_code, "set-cookie" in refused.headers) == (404, False)
    first = await visitor.post("/rooms/own/add")
    assert (first.json(), "set-cookie" in first.headers) == (1, True)
    second = await visitor.post("/rooms/own/add")
    assert (second.json(), "set-cookie" in second.headers) == (2, False)
    async with raw_client(site, cookie=cookie_of(visitor)) as member:
        assert (await member.join("own"))["total"] == 2


async def test_a_session_whose_own_room_was_changed_is_kept(
    site: Site, visitor: httpx.AsyncClient
) -> None:
    await visitor.post("/ws")
    (identity,) = await site.app.ctx.sessions.everybody()
    assert not (await site.app.ctx.sessions.find(identity)).session.kept  # it ends in an hour
    assert (await visitor.post("/rooms/own/add")).json() == 1
    assert (await site.app.ctx.sessions.find(identity)).session.kept


async def test_parameters_may_hold_anything(site: Site, ann: httpx.AsyncClient) -> None:
    for name, path in (("café/1", "caf%C3%A9%2F1"), ("a#members", "a%23members"), ("a@b", "a@b")):
        await ann.post(f"/rooms/ledger/{path}/add")
        assert (await rooms_of(site.app).read(Ledger, Ledger.named(name=name))).total == 1


async def test_a_page_without_websockets_gets_a_stream(site: Site) -> None:
    async with raw_client(site, user="ann", transport="stream") as ann:
        await ann.join("ledger/a")
        assert await ann.call("ledger/a", "add", amount=4) == 4
        await ann.sees("ledger/a", lambda state: state["total"] == 4)


async def test_where_sockets_need_a_log_in_rooms_need_one_too(open_app: OpenApp) -> None:
    async with (
        open_app([Ledger], extras=[extra], sockets_need_login=True) as site,
        site.http() as visitor,
        site.http(user="ann") as ann,
    ):
        assert told(await visitor.get("/rooms/ledger/a"), 403) == "unauthorized"
        assert told(await visitor.post("/rooms/ledger/a/add"), 403) == "unauthorized"
        assert (await ann.post("/rooms/ledger/a/add")).json() == 1
        assert (await ann.get("/rooms/ledger/a")).json()["total"] == 1


async def test_limits_on_visitors_hold(open_app: OpenApp) -> None:
    limits: dict[str, Any] = {"rooms_per_hour": 2, "visitors_per_network": 1}
    async with (
        open_app([Ledger], extras=[extra], **limits) as site,
        site.http(user="ann") as ann,
    ):
        answers = [await ann.post(f"/rooms/ledger/{n}/add") for n in range(20)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert told(refused[0], 429) == "rate_limited"
    assert int(refused[0].headers["Retry-After"]) > 0


async def test_reading_large_states_is_limited_as_sending_them_is(open_app: OpenApp) -> None:
    limits: dict[str, Any] = {"fanout_per_second": 1, "visitors_per_network": 1}
    async with open_app([Ledger], extras=[extra], **limits) as site, site.http() as visitor:
        assert (await visitor.get("/rooms/ledger/a")).status_code == 200
        refused = await visitor.get("/rooms/ledger/a")
    assert told(refused, 429) == "rate_limited"
    assert int(refused.headers["Retry-After"]) > 0

"""Before a deploy it is known which stored rooms the new release cannot read."""

import asyncio
import re
import shlex
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec import Struct

from gospa import Access, Items, Room, Session, State
from gospa.live.inspection import Finding, inspect_rooms
from gospa.live.router import Router
from gospa.store.codec import pack
from gospa.store.contract import Snapshot, StateStore
from tests.gospa.backends.state_conformance import change


class Task(Struct):
    text: str
    done: bool = False


class ListState(State):
    title: str = ""
    tasks: Items[Task] = Items()


class TaskList(Room[ListState]):
    """Its second version: tasks were a list of texts before."""

    pattern, version = "list/<name>", 2

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    def migrate(self, old: dict[str, Any], version: int) -> None:
        for number, text in enumerate(old.pop("texts")):
            old[f"tasks/{number}"] = {"text": text}


class OwnList(TaskList):
    pattern, version, scope = "own", 1, "session"


class UsersList(TaskList):
    pattern, version, scope = "users", 1, "user"


ROUTER = Router([TaskList, OwnList, UsersList])


async def put(store: StateStore, key: str, values: Mapping[str, Any], version: int = 1) -> None:
    shape = {"$schema": version} if version > 1 else {}
    await store.commit(key, change(exists=False, set={**values, **shape}))


async def findings(store: StateStore, router: Router = ROUTER) -> list[Finding]:
    return [each async for each in inspect_rooms(store, router) if each]


async def test_rooms_that_this_release_wrote_fit(store: StateStore) -> None:
    task = {"text": "x", "unknown": 1}
    await put(store, "list/a", {"title": "A", "tasks/1": task, "unused": b""}, version=2)
    await put(store, "own@0123", {"tasks/1": {"text": "x"}, "$visits/m": "worker"})
    await put(store, "users@user:ann%40b", {"title": "Ann's"})
    await put(store, "users@0123", {"title": "of a session without a log-in"})
    assert [each async for each in inspect_rooms(store, ROUTER)] == [None] * 4


async def test_what_migrate_makes_of_an_older_version_is_shown_and_not_stored(
    store: StateStore,
) -> None:
    await put(store, "list/a", {"title": "A", "texts": ["x", "y"]})
    before = await store.load("list/a")
    assert await findings(store) == [
        {
            "what": "room",
            "key": "list/a",
            "from_version": 1,
            "to_version": 2,
            "set": {"tasks/0": {"text": "x"}, "tasks/1": {"text": "y"}},
            "deleted": ["texts"],
        }
    ]
    assert await store.load("list/a") == before


@pytest.mark.parametrize(
    ("key", "values", "version", "problem"),
    [
        ("list/a", {"title": 5}, 2, "the stored value of title does not fit ListState.title"),
        ("list/a", {"tasks/7": {"done": True}}, 2, "stored value of tasks/7 does not fit"),
        ("list/a", {"texts": [5]}, 1, "stored value of tasks/0 does not fit"),
        ("list/a", {"title": "A"}, 1, r"migrate from version 1 failed: KeyError\('texts'\)"),
        ("list/a", {"title": "A"}, 3, "stored in version 3, of a newer release"),
        ("poll/a", {"title": "A"}, 1, "there is no room 'poll/a'"),
        ("list/a#members", {"count": 1}, 1, "there is no room 'list/a#members'"),
        ("own", {}, 1, "no shared room 'own': its scope is session"),
        ("own@user:ann", {}, 1, "no user room 'own': its scope is session"),
        ("list/a@0123", {}, 2, "no session room 'list/a': its scope is shared"),
    ],
)
async def test_what_does_not_fit_is_named_with_its_room(
    store: StateStore, key: str, values: dict[str, Any], version: int, problem: str
) -> None:
    await put(store, key, {"title": "", **values}, version)
    (found,) = await findings(store)
    assert found["key"] == key
    assert re.search(problem, found["reason"])
    assert f"delete-room {shlex.quote(key)}" in found["remedy"]


async def test_each_value_that_does_not_decode_is_listed(store: StateStore) -> None:
    await put(store, "own@0123", {"title": 1, "tasks/1": 2})
    (found,) = await findings(store)
    assert found["reason"].count(" does not fit ") == 2


async def test_a_visit_that_cannot_be_read_is_listed(store: StateStore) -> None:
    visit: Any = ["worker", None, {}, None]
    visits = {"%visits/sound": visit, "%visits/odd": ["worker"]}
    await put(store, "list/a", {"title": "A", **visits}, version=2)
    (found,) = await findings(store)
    assert found["reason"] == "the visit of member odd cannot be read"


async def test_lists_of_members_belong_to_rooms_that_keep_one(store: StateStore) -> None:
    router = Router([TaskList, OwnList])
    router.derive("#tail", lambda room: TaskList(f"{room.name}#tail", {}))
    await put(store, "list/a#tail", {"title": "of a list"}, version=2)
    await put(store, "own@0123#tail", {"title": "of a session's list"}, version=2)
    assert await findings(store, router) == []


class Corrupt:
    """A store with a room and a record that are damaged, and a room that expired meanwhile."""

    async def names(self) -> Any:
        for name in ("list/gone", "list/a", "list/a"):
            yield name

    async def load(self, room: str, *, renew: bool) -> Snapshot | None:
        assert not renew
        fields = {"$schema": pack(2), "title": b"\xc1", "unknown": b"\xc1", "%visits/a": b"\xc1"}
        return None if room == "list/gone" else Snapshot(1, bytes(8), fields)

    async def damaged(self) -> Any:
        for _ in range(2):
            yield "{list/a}:client", "it is torn"


def test_damage_is_said_once_and_does_not_end_the_inspection() -> None:
    store: Any = Corrupt()
    found, record = asyncio.run(findings(store))
    for key in ("title does not fit", "unknown cannot be read", "%visits/a cannot be read"):
        assert f"the stored value of {key}" in found["reason"]
    assert record["key"] == "{list/a}:client"
    assert record["reason"] == "it is torn"


def test_migrate_is_tried_without_what_cannot_be_read() -> None:
    store: Any = Corrupt()
    old = {"texts": pack(["x"]), "title": b"\xc1"}  # of version 1

    async def load(_: str, *, renew: bool) -> Snapshot:
        assert not renew
        return Snapshot(1, bytes(8), old)

    store.load = load
    _, found, _ = asyncio.run(findings(store))
    assert found["set"] == {"tasks/0": {"text": "x"}}
    assert "title does not fit" in found["reason"]

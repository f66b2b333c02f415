"""Type checkers find wrong uses of rooms and their states, and accept right ones."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.baking import APP

ROOM = """
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from gospa import (
    Access, Action, Caller, Event, Items, Member, Room, Rooms, Session, State, Writable, action,
    command,
)

Title = Annotated[str, Meta(max_length=40)]


class Toast(Struct):
    text: str


class Note(Struct):
    text: str
    color: int = 0


class BoardState(State):
    count: int = 0
    title: Writable[Title] = "Board"
    notes: Items[Note] = Items()
    log: Items[str] = Items(keep=50)


class OtherState(State):
    other: int = 0


class Board(Room[BoardState]):
    pattern, version = "board/<name>", 2
    toast = Event(Toast, server=True)
    typing = Event(str)

    async def authorize(self, session: Session) -> Access:
        return Access.FULL if session.user else Access.READ

    async def load(self) -> BoardState | None:
        return BoardState(count=1, notes={"a": Note("loaded")})

    def migrate(self, old: dict[str, Any], version: int) -> None:
        old["title"] = old.pop("name", "")

    @action
    def add(self, state: BoardState, amount: int = 1) -> int:
        state.count += amount
        return state.count

    @action(server=True)
    def mark_paid(self, state: BoardState, member: Member, item: str) -> None:
        state.notes[item].color = 5

    @action
    def keep(self, state: BoardState, value: Any) -> int:
        return 1

    @action(server=True)
    def give(self, state: BoardState, member: Member, value: object, times: int = 1) -> int:
        return 1

    @command
    async def ask(self, question: Any) -> int:
        return 1

    @command
    async def tell(self, caller: Caller, answer: Any) -> int:
        return 1

    @command
    async def buy(self, caller: Caller, item: str) -> int:
        await caller.call(Board.mark_paid, item=item)
        perhaps: int | None = await caller.call(Board.add, 2)
        return perhaps or 0

    @command
    async def look_up(self, word: str) -> str:
        return word

    def joined(self, state: BoardState, member: Member) -> None:
        state.log.append(member.id)

    def plain(self, state: BoardState) -> int:
        self.mark_paid(state, Member(), "x")
        return self.add(state, 2)


class Other(Room[OtherState]):
    pattern = "other"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL


kinds: list[type[Room]] = [Board, Other]


"""
# Each line is a use of its own.
STATE = """
def use(state: BoardState, frozen: bool) -> None:
"""
RIGHT_STATE = """
state.count += 1
state.title = "Other"
note: Note = state.notes["a"]
state.notes["a"] = Note("new", color=2)
state.notes["a"].text = "newer"
state.notes = {"a": Note("new")}
id: str = state.notes.append(Note("new"), id=None)
texts: list[str] = [note.text for note in state.notes.values()]
last: str | None = state.log.get("a")
there: bool = "a" in state.notes and len(state.notes) > 3
del state.notes["a"]
state.notes.discard("b")
made: BoardState = BoardState(title="new", log={"a": "text"})
BoardState()
"""
WRONG_STATE = """
state.count = "1"
state.title = 5
state.missing = 1
state.notes["a"] = "text"
state.notes["a"].missing = 1
state.notes["a"].text = 5
state.notes[5]
state.notes = {"a": 1}
state.notes = [Note("new")]
state.notes.append("text")
state.notes.append(Note("new"), id=5)
state.log.append(Note("new"))
state.notes.push(Note("new"))
number: int = state.notes.append(Note("new"))
note: str = state.notes["a"]
BoardState(count="1")
BoardState(missing=1)
BoardState(notes={"a": 1})
BoardState(5)
"""
ROOMS = """
async def use(rooms: Rooms, caller: Caller, access: Access) -> None:
"""
RIGHT_ROOMS = """
added: int = await rooms.call(Board.add, "board/x", amount=2)
await rooms.call(Board.mark_paid, "board/x", "item")
perhaps: int | None = await rooms.once("key").call(Board.add, "board/x", 2)
several: list[int] = await rooms.for_user("ann").call(Board.add, "board/x")
bought: int = await rooms.run(Board.buy, "board/x", item="item")
again: int = await rooms.once("key").run(Board.buy, "board/x", "item")
word: str = await rooms.run(Board.look_up, "board/x", "word")
called: int | None = await caller.call(Board.add, amount=2)
kept: int = await rooms.call(Board.keep, "board/x", value=[1])
given: int = await rooms.call(Board.give, "board/x", [1], times=2)
asked: int = await rooms.run(Board.ask, "board/x", question="why")
told: int = await rooms.run(Board.tell, "board/x", {})
user: str | None = caller.user
await rooms.send(Board.toast, "board/x", Toast("sold"))
await rooms.send(Board.typing, "board/x", "note")
count: int = (await rooms.read(Board, "board/x")).count
note: Note = (await rooms.read(Board, "board/x")).notes["a"]
titles: list[str] = [state.title for state in await rooms.for_user("ann").read(Board, "board/x")]
async with rooms.watch(Board, "board/x") as states: title: str = (await anext(states)).title
names = [name async for name in rooms.names(Board.named(name="a/b"))]
await rooms.kick("board/x", user="bob")
act: Action = Board.add
full: bool = access is Access.FULL
"""
WRONG_ROOMS = """
await rooms.call(Board.add, "board/x", amount="2")
await rooms.call(Board.add, "board/x", size=2)
await rooms.call(Board.add, "board/x", 1, 2)
await rooms.call(Board.add, 5)
await rooms.call(Board.mark_paid, "board/x")
await rooms.call(Board.mark_paid, "board/x", Member(), "item")
await rooms.call(Board.mark_paid, "board/x", item="item", member=Member())
await rooms.call(Board.plain, "board/x")
await rooms.call(Board.typing, "board/x")
await rooms.call(Board.buy, "board/x", "item")
await rooms.call(Board.missing, "board/x")
result: str = await rooms.call(Board.add, "board/x")
once: int = await rooms.once("key").call(Board.add, "board/x")
await rooms.once(5).call(Board.add, "board/x")
await rooms.call(Board.keep, "board/x")
await rooms.call(Board.keep, "board/x", size=1)
text: str = await rooms.call(Board.keep, "board/x", 1)
await rooms.call(Board.give, "board/x", 1, times="2")
await rooms.call(Board.give, "board/x", Member(), 1, 2)
await rooms.run(Board.ask, "board/x")
await rooms.run(Board.tell, "board/x", 1, 2)
await rooms.run(Board.tell, "board/x", caller=caller, answer=1)
await rooms.run(Board.add, "board/x")
await rooms.run(Board.buy, "board/x", item=5)
await rooms.run(Board.buy, "board/x", caller, "item")
bought: str = await rooms.run(Board.buy, "board/x", "item")
await caller.call(Board.add, "board/x")
await caller.call(Board.buy, "item")
called: int = await caller.call(Board.add)
await rooms.send(Board.toast, "board/x", "sold")
await rooms.send(Board.toast, "board/x")
await rooms.send(Board.add, "board/x", 1)
await rooms.read("board/x", Board)
(await rooms.read(Board, "board/x")).missing
text: str = (await rooms.read(Board, "board/x")).count
other: OtherState = await rooms.read(Board, "board/x")
async with rooms.watch(Board, "board/x") as states: (await anext(states)).missing
Board.named(name=5)
rooms.call(Board.add, "board/x")
Access.WRITE
"""
CLASSES = "\n"
RIGHT_CLASSES = """
class A(Room[BoardState]): pattern = "a"; authorize = Board.authorize
class B(Board): pattern = "b"
class CState(BoardState): more: bytes = b""
"""
WRONG_CLASSES = """
class D(Room[int]): pattern = "d"
class E(Room[BoardState]): pattern = 5
class F(Room[BoardState]): scope = "everybody"
class G(Room[BoardState]): presence = "all"
class HState(State): count: int = "0"
class IState(State): notes: Items[Note] = {}
class JState(State): title: Writable[int] = "text"
class K(Room[BoardState]): typing = Event("text")
class L(Room[BoardState]): load = lambda self: 5
"""


@pytest.mark.parametrize(
    ("head", "indent", "rights", "wrongs"),
    [
        (STATE, "    ", RIGHT_STATE, WRONG_STATE),
        (ROOMS, "    ", RIGHT_ROOMS, WRONG_ROOMS),
        (CLASSES, "", RIGHT_CLASSES, WRONG_CLASSES),
    ],
    ids=["states", "rooms", "classes"],
)
def test_right_uses_are_accepted_and_wrong_ones_found(
    head: str, indent: str, rights: str, wrongs: str, tmp_path: Path
) -> None:
    right, wrong = rights.strip().splitlines(), wrongs.strip().splitlines()
    before = ROOM + head
    code = before + "".join(f"{indent}{line}\n" for line in [*right, *wrong])
    path = tmp_path / "uses.py"
    path.write_text(code, encoding="utf-8")
    command = (sys.executable, "-m", "mypy", "--enable-error-code=unused-awaitable")
    done = subprocess.run(
        [*command, "--enable-error-code=unused-coroutine", str(path)],
        cwd=APP,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {int(number) for number in re.findall(r"uses\.py:(\d+): error", done.stdout)}
    first = len(before.splitlines()) + len(right) + 1
    accepted = [line for number, line in enumerate(wrong, first) if number not in found]
    assert accepted == []
    assert {number for number in found if number < first} == set(), done.stdout

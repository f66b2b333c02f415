"""Type checkers find wrong uses of the rooms from server code, and accept right ones."""

import re
import subprocess
import sys
from pathlib import Path

from tests.baking import APP

ROOM = """
from msgspec import Struct

from gospa import Draft, Event, Member, Room, Rooms, Session, action


class Toast(Struct):
    text: str


class Board(Room):
    pattern = "board/<name>"
    toast = Event(Toast, server=True)
    typing = Event(str)

    async def authorize(self, session: Session) -> bool:
        return True

    @action
    def add(self, state: Draft, amount: int = 1) -> int:
        return amount

    @action(server=True)
    def mark_paid(self, state: Draft, member: Member, item: str) -> None: ...

    def other(self, state: Draft) -> int:
        self.mark_paid(state, Member(), "x")
        return self.add(state, 2)


async def use(rooms: Rooms) -> None:
"""
RIGHT = """
added: int = await rooms.call(Board.add, "board/x", amount=2)
await rooms.call(Board.mark_paid, "board/x", "item")
perhaps: int | None = await rooms.once("key").call(Board.add, "board/x", 2)
several: list[int] = await rooms.for_user("ann").call(Board.add, "board/x")
await rooms.send(Board.toast, "board/x", Toast("sold"))
await rooms.send(Board.typing, "board/x", "note")
count: int = (await rooms.read(Board, "board/x"))["count"]
async with rooms.watch(Board, "board/x") as states: print(await anext(states))
names = [name async for name in rooms.names("board/")]
await rooms.kick("board/x", user="bob")
"""
WRONG = """
await rooms.call(Board.add, "board/x", amount="2")
await rooms.call(Board.add, "board/x", size=2)
await rooms.call(Board.add, "board/x", 1, 2)
await rooms.call(Board.add, 5)
await rooms.call(Board.mark_paid, "board/x")
await rooms.call(Board.mark_paid, "board/x", Member(), "item")
await rooms.call(Board.mark_paid, "board/x", item="item", member=Member())
await rooms.call(Board.other, "board/x")
await rooms.call(Board.typing, "board/x")
await rooms.call(Board.missing, "board/x")
result: str = await rooms.call(Board.add, "board/x")
once: int = await rooms.once("key").call(Board.add, "board/x")
await rooms.once(5).call(Board.add, "board/x")
await rooms.send(Board.toast, "board/x", "sold")
await rooms.send(Board.toast, "board/x")
await rooms.send(Board.add, "board/x", 1)
await rooms.read("board/x", Board)
(await rooms.read(Board, "board/x"))["count"] = 1
rooms.call(Board.add, "board/x")
"""


def test_right_uses_are_accepted_and_wrong_ones_found(tmp_path: Path) -> None:
    right, wrong = RIGHT.strip().splitlines(), WRONG.strip().splitlines()
    code = ROOM + "".join(f"    {line}\n" for line in [*right, *wrong])
    path = tmp_path / "uses.py"
    path.write_text(code, encoding="utf-8")
    command = (sys.executable, "-m", "mypy", "--strict", "--enable-error-code=unused-awaitable")
    done = subprocess.run(
        [*command, "--enable-error-code=unused-coroutine", str(path)],
        cwd=APP,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = code.splitlines()
    found = {int(number) for number in re.findall(r"uses\.py:(\d+): error", done.stdout)}
    accepted = [line for n, line in enumerate(lines, 1) if n not in found]
    assert [line for line in wrong if f"    {line}" in accepted] == []
    first_wrong = len(lines) - len(wrong) + 1
    assert {n for n in found if n < first_wrong} == set(), done.stdout

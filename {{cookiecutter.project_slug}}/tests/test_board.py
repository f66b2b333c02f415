"""The board: actions by themselves, and what its members see of each other."""

import pytest

from gospa import Draft, RoomError
from gospa.testing import Connect, Refused
from rooms.board import MAX_NOTES, Board

ROOM = "board/lobby"


def test_a_full_board_takes_no_more_notes() -> None:
    board, state = Board(ROOM, {"name": "lobby"}), Draft(Board.initial_fields)
    for number in range(MAX_NOTES):
        board.add_note(state, text=f"note {number}")
    with pytest.raises(RoomError, match="remove one first"):
        board.add_note(state, text="one more")


async def test_both_members_see_each_change(connect: Connect) -> None:
    async with connect() as ann, connect() as bob:
        assert await ann.join(ROOM) == {"count": 0, "notes": 0}
        await bob.join(ROOM)
        assert await ann.call(ROOM, "add", amount=2) == 2
        assert await bob.call(ROOM, "add") == 3
        for member in (ann, bob):
            await member.sees(ROOM, lambda state: state["count"] == 3)


async def test_a_note_is_added_edited_and_removed(connect: Connect) -> None:
    async with connect() as ann, connect() as bob:
        await ann.join(ROOM)
        await bob.join(ROOM)
        note = await ann.call(ROOM, "add_note", text="milk", color=2)
        key = f"note:{note}"
        assert (await bob.sees(ROOM, lambda state: key in state))[key]["color"] == 2
        await ann.call(ROOM, "edit_note", id=note, text="oat milk")
        await bob.sees(ROOM, lambda state: state[key]["text"] == "oat milk")
        await ann.call(ROOM, "remove_note", id=note)
        await bob.sees(ROOM, lambda state: key not in state)
        with pytest.raises(Refused, match="this note was removed"):
            await bob.call(ROOM, "edit_note", id=note, text="late")


async def test_an_id_is_given_once(connect: Connect) -> None:
    async with connect() as ann:
        await ann.join(ROOM)
        await ann.call(ROOM, "add_note", text="milk", id="0123abcd")
        with pytest.raises(Refused, match="a note with this id already exists"):
            await ann.call(ROOM, "add_note", text="bread", id="0123abcd")


async def test_members_see_who_is_typing(connect: Connect) -> None:
    async with connect() as ann, connect() as bob:
        await ann.join(ROOM)
        await bob.join(ROOM)
        await ann.emit(ROOM, "typing", "0123abcd")
        assert await bob.hears(ROOM, "typing") == "0123abcd"

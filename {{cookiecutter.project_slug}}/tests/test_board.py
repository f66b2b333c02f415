"""The board: actions by themselves, and what its members see of each other."""

import pytest

from gospa import RoomError
from gospa.testing import Connect, Refused
from rooms.board import MAX_NOTES, Board, BoardState

ROOM = "board/lobby"


def test_a_full_board_takes_no_more_notes() -> None:
    board, state = Board(ROOM, {"name": "lobby"}), BoardState()
    for number in range(MAX_NOTES):
        board.add_note(state, text=f"note {number}")
    with pytest.raises(RoomError, match="remove one first"):
        board.add_note(state, text="one more")


async def test_both_members_see_each_change(connect: Connect) -> None:
    async with connect() as ann, connect() as bob:
        here, there = await ann.join(ROOM), await bob.join(ROOM)
        assert here.state == {"count": 0, "notes": {}, "guest": None}
        assert await here.call("add", amount=2) == 2
        assert await there.call("add") == 3
        for board in (here, there):
            await board.until(lambda state: state["count"] == 3)


@pytest.mark.parametrize("amount", [101, -101, 2**53 - 1, 2**63, 2**64 - 1, -(2**63), 1.5, None])
async def test_a_step_that_is_too_large_is_refused_and_others_count_on(
    connect: Connect, amount: float | None
) -> None:
    async with connect() as ann, connect() as bob:
        here, there = await ann.join(ROOM), await bob.join(ROOM)
        with pytest.raises(Refused, match=r"invalid.*amount"):
            await here.call("add", amount=amount)
        assert await there.call("add", amount=-100) == -100


def test_a_counter_at_its_end_is_not_taken_further_and_counts_back() -> None:
    board, state = Board(ROOM, {"name": "lobby"}), BoardState(count=2**53 - 1)
    with pytest.raises(RoomError, match="at its end"):
        board.add(state)
    assert board.add(state, amount=-1) == 2**53 - 2


async def test_a_note_is_added_edited_and_removed(connect: Connect) -> None:
    async with connect() as ann, connect() as bob:
        here, there = await ann.join(ROOM), await bob.join(ROOM)
        note = await here.call("add_note", text="milk", color=2)
        seen = await there.until(lambda state: note in state["notes"])
        assert seen["notes"][note] == {"text": "milk", "color": 2, "by": ""}
        await here.call("edit_note", id=note, text="oat milk")
        await there.until(lambda state: state["notes"][note]["text"] == "oat milk")
        await here.call("remove_note", id=note)
        await there.until(lambda state: not state["notes"])
        with pytest.raises(Refused, match="this note was removed"):
            await there.call("edit_note", id=note, text="late")


async def test_a_note_has_an_author_and_more_than_blanks(connect: Connect) -> None:
    async with connect() as ann:
        board = await ann.join(ROOM)
        note = await board.call("add_note", text=" a ", by="Ann")
        seen = await board.until(lambda state: note in state["notes"])
        assert seen["notes"][note]["by"] == "Ann"
        with pytest.raises(Refused, match=r"invalid.*text"):
            await board.call("add_note", text=" \n ")
        with pytest.raises(Refused, match=r"invalid.*text"):
            await board.call("edit_note", id=note, text="  ")


async def test_an_id_is_given_once(connect: Connect) -> None:
    async with connect() as ann:
        board = await ann.join(ROOM)
        note = await board.call("add_note", text="milk")
        with pytest.raises(Refused, match="notes has an item with this id"):
            await board.call("add_note", text="bread", id=note)


async def test_members_see_who_is_typing(connect: Connect) -> None:
    async with connect() as ann, connect() as bob:
        here, there = await ann.join(ROOM), await bob.join(ROOM)
        await here.send("typing", "0123abcd")
        assert (await there.next_event("typing")).payload == "0123abcd"


async def test_members_see_where_others_point_within_a_note(connect: Connect) -> None:
    async with connect() as ann, connect() as bob:
        here, there = await ann.join(ROOM), await bob.join(ROOM)
        place = {"note": "0123abcd", "x": 0.5, "y": 1}
        await here.send("pointing", place)
        assert (await there.next_event("pointing")).payload == place

"""The guest of the demonstration, whom the server plays."""

import pytest

from gospa import rooms_of
from gospa.testing import OpenApp, Refused
from rooms.board import Board, BoardState
from rooms.guest import STAY, TURNS, Guest

ROOM = "board/lobby"


async def test_a_guest_comes_writes_and_leaves_nothing_behind(open_app: OpenApp) -> None:
    async with open_app(demo=True) as site, site.connect() as ann:
        board = await ann.join(ROOM)
        await board.call("invite")
        await board.until(lambda state: bool(state["notes"]))  # by the alarm
        room, state = rooms_of(site.app), BoardState()
        (note,) = (await room.read(Board, ROOM)).notes.values()
        assert note.text in TURNS
        lobby = Board(ROOM, {"name": "lobby"})
        lobby.app = site.app
        lobby.invite(state)
        for turn in range(STAY):
            lobby.play(state)
            assert [note.text for note in state.notes.values()] == [TURNS[turn % len(TURNS)]]
        lobby.play(state)
        assert (state.guest, len(state.notes)) == (None, 0)
        lobby.play(state)


async def test_what_others_change_or_remove_is_theirs(open_app: OpenApp) -> None:
    async with open_app(demo=True) as site:
        board, state = Board(ROOM, {"name": "lobby"}), BoardState()
        board.app = site.app
        board.invite(state)
        board.play(state)
        (first,) = state.notes
        board.edit_note(state, first, "mine")
        board.play(state)
        assert [note.text for note in state.notes.values()] == ["mine", TURNS[1]]
        (_, second) = state.notes
        board.remove_note(state, second)
        board.play(state)
        assert [note.text for note in state.notes.values()] == ["mine", TURNS[2]]


async def test_no_guest_comes_or_stays_where_it_is_no_demonstration(open_app: OpenApp) -> None:
    async with open_app(demo=False) as site, site.connect() as ann:
        board = await ann.join(ROOM)
        with pytest.raises(Refused, match="demonstrations only"):
            await board.call("invite")
        lobby, state = Board(ROOM, {"name": "lobby"}), BoardState(guest=Guest())
        lobby.app = site.app
        lobby.play(state)
        assert (state.guest, len(state.notes)) == (None, 0)

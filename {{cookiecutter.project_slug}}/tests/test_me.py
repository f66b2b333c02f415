"""The visitor's own room."""

import pytest

from gospa.testing import Connect, Refused


async def test_a_visitor_finds_their_note_again_and_nobody_else_does(connect: Connect) -> None:
    async with connect() as ann:
        await (await ann.join("me")).set("note", "buy milk")
        async with connect(cookie=ann.cookie) as another_tab:
            assert (await another_tab.join("me")).state["note"] == "buy milk"
    async with connect() as bob:
        assert (await bob.join("me")).state["note"] == ""


async def test_a_name_has_at_most_40_characters(connect: Connect) -> None:
    async with connect() as ann:
        me = await ann.join("me")
        with pytest.raises(Refused, match="invalid"):
            await me.set("name", "x" * 41)

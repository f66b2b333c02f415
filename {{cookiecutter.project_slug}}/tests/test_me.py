"""The visitor's own room."""

import pytest

from gospa.testing import Connect, Refused


async def test_a_visitor_finds_their_note_again_and_nobody_else_does(connect: Connect) -> None:
    async with connect() as ann:
        await ann.join("me")
        await ann.write("me", note="buy milk")
        async with connect(cookie=ann.cookie) as another_tab:
            assert (await another_tab.join("me"))["note"] == "buy milk"
    async with connect() as bob:
        assert (await bob.join("me"))["note"] == ""


async def test_a_name_has_at_most_40_characters(connect: Connect) -> None:
    async with connect() as ann:
        await ann.join("me")
        with pytest.raises(Refused, match="invalid"):
            await ann.write("me", name="x" * 41)

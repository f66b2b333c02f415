"""The lounge: for users only, and they cannot speak for one another."""

import pytest

from gospa.testing import Connect, Refused


async def test_a_visitor_without_a_login_may_not_enter(connect: Connect) -> None:
    async with connect() as stranger:
        with pytest.raises(Refused, match="unauthorized"):
            await stranger.join("lounge")


async def test_users_see_who_said_what(connect: Connect) -> None:
    async with connect(user="ann") as ann, connect(user="bob") as bob:
        await ann.join("lounge")
        await bob.join("lounge")
        await ann.call("lounge", "say", text="hello")
        state = await bob.sees("lounge", lambda state: bool(state["said"]))
        assert state["said"] == [{"by": "ann", "text": "hello"}]

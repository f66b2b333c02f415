"""The lounge: for users only, and they cannot speak for one another."""

import pytest

from gospa.testing import Connect, Refused


async def test_a_visitor_without_a_login_may_not_enter(connect: Connect) -> None:
    async with connect() as stranger:
        with pytest.raises(Refused, match="unauthorized"):
            await stranger.join("lounge")


async def test_users_see_who_said_what(connect: Connect) -> None:
    async with connect(user="ann") as ann, connect(user="bob") as bob:
        here, there = await ann.join("lounge"), await bob.join("lounge")
        await here.call("say", text="hello")
        state = await there.until(lambda state: bool(state["said"]))
        assert list(state["said"].values()) == [{"by": "ann", "text": "hello"}]

"""Sample: an action by itself, and what members see of each other."""

import pytest

from gospa import Member, RoomError
from gospa.dev.sample import Sample, SampleState
from gospa.testing import OpenApp

NAME = "sample/one"


def test_only_its_author_removes_an_entry() -> None:
    sample, state = Sample(NAME, {"name": "one"}), SampleState()
    entry = sample.add(state, Member(user="ann"), text="hello")
    with pytest.raises(RoomError, match="another user"):
        sample.remove(state, Member(user="bob"), id=entry)
    sample.remove(state, Member(user="ann"), id=entry)
    with pytest.raises(RoomError, match="was removed"):
        sample.remove(state, Member(user="ann"), id=entry)


async def test_members_see_what_others_add_and_set(open_app: OpenApp) -> None:
    async with (
        open_app([Sample]) as site,
        site.connect(user="ann") as ann,
        site.connect() as bob,
    ):
        here, there = await ann.join(NAME), await bob.join(NAME)
        entry = await here.call("add", text="hello")
        state = await there.until(lambda state: entry in state["entries"])
        assert state["entries"][entry] == {"text": "hello", "by": "ann"}
        await there.set("title", "Ours")
        await here.until(lambda state: state["title"] == "Ours")

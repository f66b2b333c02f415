"""The path of one CALL through the engine is the one that docs/architecture.md shows."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import gospa
from gospa.app import Backends
from gospa.testing import OpenApp
from tests.gospa.raw_client import RawClient, raw_client

ENGINE = Path(gospa.__file__).parent
ARCHITECTURE = ENGINE.parent / "docs/architecture.md"
MOST = (10, 6)  # modules from a CALL to its ACK, and from its PATCH to the members


@contextmanager
def traced() -> Iterator[set[str]]:
    """The modules of the engine of which functions run in the block."""
    visited: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ENGINE):
            visited.add(path.relative_to(ENGINE).as_posix())

    sys.setprofile(note)
    try:
        yield visited
    finally:
        sys.setprofile(None)


def documented() -> tuple[list[str], list[str], list[str]]:
    """The tables of modules: to the ACK, to the members, and what these handle."""
    section = ARCHITECTURE.read_text(encoding="utf-8").partition("## The path of one CALL")[2]
    rows = re.findall(
        r"^\| (?:(\d+) \| )?`([\w/.]+)` \|", section.partition("\n## ")[0], re.MULTILINE
    )
    numbers, modules = [number for number, _ in rows], [module for _, module in rows]
    second, third = numbers.index("1", 1), numbers.index("")
    return modules[:second], modules[second:third], modules[third:]


async def call_and_see(caller: RawClient, other: RawClient, count: int) -> None:
    await caller.call("sheet/a", "add")
    await other.sees("sheet/a", lambda state: state["count"] == count)


async def test_a_call_visits_the_documented_modules_and_no_others(
    open_app: OpenApp, backends: Backends
) -> None:
    if not (backends.state.shared and backends.pubsub.shared):
        pytest.skip("the page shows the way with Redis")
    to_ack, to_members, handled = documented()
    assert (len(to_ack), len(to_members)) <= MOST
    async with open_app() as site, raw_client(site) as one, raw_client(site) as other:
        for member in (one, other):
            await member.join("sheet/a")
        await call_and_see(one, other, 1)  # what happens once has happened
        smallest = None
        for count in range(2, 6):  # a heartbeat or a probe may fall into one of them
            with traced() as visited:
                await call_and_see(one, other, count)
            smallest = visited if smallest is None else smallest & visited
        assert smallest == {*to_ack, *to_members, *handled}

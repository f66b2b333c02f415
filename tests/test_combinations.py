"""Each combination of backends serves: pages, sockets, sessions, also after a worker was killed."""

import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, Self

import msgpack
import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.baking import Baked
from tests.browsing import START_TIMEOUT, TIMEOUT, answers, serving, wait_for

SNAPSHOT, PATCH, ACK, WELCOME, JOINED = 0, 1, 3, 5, 8
JOIN, CALL, HELLO = 0, 2, 6
BOARD = "board/a"


class Visitor:
    """Someone with cookies, as a browser has them."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._cookies = CookieJar()
        self._http = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._cookies))

    def get(self, path: str) -> str:
        return self._ask(path)

    def log_in(self, name: str) -> None:
        self._ask("/account/log-in", f"name={name}".encode())

    @property
    def cookie(self) -> str:
        return "; ".join(f"{each.name}={each.value}" for each in self._cookies)

    def _ask(self, path: str, body: bytes | None = None) -> str:
        with self._http.open(f"{self.address}{path}", body, timeout=TIMEOUT) as answer:
            return str(answer.read().decode())


class Member:
    """A connection in the board."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket
        self._send(HELLO, os.urandom(16))
        self.pid = int(self._until(WELCOME)[3]["pid"])
        self._send(JOIN, BOARD, None, None)
        stored: dict[str, Any] = self._until(SNAPSHOT)[4]
        self.state = {**self._until(JOINED)[4], **stored}

    @classmethod
    @contextmanager
    def of(cls, visitor: Visitor) -> Iterator[Self]:
        with connect(
            f"ws{visitor.address.removeprefix('http')}/ws",
            subprotocols=[Subprotocol("gospa.v1")],
            additional_headers={"Cookie": visitor.cookie},
            proxy=None,
        ) as websocket:
            yield cls(websocket)

    def add(self) -> int:
        self._send(CALL, 1, BOARD, "add", {})
        return int(self._until(ACK)[3])

    def sees(self, count: int) -> None:
        while self.state["count"] != count:
            self.state.update(self._until(PATCH)[5])

    def _send(self, *message: Any) -> None:
        self._websocket.send(msgpack.packb(list(message)))

    def _until(self, kind: int) -> list[Any]:
        deadline = time.monotonic() + TIMEOUT
        while True:
            raw = self._websocket.recv(timeout=max(0, deadline - time.monotonic()))
            assert isinstance(raw, bytes)
            message: list[Any] = msgpack.unpackb(raw)
            if message[0] == kind:
                return message


@pytest.fixture(scope="module")
def address(baked: Baked, project: Path) -> Iterator[str]:
    """Where a project is served."""
    with serving(project, count_of(baked)) as address:
        yield address


@pytest.fixture
def ann(address: str) -> Visitor:
    """Somebody who is logged in."""
    visitor = Visitor(address)
    visitor.log_in("ann")
    return visitor


def knows(visitor: Visitor) -> bool:
    return '"user":"ann"' in visitor.get("/account/session")


def count_of(baked: Baked) -> int:
    """How many workers can serve a project: what is in memory belongs to one."""
    return 1 if "memory" in baked.backends.values() else 4


def workers(visitor: Visitor, count: int) -> set[int]:
    """Connect until so many workers have answered; returns their process ids."""
    seen: set[int] = set()
    deadline = time.monotonic() + START_TIMEOUT  # they share a listener very unevenly
    while len(seen) < count:
        assert time.monotonic() < deadline, f"only {seen} answered"
        with Member.of(visitor) as member:
            seen.add(member.pid)
    return seen


def test_pages_and_scripts_are_served(address: str) -> None:
    visitor = Visitor(address)
    assert "<script" in visitor.get("/")
    assert "export" in visitor.get("/gospa/gospa.js")


def test_members_see_what_others_change(address: str) -> None:
    visitor = Visitor(address)
    with Member.of(visitor) as one, Member.of(visitor) as other:
        count = one.add()
        other.sees(count)


def test_every_worker_knows_a_session(ann: Visitor, baked: Baked) -> None:
    workers(ann, count_of(baked))
    for _ in range(20):
        assert knows(ann)


def test_a_killed_worker_is_replaced_and_what_is_in_redis_is_kept(
    ann: Visitor, address: str, baked: Baked
) -> None:
    with Member.of(ann) as member:
        count = member.add()
        killed = member.pid
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: answers(address))
    assert killed not in workers(ann, count_of(baked))
    with Member.of(ann) as member:
        kept = baked.backends["state"] == "redis"
        assert member.state["count"] == (count if kept else 0)
    assert knows(ann) == (baked.backends["storage"] == "redis")

"""Throws broken frames, messages, cookies and stored bytes at the server's front door.

    python -m tests.gospa.fuzz --inputs 1000000 --seed 1

An exception ends it; nothing but a refusal of the protocol's own may come of any input.
"""

import argparse
import asyncio
import logging
import random
import resource
import sys
from collections import Counter
from typing import Any

import msgpack
from sanic import Sanic
from sanic.compat import Header
from websockets.protocol import State
from websockets.server import ServerProtocol

from gospa.live import wire
from gospa.live.connection import Connection
from gospa.live.hub import Hub
from gospa.live.router import Router
from gospa.sessions.attributes import cookie_name
from gospa.sessions.cookie import SessionRequest, session_of
from gospa.sessions.session import decode, new_session
from gospa.sessions.store import SessionStore
from gospa.settings import Settings
from tests.gospa.wire import HELLO, frame, message

CLOSE_CODES = {1002, 1003, 1007, 1009, wire.MALFORMED.code, wire.NO_HELLO.code}
WARM = 0.2  # of the inputs, after which memory should not grow
GROWTH = 8 * 1024  # KiB
LIMITLESS = Settings(
    frames_per_second=1e15, bytes_per_second=1e15, events_per_second=1e15, fanout_per_second=1e15
)

VALID = [
    HELLO,
    message(0, "sheet/a", None, None),
    message(0, "sheet/a", 3, b"12345678"),
    message(1, "sheet/a"),
    message(2, 1, "sheet/a", "add", {"amount": 2}),
    message(3, 2, "my", {"note": "x"}, ["y"]),
    message(4, "sheet/a", "wave", [1, None, {"a": 1.5}]),
    message(5),
    message(7, bytes(16), "sheet/a", "wave", {}),
]
EDGES: list[Any] = [
    *(None, True, -1, 0, 1, 2**53, 2**63, 2**64 - 1, -(2**63), 1.5, float("nan"), float("inf")),
    *("", "sheet/a", "x" * 200, "__proto__", "\0", b"", b"12345678", bytes(16), [], {}, [[]]),
    *("\u00e9" * 200, "\U0001f600" * 50, {"\u00e9" * 60: {"\u00e9" * 60: b"x"}}, "\u202e" * 9),
    *({"": {}}, {1: 1}, {None: 1}, {b"x": 1}, msgpack.ExtType(5, b"x"), msgpack.Timestamp(0, 1)),
]


class Batch(asyncio.Transport):
    """A transport to nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class Nothing:
    """A storage that has one session, and keeps count of what it is asked for."""

    def __init__(self, key: str, raw: bytes) -> None:
        self.key = key
        self.raw = raw

    async def get(self, key: str) -> bytes | None:
        assert key.startswith("session:")
        assert len(key) == 40, key
        assert set(key[8:]) <= set("0123456789abcdef"), key
        return self.raw if key == self.key else None


class Fuzz:
    """One run; `outcomes` counts what became of the inputs."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.outcomes: Counter[str] = Counter()
        self._connection: Connection | None = None
        self._protocol = ServerProtocol()
        self._hub = Hub(None, None, Router([]), LIMITLESS)  # type: ignore[arg-type]
        self._app: Sanic = Sanic(f"fuzz_{seed}_{id(self)}")
        session = new_session(2.0**40)
        self._token = session.rotate(2.0**40, 0)
        self._raw = session.encode(10_000)
        storage: Any = Nothing(f"session:{session.identity}", self._raw)
        bus: Any = None
        self._app.ctx.sessions = SessionStore(storage, bus, Settings(), bus)

    async def run(self, inputs: int) -> int:
        """Try that many inputs; returns by how many KiB memory grew after the first of them."""
        kinds = [self.frames, self.frames, self.value, self.cookie]
        warm = 0
        for number in range(inputs):
            await kinds[number % len(kinds)]()
            if number == int(inputs * WARM):
                warm = _memory()
        return _memory() - warm

    async def frames(self) -> None:
        """Bytes on a connection: frames right and wrong, whole and in pieces."""
        connection = self._open()
        data = b"".join(self._frame() for _ in range(self.random.randint(1, 3)))
        cuts = sorted(
            self.random.randrange(len(data) + 1) for _ in range(self.random.randint(0, 2))
        )
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            connection.data_received(data[start:end])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if self._protocol.state is State.OPEN:
            self.outcomes["open"] += 1
            return
        sent, received = self._protocol.close_sent, self._protocol.close_rcvd
        assert sent is not None
        assert sent.code in CLOSE_CODES or (received and sent.code == received.code), sent
        self.outcomes[f"closed {sent.code}" if sent.code in CLOSE_CODES else "closed by it"] += 1

    async def value(self) -> None:
        """A message of values that do not fit, or stored bytes that were changed."""
        try:
            wire.parse(self._message())
            self.outcomes["a message"] += 1
        except wire.WireError:
            self.outcomes["no message"] += 1
        stored = decode(self._mutated(self._raw))
        self.outcomes["no session" if stored is None else "a session"] += 1

    async def cookie(self) -> None:
        """A Cookie header."""
        token = self._mutated(self._token.encode()) if self._flip() else self._token.encode()
        own = cookie_name(self._app, plain=True).encode()
        name = self.random.choice(
            [own, b"__Host-" + own, b"__Secure-" + own, b"\xe2\x80\x80" + own]
        )
        header = self.random.choice([b"", b"; ", b"a=b; "]) + name + b"=" + token
        if self._flip(0.2):
            header = self._mutated(header + b"; " + header)
        headers = Header({"host": self.random.choice(["localhost", "x.example"])})
        transport: Any = None
        head = b"GET / HTTP/1.1\r\nCookie: " + header + b"\r\n"
        request: Any = SessionRequest(b"/", headers, "1.1", "GET", transport, self._app, head=head)
        opened = (await session_of(request)).identity == self._token[:32]
        assert not opened or (own in header and self._token.encode() in header), header
        self.outcomes["a known cookie" if opened else "an unknown cookie"] += 1

    def _open(self) -> Connection:
        if self._connection is None or self._protocol.state is not State.OPEN or self._flip(0.05):
            if self._connection is not None:
                self._connection.connection_lost(None)
            self._protocol = ServerProtocol(max_size=4096, state=State.OPEN)
            self._connection = Connection(self._hub, new_session(0.0), Batch(), self._protocol)
            if self._flip(0.9):
                self._connection.data_received(HELLO)
        return self._connection

    def _frame(self) -> bytes:
        chance = self.random.random()
        if chance < 0.3:
            return self._mutated(self.random.choice(VALID))
        if chance < 0.4:
            return self.random.randbytes(self.random.randint(0, 40))
        if chance < 0.7:
            return frame(2, self._message())
        if chance < 0.8:
            return frame(2, self._mutated(self._message()))
        return frame(
            self.random.choice([0, 1, 2, 2, 3, 8, 9, 10, 15]),
            self.random.randbytes(self.random.choice([0, 1, 2, 10, 125, 126, 5000])),
            fin=self._flip(0.8),
            rsv=self.random.choice([0] * 9 + [4]),
            masked=self._flip(0.95),
            length=self.random.choice([None] * 9 + [2**62]),
        )

    def _message(self) -> bytes:
        """One that does not fit, or fits all but a part."""
        parts = [self._value(1) for _ in range(self.random.randint(0, 6))]
        kind = self.random.randint(-1, 10)
        if self._flip():
            almost: list[Any] = self.random.choice(
                [[0, "a", None], [2, 1, "a", "b"], [4, "a", "b"], [6], [7, bytes(16), "a", "b"]]
            )
            kind, parts = almost[0], [*almost[1:], *parts[:1]]
        return msgpack.packb([kind, *parts])

    def _value(self, depth: int) -> Any:
        if depth < 4 and self._flip(0.2):
            return [self._value(depth + 1) for _ in range(self.random.randint(0, 4))]
        if depth < 4 and self._flip(0.2):
            return {str(n): self._value(depth + 1) for n in range(self.random.randint(0, 4))}
        return self.random.choice(EDGES)

    def _mutated(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.random.randint(0, 3)):
            at = self.random.randrange(len(changed) + 1)
            match self.random.randrange(4):
                case 0:
                    changed[at:at] = self.random.randbytes(1)
                case 1:
                    del changed[at : at + self.random.randint(1, 4)]
                case 2:
                    changed[at : at + 1] = self.random.randbytes(1)
                case _:
                    changed[at:at] = changed[: self.random.randint(0, 8)]
        return bytes(changed)

    def _flip(self, chance: float = 0.5) -> bool:
        return self.random.random() < chance


def _memory() -> int:
    """The most that this process ever took, in KiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // 1024 if sys.platform == "darwin" else most


def main() -> int:
    """Do what the command line says; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.getLogger("websockets").setLevel(logging.WARNING)
    fuzz = Fuzz(options.seed)
    grown = asyncio.run(fuzz.run(options.inputs))
    print(f"{options.inputs} inputs, memory grew by {grown} KiB")  # noqa: T201
    for outcome, count in sorted(fuzz.outcomes.items()):
        print(f"{count:>9} {outcome}")  # noqa: T201
    return 0 if grown <= GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())

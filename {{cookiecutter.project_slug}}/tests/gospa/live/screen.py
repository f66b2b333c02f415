"""A transport that shows what a browser at its other end would see."""

import asyncio
from typing import Any

import msgpack

from gospa.live.unsent import Unsent
from gospa.live.writer import Writer

NO_DEFAULTS: dict[str, Any] = {}  # before JOINED


class Screen(asyncio.Transport):
    """Follows the frames written to it as a client does; a patch that does not fit fails."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.messages: list[list[Any]] = []
        self.state: dict[str, Any] = {}
        self.stored: dict[str, Any] = {}
        self.defaults = NO_DEFAULTS
        self.shown: list[dict[str, Any]] = []  # every state that was ever shown
        self.tag = b""
        self.writer = Writer(self, Unsent(2**30), self.close)
        self._fragments = b""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))
        rest = bytes(data)
        while rest:
            ends = rest[0] & 0x80
            payload, rest = _first_frame(rest)
            self._fragments += payload
            if ends:
                message, self._fragments = self._fragments, b""
                self._follow(msgpack.unpackb(message, timestamp=3))

    def resume(self, before: "Screen") -> None:
        """Go on from what another connection of this client showed."""
        self.stored, self.defaults = dict(before.stored), before.defaults
        self.state, self.tag = dict(before.state), before.tag

    def kinds(self) -> list[int]:
        """The types of all messages so far."""
        return [message[0] for message in self.messages]

    def _follow(self, message: list[Any]) -> None:
        self.messages.append(message)
        match message:
            case [0, _, _, tag, state]:
                self.stored, self.tag = state, tag
            case [1, _, _, parent, tag, changed, deleted]:
                assert parent == self.tag, "a patch that does not fit was delivered"
                self.stored, self.tag = {**self.stored, **changed}, tag
                for key in deleted:
                    self.stored.pop(key, None)
            case [8, _, _, _, defaults, _, _]:
                self.defaults = defaults
        self.state = {**self.defaults, **self.stored}
        if self.defaults is not NO_DEFAULTS:
            self.shown.append(self.state)


def _first_frame(data: bytes) -> tuple[bytes, bytes]:
    """The payload of an unmasked frame, and what follows it."""
    assert data[0] in (0x82, 0x02, 0x00, 0x80), "not a binary frame"
    start, length = 2, data[1]
    if length == 126:
        start, length = 4, int.from_bytes(data[2:4])
    elif length == 127:
        start, length = 10, int.from_bytes(data[2:10])
    return data[start : start + length], data[start + length :]

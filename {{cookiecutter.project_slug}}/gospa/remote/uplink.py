"""Shared by the rooms of a client: the connection, its limits, and the numbers of mutations."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from gospa.live import wire
from gospa.remote.errors import Refused
from gospa.store.codec import CodecError, check_bounds, pack

MAX_NAME = 128  # characters of an action, a command or an event
LIMITS = {
    "frame_size": wire.DEFAULTS.frame_size,
    "frame_depth": wire.DEFAULTS.frame_depth,
    "frame_elements": wire.DEFAULTS.frame_elements,
}


def checked(name: str, longest: int = MAX_NAME) -> str:
    """A valid name of an action, a command or an event, or of a room. Raises Refused."""
    if 1 <= len(name) <= longest:
        return name
    raise Refused("invalid", f"a name has 1 to {longest} characters", None)


class Uplink:
    """The connection that the rooms of a client share."""

    def __init__(self, patience: float | None = None) -> None:
        self.patience = patience  # seconds that one wait may take
        self.websocket: ClientConnection | None = None
        self.server: Mapping[str, Any] = {}  # its data in WELCOME
        self.session: Mapping[str, Any] | None = None
        self._number = 0
        # Bounded, because a room has a bounded number of requests.
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue()

    @property
    def session_id(self) -> str | None:
        """The public id of the session, if the server sends one."""
        return None if self.session is None else self.session.get("id")

    @property
    def limits(self) -> Mapping[str, int]:
        """The server's limits for one message."""
        return {**LIMITS, **self.server}

    def frame(self, room: str, *message: Any) -> bytes:
        """Encode a message about a room. Raises Refused if the server would close on it."""
        limits = self.limits
        try:
            raw = pack(list(message))
            elements, depth = limits["frame_elements"], limits["frame_depth"]
            check_bounds(list(message), elements=elements, depth=depth)
        except CodecError as error:
            raise Refused("invalid", str(error), room) from error
        if len(raw) > limits["frame_size"]:
            size = f"a message has at most {limits['frame_size']} bytes"
            raise Refused("too_large", size, room)
        return raw

    def number(self) -> int:
        """The number of the next mutation."""
        self._number += 1
        return self._number

    def open(self, websocket: ClientConnection) -> None:
        """Use a new connection."""
        self.websocket, self._outbox = websocket, asyncio.Queue()

    def post(self, raw: bytes) -> None:
        """Send a frame over the current connection, after those before it."""
        self._outbox.put_nowait(raw)

    async def write(self, websocket: ClientConnection) -> None:
        """Send posted frames until the connection is closed."""
        with suppress(ConnectionClosed):  # the reader raises it, after earlier messages
            while True:
                await websocket.send(await self._outbox.get())

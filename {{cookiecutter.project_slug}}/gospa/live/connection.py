"""One client's WebSocket: frames in, checked where they arrive; answers and news out."""

import asyncio
import contextvars

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from gospa.live import wire
from gospa.live.bucket import TokenBucket
from gospa.live.hub import Hub
from gospa.live.requests import Requests
from gospa.live.writer import Outbox
from gospa.sessions.session import Session

SLICE = 512  # bytes parsed at a time: of the smallest frames they hold 85
TURN = 32  # frames handled before others have their turn, save for the rest of a slice
NOTHING = memoryview(b"")


class Connection(asyncio.Protocol):
    """Speaks `gospa.v1` with one client.

    Frames are checked and handled where they arrive, so that TCP holds up who sends too much.
    """

    def __init__(
        self, hub: Hub, session: Session, transport: asyncio.Transport, protocol: ServerProtocol
    ) -> None:
        self._hub = hub
        self._transport = transport
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._heard = self._opened = self._loop.time()
        self._bytes = TokenBucket(hub.settings.bytes_per_second, self._opened)
        self._frames = TokenBucket(hub.settings.frames_per_second, self._opened)
        self._unread = NOTHING
        self._fragments = bytearray()
        self._pinged = self._flooding = self._leaving = False
        self.context = contextvars.Context()  # its own, as that of the handshake holds the request
        self.outbox = Outbox(transport, hub.counters)
        self.requests = Requests(hub, session, self)
        self.closed: asyncio.Future[None] = self._loop.create_future()
        hub.connections.add(self)

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._pinged = False
        self._hub.counters.received += len(data)
        self._unread = memoryview(bytes(self._unread) + data)
        if not self._bytes.take(len(data), self._heard):
            self._refuse_flood("bytes")
        self._parse()

    def eof_received(self) -> bool:
        while self._unread:  # over TLS the end comes even when nothing more is read
            self._parse()
        self._protocol.receive_eof()
        self._flush()
        return False

    def pause_writing(self) -> None:
        self.outbox.pause(self._loop.time())
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self.outbox.resume()
        self.requests.go_on()

    def connection_lost(self, _: Exception | None) -> None:
        self._hub.connections.discard(self)
        self._unread = NOTHING
        self.requests.stop()
        if not self.closed.done():
            self.closed.set_result(None)

    # For the hub

    def send(self, message: bytes) -> None:
        if self._protocol.state is State.OPEN:
            self.outbox.send(message)

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake; the client has until the next look of the hub.

        It is told nothing more, and what it asked for and waits is not done.
        """
        if self._protocol.state is State.OPEN:
            # A control frame has room for 125 bytes: https://www.rfc-editor.org/rfc/rfc6455#section-5.5
            self._protocol.send_close(code, reason.encode()[:120].decode(errors="ignore"))
            self._flush()
            self.requests.stop()

    def abort(self) -> None:
        self._transport.abort()

    def check_alive(self) -> None:
        """Ping a silent client, and close one that is gone or takes nothing."""
        now = self._loop.time()
        settings = self._hub.settings
        silence = now - self._heard
        if self._leaving:
            self.abort()
        elif self.outbox.full_since is not None:
            if self.outbox.stuck_for(now) > settings.drain_timeout:
                self._hub.counters.stuck += 1
                self.abort()
        elif self._late_hello(now):
            self.close(wire.CLOSE_NO_HELLO, "HELLO did not come in time")
        elif silence > 2 * settings.ping_interval or self._protocol.state is not State.OPEN:
            self._leaving = True
            self.close(wire.CLOSE_SILENT, "no answer to a ping")
            self._transport.close()
        elif silence > settings.ping_interval and not self._pinged:
            self._pinged = True
            self._protocol.send_ping(b"")
            self._flush()

    def _late_hello(self, now: float) -> bool:
        waits = not self.requests.greeted and self._protocol.state is State.OPEN
        return waits and now - self._opened > self._hub.settings.hello_timeout

    # Frames

    def _parse(self) -> None:
        """Handle what came, a few frames in each turn of the loop; nothing is read meanwhile."""
        frames = 0
        while self._unread and frames < TURN:
            self._protocol.receive_data(bytes(self._unread[:SLICE]))
            self._unread = self._unread[SLICE:]
            events = self._protocol.events_received()
            frames += len(events)
            if not self._frames.take(len(events), self._heard):
                self._refuse_flood("frames")
            for frame in events:  # also those that came with the client's own close
                if isinstance(frame, Frame) and not self.requests.stopped:
                    self._take_frame(frame)
            self._flush()
        if self._unread:
            self._loop.call_soon(self._parse)
        self.regulate()

    def _refuse_flood(self, kind: str) -> None:
        """Close, and read nothing more: TCP holds up what comes."""
        self._flooding = True
        self._unread = NOTHING
        self.send(wire.error("too_fast", f"more {kind} in a time than are taken"))
        self.close(wire.CLOSE_TOO_FAST, f"too many {kind}")
        self._transport.pause_reading()

    def _take_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY and frame.fin:
            self._take_message(bytes(frame.data))
        elif frame.opcode is Opcode.TEXT:
            self.close(1003, "messages are binary")
        elif frame.opcode in (Opcode.BINARY, Opcode.CONT):
            self._fragments += frame.data
            if frame.fin:
                message = bytes(self._fragments)
                self._fragments.clear()
                self._take_message(message)

    def _take_message(self, message: bytes) -> None:
        try:
            request = wire.parse(message, self._hub.settings)
        except wire.WireError as error:
            self.close(wire.CLOSE_MALFORMED, f"malformed message: {error}")
        else:
            self.requests.take(request)

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self.outbox.write(data)
            else:  # the core's sign that the connection is over
                self._transport.close()

    def regulate(self) -> None:
        """Read only while there is room for requests and for their answers."""
        if self._transport.is_closing() or self._flooding:
            return
        if self._unread or self.requests.full or self.outbox.full_since is not None:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

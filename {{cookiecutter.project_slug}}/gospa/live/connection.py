"""One client's WebSocket: frames in, checked where they arrive; messages out."""

import asyncio

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from gospa.live import wire
from gospa.live.hub import Hub
from gospa.live.requests import Requests
from gospa.live.writer import Writer
from gospa.sessions.session import Session
from gospa.stats import STATS

SLICE = 512  # bytes parsed at a time: up to 85 of the smallest frames
MAX_FRAMES = 32  # frames handled before other work has its turn, save for the rest of a slice
MAX_REASON = (
    120  # bytes: a control frame holds 125, https://www.rfc-editor.org/rfc/rfc6455#section-5.5
)
NOTHING = memoryview(b"")
BURST = 10.0  # seconds' worth of a rate may come at once


def charge(paid: float, now: float, amount: float, rate: float) -> float:
    """The time by which `amount` more is paid for, at `rate` a second. Both times in seconds.

    A rate limit is a token bucket in the form of the generic cell rate algorithm: one number, the
    time by which everything so far is paid for. It may be up to BURST ahead of now.
    https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
    """
    return max(paid, now) + amount / rate


class Connection(asyncio.Protocol):
    """Speaks `gospa.v1` with one client.

    Frames are handled where they arrive, so that TCP flow control slows down a client that sends
    too much.
    """

    def __init__(
        self, hub: Hub, session: Session, transport: asyncio.Transport, protocol: ServerProtocol
    ) -> None:
        self._settings = hub.settings
        self._transport = transport
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._last_received = self._opened = self._loop.time()
        self._bytes_paid = self._frames_paid = self._opened  # rate limits: see `charge`
        self._unread = NOTHING
        self._fragments = bytearray()
        self._pinged = self._flooding = self._closing = False
        self.writer = Writer(transport)
        self.requests = Requests(hub, session, self.writer, self.close, self.regulate)
        self.closed: asyncio.Future[None] = self._loop.create_future()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        self._last_received = self._loop.time()
        self._pinged = False
        STATS.bytes_received += len(data)
        self._unread = memoryview(bytes(self._unread) + data)
        now, rate = self._last_received, self._settings.bytes_per_second
        self._bytes_paid = charge(self._bytes_paid, now, len(data), rate)
        if self._bytes_paid > now + BURST:
            self._refuse_flood("bytes")
        self._parse()

    def eof_received(self) -> bool:
        while self._unread:  # over TLS the end comes even when nothing more is read
            self._parse()
        self._protocol.receive_eof()
        self._flush()
        return False

    def pause_writing(self) -> None:
        self.writer.pause(self._loop.time())
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self.writer.resume()
        self.requests.go_on()

    def connection_lost(self, _: Exception | None) -> None:
        self._unread = NOTHING
        self.requests.stop()
        if not self.closed.done():
            self.closed.set_result(None)

    # For senders

    def send(self, message: bytes) -> None:
        """Send a message, unless the connection is closing."""
        self.writer.send(message)

    def close(self, close: wire.Close, detail: str = "") -> None:
        """Start the closing handshake, which has to end before the next heartbeat check.

        Nothing more is sent to the client, and its waiting requests are dropped.
        """
        if self._protocol.state is State.OPEN:
            reason = f"{close.reason}: {detail}" if detail else close.reason
            short = reason.encode()[:MAX_REASON].decode(errors="ignore")
            self._protocol.send_close(close.code, short)
            self._flush()
            self.writer.finish()
            self.requests.stop()

    def abort(self) -> None:
        """End the connection without a handshake."""
        self._transport.abort()

    def check_heartbeat(self) -> None:
        """Ping a silent client; close a connection that is dead or whose client reads nothing."""
        now = self._loop.time()
        silence = now - self._last_received
        if self._closing:
            self.abort()
        elif self.writer.full_since is not None:
            if self.writer.stuck_for(now) > self._settings.drain_timeout:
                STATS.stuck += 1
                self.abort()
        elif self._hello_is_late(now):
            self.close(wire.NO_HELLO)
        elif silence > 2 * self._settings.ping_interval or self._protocol.state is not State.OPEN:
            self._closing = True
            self.close(wire.SILENT)
            self._transport.close()
        elif silence > self._settings.ping_interval and not self._pinged:
            self._pinged = True
            self._protocol.send_ping(b"")
            self._flush()

    def _hello_is_late(self, now: float) -> bool:
        waits = not self.requests.greeted and self._protocol.state is State.OPEN
        return waits and now - self._opened > self._settings.hello_timeout

    # Frames

    def _parse(self) -> None:
        """Handle a few frames in each iteration of the loop; nothing is read meanwhile."""
        frames = 0
        while self._unread and frames < MAX_FRAMES:
            self._protocol.receive_data(bytes(self._unread[:SLICE]))
            self._unread = self._unread[SLICE:]
            if self._protocol.state is not State.OPEN:  # the client closes
                self.writer.finish()
            events = self._protocol.events_received()
            frames += len(events)
            now, rate = self._last_received, self._settings.frames_per_second
            self._frames_paid = charge(self._frames_paid, now, len(events), rate)
            if self._frames_paid > now + BURST:
                self._refuse_flood("frames")
            for frame in events:  # also those that came with the client's own close
                if isinstance(frame, Frame) and not self.requests.stopped:
                    self._receive_frame(frame)
            self._flush()
        if self._unread:
            self._loop.call_soon(self._parse)
        self.regulate()

    def _refuse_flood(self, kind: str) -> None:
        """Close, and read nothing more: what the client sends waits in its own buffers."""
        self._flooding = True
        self._unread = NOTHING
        self.send(wire.error("too_fast", f"rate limit exceeded: {kind}"))
        self.close(wire.TOO_FAST, kind)
        self._transport.pause_reading()

    def _receive_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY and frame.fin:
            self._receive_message(bytes(frame.data))
        elif frame.opcode is Opcode.TEXT:
            self.close(wire.TEXT_FRAME)
        elif frame.opcode in (Opcode.BINARY, Opcode.CONT):
            self._fragments += frame.data
            if frame.fin:
                message = bytes(self._fragments)
                self._fragments.clear()
                self._receive_message(message)

    def _receive_message(self, message: bytes) -> None:
        try:
            request = wire.parse(message, self._settings)
        except wire.WireError as error:
            self.close(wire.MALFORMED, str(error))
        else:
            self.requests.receive(request)

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self.writer.write(data)
            else:  # the protocol core's sign that the connection is over
                self._transport.close()

    def regulate(self) -> None:
        """Read from the client only while its requests and their answers are not too many."""
        if self._transport.is_closing() or self._flooding:
            return
        if self._unread or self.requests.full or self.writer.full_since is not None:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

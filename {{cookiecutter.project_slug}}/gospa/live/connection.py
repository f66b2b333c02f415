"""One client's WebSocket: frames in, checked where they arrive; messages out."""

import asyncio

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from gospa.live import wire
from gospa.live.hub import Hub
from gospa.live.limits import Allowance, VisitorLimits
from gospa.live.requests import Requests
from gospa.live.writer import Writer
from gospa.rates import BURST, Visitor, charge
from gospa.sessions.session import Session
from gospa.stats import STATS
from gospa.trouble import report, report_limit, warn_seldom

SLICE = 512  # bytes parsed at a time: up to 85 of the smallest frames
MAX_FRAMES = 32  # frames handled before other work has its turn, save for the rest of a slice
MAX_REASON = (
    120  # bytes: a control frame holds 125, https://www.rfc-editor.org/rfc/rfc6455#section-5.5
)
NOTHING = memoryview(b"")
SLOW = "a connection was closed: its client read too little in GOSPA_DRAIN_TIMEOUT"
CROWDED = "a slow connection was closed: more than GOSPA_UNSENT_SIZE waited for such ones"
PING = Frame(Opcode.PING, b"").serialize(mask=False)
LAST_WORDS = 5.0  # seconds in which a client that reads slowly can read why it is closed


class Connection(asyncio.Protocol):
    """Speaks `gospa.v1` with one client.

    Frames are handled where they arrive, so that TCP flow control slows down a client that sends
    too much.
    """

    def __init__(
        self,
        hub: Hub,
        session: Session,
        transport: asyncio.Transport,
        protocol: ServerProtocol,
        allowance: Allowance | None = None,
    ) -> None:
        """`allowance` has the visitor's limits; without one, the connection has its own."""
        self._settings = hub.settings
        self._transport = transport
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._last_received = self._opened = self._loop.time()
        self._bytes_paid = self._frames_paid = self._opened  # rate limits: see `charge`
        self._unread = NOTHING
        self._fragments = bytearray()
        self._pinged: float | None = None  # when, unless something was received since
        self._flooding = self._closing = self._stalled = False
        self._abort_at = 0.0  # when the closing handshake has to have ended
        self.check_at = 0.0  # when `check_heartbeat` has something to do, if nothing happens
        self.writer = Writer(transport, hub.unsent, self._make_room)
        self._allowance = allowance or Allowance(VisitorLimits(hub.settings), Visitor("", ""))
        self._slowed: asyncio.TimerHandle | None = None  # while the visitor sends too much
        self.requests = Requests(
            hub, session, self.writer, self.close, self.relieve, self._allowance
        )
        self.closed: asyncio.Future[None] = self._loop.create_future()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        self._last_received = self._loop.time()
        self._pinged = None
        STATS.bytes_received += len(data)
        self._unread = memoryview(bytes(self._unread) + data)
        now, rate = self._last_received, self._settings.bytes_per_second
        self._bytes_paid = charge(self._bytes_paid, now, len(data), rate)
        if self._bytes_paid > now + BURST:
            self._refuse_flood("bytes")
        self._parse()

    def eof_received(self) -> bool:
        while self._unread:  # over TLS the end comes even when nothing more is read
            self._parse(last=True)
        self._protocol.receive_eof()
        self._flush()
        return False

    def pause_writing(self) -> None:
        self.check_at = 0.0
        self.writer.pause(self._loop.time())
        self._regulate()

    def resume_writing(self) -> None:
        self.writer.resume()
        self.requests.go_on()

    def connection_lost(self, _: Exception | None) -> None:
        # What remains refers to itself, so that Python frees it much later.
        self._unread = NOTHING
        self._fragments.clear()
        self._protocol.reader.discard()
        self.requests.stop()
        self.writer.drop()
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
            if close.trouble:
                address = self._transport.get_extra_info("peername")
                report(close.trouble, "a socket from %s was closed: %s", address, reason)
            short = reason.encode()[:MAX_REASON].decode(errors="ignore")
            self._protocol.send_close(close.code, short)
            self._flush()
            self._finish()
            self.requests.stop()

    def abort(self) -> None:
        """End the connection without a handshake."""
        self._transport.abort()

    def check_heartbeat(self) -> None:
        """Ping a silent client; close a connection that is dead or read too slowly."""
        now, patience = self._loop.time(), self._settings.ping_interval
        if self._closing:
            self.abort()
        elif self._protocol.state is not State.OPEN:
            if now >= self._abort_at:
                self._end()
        elif self.writer.lags(now, self._settings.drain_timeout):
            STATS.stuck += 1
            warn_seldom("stuck", SLOW)
            self._close_slow("")
        elif self.writer.full_since is not None or self._slowed:
            return
        elif self._hello_is_late(now):
            self.close(wire.NO_HELLO)
        elif self._ping_was_ignored(now):
            self.close(wire.SILENT)
            self._end()
        else:
            if now - self._last_received > patience and self._pinged is None:
                self._pinged = now
                self.writer.write(PING)
            if self.requests.greeted and not self._transport.get_write_buffer_size():
                due = (self._pinged or self._last_received) + patience
                self.check_at = min(due, now + self._settings.drain_timeout / 2)

    def _finish(self) -> None:
        """Send no more answers, and see soon whether the closing handshake has ended."""
        self.check_at = 0.0
        self.writer.finish()

    def _end(self) -> None:
        """Close the transport, or abort it at the next check."""
        self._closing = True
        self._transport.close()

    def _make_room(self) -> None:
        """Too much waits in this worker for clients that read slowly, like this one."""
        STATS.stuck_memory += 1
        warn_seldom("stuck_memory", CROWDED)
        self._close_slow("too much waits for slow clients")

    def _close_slow(self, detail: str) -> None:
        """Close without sending what waits, to a client that may read the reason in time."""
        self.writer.drop()
        self._abort_at = self._loop.time() + LAST_WORDS
        self.close(wire.TOO_SLOW, detail)

    def _hello_is_late(self, now: float) -> bool:
        waits = not self.requests.greeted and self._protocol.state is State.OPEN
        return waits and now - self._opened > self._settings.hello_timeout

    def _ping_was_ignored(self, now: float) -> bool:
        """A worker that stood still for long has to ask first: the client may be well."""
        return self._pinged is not None and now - self._pinged > self._settings.ping_interval

    # Frames

    def _parse(self, *, last: bool = False) -> None:
        """Handle a few frames in each iteration of the loop; nothing is read meanwhile.

        If the visitor's connections send too much together, wait; not if nothing more comes.
        """
        frames, wait = 0, 0.0
        while self._unread and frames < MAX_FRAMES and (last or not (wait or self._slowed)):
            part, self._unread = self._unread[:SLICE], self._unread[SLICE:]
            self._protocol.receive_data(bytes(part))
            if self._protocol.state is not State.OPEN:  # the client closes
                self._finish()
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
            wait = self._allowance.slow(len(events), len(part))
        if wait and not self._slowed and not self._transport.is_closing():
            report_limit("frames", self._allowance.visitor.network)
            self._slowed = self._loop.call_later(wait, self._go_on)
        elif self._unread and not self._slowed:
            self._loop.call_soon(self._parse)
        self._regulate()

    def _go_on(self) -> None:
        self._slowed = None
        self._last_received, self._pinged = self._loop.time(), None  # nothing was read meanwhile
        self._parse()

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
        except wire.UnknownMessage as error:
            if self.requests.greeted:
                self.send(wire.error("unknown_message", str(error)))
            else:
                self.close(wire.NO_HELLO)
        except wire.WireError as error:
            self.close(wire.MALFORMED, str(error))
        else:
            self.requests.receive(request, len(message))

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self.writer.write(data)
            else:  # the protocol core's sign that the connection is over
                self.writer.end()

    def relieve(self) -> None:
        """Read from the client again, if that waited for its requests to become fewer."""
        if self._stalled:
            self._regulate()

    def _regulate(self) -> None:
        """Read from the client only while its requests and their answers are not too many."""
        if self._transport.is_closing() or self._flooding:
            return
        full = self.requests.full or self.writer.full_since is not None
        self._stalled = bool(self._unread or self._slowed or full)
        if self._stalled:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

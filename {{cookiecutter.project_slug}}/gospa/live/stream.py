"""Connections without WebSockets: the server's messages in an event stream, the client's by POST.

POST /ws/stream   opens a stream, which stays open on the worker that answers
POST /ws/send     takes a batch of messages, on any worker, for the worker that has the stream

A stream speaks WebSocket frames with a `Connection`, so all that holds for sockets holds for it. A
batch is acknowledged in the stream once no more than a socket would read waits. Only then does the
client send the next one; until then it may repeat the last one, as batches are numbered.
"""

import asyncio
import secrets
from contextlib import suppress
from contextvars import Context
from typing import Any

from sanic import Blueprint, HTTPResponse, Request, Sanic
from sanic.exceptions import BadRequest
from sanic.headers import format_http1_response
from sanic.log import logger
from sanic.response import empty
from websockets.protocol import State
from websockets.server import ServerProtocol

from gospa import tasks
from gospa.live import sse, wire
from gospa.live.connection import Connection
from gospa.live.handshake import (
    admitted,
    free_transport,
    protocol_of,
    refuse_when_stopping,
    register,
    take_over,
)
from gospa.live.hub import Hub
from gospa.live.limits import Allowance
from gospa.rates import Visitor, network_of
from gospa.sessions.session import Session
from gospa.web import csrf

HEADERS = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "X-Accel-Buffering": "no",  # of nginx
    "X-Content-Type-Options": "nosniff",
}

event_streams = Blueprint("event_streams")


class EventStream(asyncio.Transport, asyncio.Protocol):
    """One client's stream: the transport of a `Connection`, and the protocol of its real one."""

    def __init__(self, hub: Hub, session: Session, transport: Any, allowance: Allowance) -> None:
        super().__init__()
        self._transport = transport
        self._received = self._taken = 0  # the number of the last batch
        protocol = ServerProtocol(max_size=hub.settings.frame_size, state=State.OPEN)
        self.connection = Connection(hub, session, self, protocol, allowance)

    def take(self, batch: sse.Batch) -> None:
        """Take a batch; an error ends this stream alone."""
        try:
            self._receive(batch)
        except Exception:  # asyncio does the same for a socket
            logger.exception("a batch failed")
            self.abort()

    def _receive(self, batch: sse.Batch) -> None:
        """Take it, unless it is the repeat of one; acknowledge it once the next may come."""
        if self.connection.requests.stopped:
            return
        if batch.number > self._received + (self._received == self._taken):
            self.connection.close(wire.MALFORMED, "a batch came before one was acknowledged")
            return
        if batch.number <= self._taken:
            self._transport.write(sse.taken(self._taken))  # the client may have missed it
        messages = batch.messages() if batch.number > self._received else []
        self._received = max(batch.number, self._received)
        self.connection.data_received(b"".join(map(sse.frame, messages)))

    # For the connection

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._transport.write(sse.events(bytes(data)))
        if sse.is_close(data):
            self._transport.close()  # clients do not answer it

    def pause_reading(self) -> None:
        """What the connection does not read is a batch that is not acknowledged."""

    def resume_reading(self) -> None:
        if self._taken != self._received:
            self._taken = self._received
            self._transport.write(sse.taken(self._taken))

    def is_closing(self) -> bool:
        return bool(self._transport.is_closing())

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return int(self._transport.get_write_buffer_size()) * 3 // 4  # without base64

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    # For the real transport

    def data_received(self, _: bytes) -> None:
        """No request may follow on this connection."""
        self._transport.abort()

    def eof_received(self) -> bool:
        return self.connection.eof_received()

    def pause_writing(self) -> None:
        self.connection.pause_writing()

    def resume_writing(self) -> None:
        self.connection.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self.connection.connection_lost(error)


class Streams(dict[str, EventStream]):
    """The streams of this worker, by their secrets."""

    def __init__(self, hub: Hub) -> None:
        super().__init__()
        self._hub = hub

    async def run(self) -> None:
        """Receive the batches that any worker takes, until cancelled."""
        channel = channel_of(self._hub.worker)
        subscription = await self._hub.pubsub.subscribe(channel, self.on_message, _on_gap)
        try:
            await asyncio.Event().wait()
        finally:
            await subscription.close()

    def on_message(self, message: bytes) -> None:
        """Any worker took a batch."""
        with suppress(wire.WireError):  # it is one of another release
            batch = sse.read_batch(message)
            stream = self.get(batch.secret)
            if stream is not None:
                asyncio.get_running_loop().call_soon(stream.take, batch, context=Context())

    def open(self, stream: EventStream) -> str:
        """Keep a stream until it is closed; returns its id."""
        secret = secrets.token_hex(sse.SECRET // 2)
        self[secret] = stream
        context = stream.connection.requests.context
        stream.connection.closed.add_done_callback(lambda _: self.pop(secret), context=context)
        return self._hub.worker + secret


def _on_gap() -> None:
    """Clients repeat a batch that is not acknowledged."""


def channel_of(worker: str) -> str:
    """The channel of batches for a worker."""
    return f"stream:{worker}"


@event_streams.before_server_start
async def start(app: Sanic) -> None:
    app.ctx.streams = Streams(app.ctx.hub)
    app.ctx.streams_task = tasks.keep_running(app.ctx.streams.run, "event streams")


@event_streams.before_server_stop
async def stop(app: Sanic) -> None:
    await tasks.stop(app.ctx.streams_task)


@event_streams.post("/ws/stream", strict_slashes=True)
async def open_stream(request: Request) -> HTTPResponse | None:
    """Open a stream. The body names what a WebSocket's handshake would offer as subprotocols."""
    refuse_when_stopping(request)
    hub, offered = request.app.ctx.hub, request.body.decode("latin-1").split()
    session, set_cookie, refusal = await admitted(request, protocol_of(offered), offered)
    transport = free_transport(request)
    if transport is None:
        return None
    visitor = Visitor(session.identity, network_of(request.client_ip))
    stream = EventStream(hub, session, transport, Allowance(hub.limits, visitor))
    register(request.app, stream.connection, session, request.client_ip)
    id = request.app.ctx.streams.open(stream)
    received = take_over(transport, stream, _head(request, set_cookie) + sse.opened(id))
    if refusal is not None:
        stream.connection.close(refusal)
    if received:
        stream.data_received(received)
    return None


# Sanic's mark for a handler that answers by itself.
open_stream.is_websocket = True  # type: ignore[attr-defined]


def _head(request: Request, set_cookie: str | None) -> bytes:
    response = HTTPResponse(headers={**HEADERS}, content_type=sse.TYPE)
    csrf.allow_reading(request, response)
    if set_cookie:
        response.headers["Set-Cookie"] = set_cookie
    return bytes(format_http1_response(200, response.processed_headers))


@event_streams.post("/ws/send", strict_slashes=True)
async def send(request: Request) -> HTTPResponse:
    """Pass a batch on to the worker with its stream: who knows the stream's id may do that."""
    refuse_when_stopping(request)
    try:
        batch = sse.read_batch(request.body)
        batch.messages()
    except wire.WireError as error:
        raise BadRequest(str(error), quiet=True) from error
    await request.app.ctx.hub.pubsub.publish(channel_of(batch.worker), request.body)
    return empty()

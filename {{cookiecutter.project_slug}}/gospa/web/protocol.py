"""Sanic's HTTP protocol, which yields between pipelined requests and has fixed timeouts.

Sanic answers all requests that it has received without yielding, and restarts its timeouts with
every byte.
"""

import asyncio
import re
from contextlib import suppress
from typing import Any

from sanic.exceptions import BadRequest, PayloadTooLarge
from sanic.http import Http, Stage
from sanic.http.http1 import HTTP_CONTINUE
from sanic.server.protocols.websocket_protocol import WebSocketProtocol

TURN = 64  # pieces of a body that are read before the event loop runs other work
# A line that does not begin with a name and a colon.
NAMELESS = re.compile(rb"\r\n(?![!#$%&'*+\-.^_`|~0-9A-Za-z]+:)")
# A length or coding of the body that is not exactly of this form, such as with other whitespace.
AMBIGUOUS = re.compile(
    rb"\r\ncontent-length:(?![ \t]*[0-9]+[ \t]*(?:\r|\Z))"
    rb"|\r\ntransfer-encoding:(?![ \t]*chunked(?:\r|\Z))",
    re.IGNORECASE,
)
# What precedes a chunk: the end of the head or of the chunk before, and its size.
CHUNK = re.compile(rb"\r\n[0-9A-Fa-f]+[ \t]*(?:;[^\r\n]*)?\r\n")
LONGEST_CHUNK_HEAD = 64  # bytes, as Sanic has it
LINGER = 2.0  # seconds for a client to read a refusal while it still sends


class TooSlow(BadRequest):
    """A request did not arrive in time: a BadRequest, as Sanic expects after its answer."""

    status_code = 408


class HttpRequests(Http):
    """The requests of one connection."""

    __slots__ = ("_pieces", "due")

    def init_for_request(self) -> None:
        super().init_for_request()  # type: ignore[no-untyped-call]
        self.due: float | None = None  # when the current headers or body have to be complete
        self._pieces = 0

    def create_empty_request(self) -> None:
        """Make a request for an error's answer, also to one with an invalid target."""
        try:
            super().create_empty_request()
        except BadRequest:
            self.url = None
            super().create_empty_request()

    def limit_time(self, timeout: float | None = None) -> None:
        """Start the timeout for the headers or the body: `timeout`, or `request_timeout`."""
        seconds = timeout or self.protocol.app.ctx.settings.request_timeout
        self.due = asyncio.get_running_loop().time() + seconds

    def limit_body(self, size: float, timeout: float | None) -> None:
        """Set the limits of a body. Raises PayloadTooLarge if it is known to be larger."""
        self.request_max_size = size
        if timeout is None:
            self.due = None
        else:
            self.limit_time(timeout)
        known: int = self.request_bytes or 0
        if known > size:
            self.expecting_continue = False  # no "100 Continue" for it
            self.keep_alive = False  # its body is not read to the end, and would pass for a request
            raise PayloadTooLarge(f"the body may have up to {size} bytes", quiet=True)

    async def http1_request_header(self) -> None:
        self.limit_time()
        await super().http1_request_header()  # type: ignore[no-untyped-call]
        check_head(self.request)
        self.limit_time()
        if self.recv_buffer:  # another request, or a body and perhaps another one
            await asyncio.sleep(0)

    async def read(self) -> bytes | None:
        self._pieces += 1
        if self._pieces % TURN == 0:
            await asyncio.sleep(0)
        kind: Any = self.request_body  # which Sanic declares as bytes
        try:
            if kind == "chunked" and not self.request_bytes_left:
                await self._check_chunk()
            return await super().read()
        except PayloadTooLarge:
            if self.stage is not Stage.HANDLER:  # the client has got an answer
                await self._linger()
            raise

    async def head_response_ignored(  # type: ignore[override]  # Sanic awaits it
        self,
        data: bytes,
        end_stream: bool,  # noqa: FBT001
    ) -> None:
        """Discard a piece of a body that is sent in answer to HEAD."""
        super().head_response_ignored(data, end_stream)

    async def _check_chunk(self) -> None:
        """Wait for the head of a chunk. Raises BadRequest unless it has the standard's form."""
        if self.expecting_continue:
            self.expecting_continue = False
            await self._send(HTTP_CONTINUE)
        while (end := self.recv_buffer.find(b"\r\n", 3)) < 0:
            if len(self.recv_buffer) > LONGEST_CHUNK_HEAD:
                break
            await self._receive_more()
        if not CHUNK.fullmatch(self.recv_buffer, 0, end + 2):
            self.keep_alive = False
            raise BadRequest("a chunk of the body is malformed", quiet=True)

    async def discard_body(self) -> None:
        """Read the rest of the body, as Sanic does, but without logging and keeping it."""
        try:
            with suppress(BadRequest, PayloadTooLarge):
                while self.request_body:
                    await self.read()
        finally:
            if self.request_body:  # the client is too slow, sends too much, or has disconnected
                self.keep_alive, self.request_body = False, None

    async def _linger(self) -> None:
        """Discard what the client still sends, because closing would reset the connection.

        The client might then lose the answer: https://www.rfc-editor.org/rfc/rfc9112#section-9.6
        """
        self.limit_time(LINGER)
        with suppress(TooSlow):
            while True:
                self.recv_buffer.clear()
                await self._receive_more()


def check_head(request: Any) -> None:
    """Raise BadRequest for headers that a proxy in front may have read in another way.

    https://www.rfc-editor.org/rfc/rfc9112#section-5, #section-6 and #section-3.2
    """
    head, ends = request.head, request.head.count(b"\r\n")
    other_ends = ends != head.count(b"\n") or ends != head.count(b"\r") or b"\0" in head
    sized = "content-length" in request.headers or "transfer-encoding" in request.headers
    if other_ends or NAMELESS.search(head) or (sized and AMBIGUOUS.search(head)):
        raise BadRequest("a header is malformed", quiet=True)
    if request.version == "1.0" and "transfer-encoding" in request.headers:
        raise BadRequest("HTTP/1.0 has no Transfer-Encoding", quiet=True)
    hosts = len(request.headers.getall("host", ()))
    if hosts > 1 or (not hosts and request.version == "1.1"):
        raise BadRequest("a request has one Host header", quiet=True)


class HttpProtocol(WebSocketProtocol):
    """A connection of the public port."""

    __slots__ = ("_counted",)
    HTTP_CLASS = HttpRequests
    operators = False  # whether it is one of the port for operators

    def connection_made(self, transport: Any) -> None:
        address = "" if self.operators else _address_of(transport, self.app.config)
        admitted = self.app.ctx.request_limits.connect(address)
        self._counted = address if admitted else None
        if admitted:
            super().connection_made(transport)  # type: ignore[no-untyped-call]
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._counted is not None:
            self.app.ctx.request_limits.disconnect(self._counted)
            super().connection_lost(exc)  # type: ignore[no-untyped-call]

    async def receive_more(self) -> None:
        """Wait for data, up to the timeout of the request."""
        try:
            async with asyncio.timeout_at(self._http.due):
                await super().receive_more()  # type: ignore[no-untyped-call]
        except TimeoutError:
            self._http.keep_alive = False
            raise TooSlow("the request did not arrive in time") from None


class OperatorsProtocol(HttpProtocol):
    """A connection of the port for operators (GOSPA_HEALTH_ADDRESS)."""

    __slots__ = ()
    operators = True


def _address_of(transport: Any, config: Any) -> str:
    """The client's address; "" on a unix socket, and behind a proxy, which has its own address."""
    if config.PROXIES_COUNT or config.REAL_IP_HEADER or config.FORWARDED_SECRET:
        return ""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""

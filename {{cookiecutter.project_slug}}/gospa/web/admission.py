"""Limits of HTTP requests: their rate for an address, and the size and time of each."""

import resource
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from math import ceil, inf
from typing import Any

from sanic import Request, Sanic
from sanic.exceptions import PayloadTooLarge, SanicException

from gospa.rates import Rates, network_of
from gospa.settings import Settings
from gospa.trouble import report
from gospa.web.protocol import HttpRequests, TooSlow
from gospa.web.routes import streams

BURST = 30.0  # seconds' worth of `requests_per_second` may come at once
UNIT = 8192  # bytes of a body that count as another request
BODIES = 64  # bodies of the maximum size that an address may have in progress
SIX = 6  # connections to one host that a browser opens for HTTP/1.1, besides its socket
PART = 0.5  # of the files that a worker may have open, for the connections of one address


class RequestLimits:
    """The requests and connections of each address in this worker.

    The address is "" if the client has none, as on a unix socket; it is not limited.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._requests = Rates(settings.requests_per_second, BURST)
        self.unfinished: Counter[str] = Counter()  # bytes of bodies that are still arriving
        self.connections: Counter[str] = Counter()  # HTTP connections
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_connections = min(SIX * settings.connections_per_address, int(PART * files))

    def connect(self, address: str) -> bool:
        """Count a connection; returns whether its address may have one more."""
        network = network_of(address)
        if network and self.connections[network] >= self._most_connections:
            text = "%s has too many connections (GOSPA_CONNECTIONS_PER_ADDRESS): one was closed"
            report("connections_of_address", text, network)
            return False
        self.connections[network] += 1
        return True

    def disconnect(self, address: str) -> None:
        """A connection that `connect` counted is closed, or has become a socket."""
        network = network_of(address)
        self.connections[network] -= 1
        if not self.connections[network]:
            del self.connections[network]

    def admit(self, request: Request) -> None:
        """Count a request, and refuse it above a limit, before its body is read."""
        stream: Any = request.stream
        if stream.protocol.operators:
            return
        if not stream.request_body:
            self._charge(request, 1)
        elif streams(request):
            self._charge(request, 1)
            stream.limit_body(inf, None)  # the route has its own limits: see `stream_body`
        else:
            limit = self._settings.body_size
            self._charge(request, 1 + min(_size(stream, limit), limit) / UNIT)
            try:
                stream.limit_body(limit, self._settings.request_timeout)
            except PayloadTooLarge as error:
                raise self.refused(error, "size", request) from None

    def _charge(self, request: Request, amount: float) -> None:
        """Count a request, also if it is refused because of its size."""
        network, most = network_of(request.client_ip), self._settings.requests_per_second * BURST
        if wait := self._requests.wait(network, min(amount, most)):
            raise self._too_many("requests (GOSPA_REQUESTS_PER_SECOND)", "rate", wait, request)
        self._requests.charge(network, min(amount, most))

    @contextmanager
    def arriving(self, request: Request) -> Iterator[None]:
        """Count the body of a request while it arrives, because it takes memory."""
        network = network_of(request.client_ip)
        size = _size(request.stream, self._settings.body_size)
        if network and self.unfinished[network] + size > BODIES * self._settings.body_size:
            raise self._too_many("unfinished requests (GOSPA_BODY_SIZE)", "unfinished", 1, request)
        self.unfinished[network] += size
        try:
            yield
        finally:
            self.unfinished[network] -= size
            if not self.unfinished[network]:
                del self.unfinished[network]

    def refused(self, error: SanicException, reason: str, request: Request) -> SanicException:
        """Count a refusal by its reason, and log some of them; returns the error."""
        client = request.client_ip or "a client"
        report(f"request_{reason}", "a request of %s was refused: %s", client, error)
        return error

    def _too_many(self, what: str, reason: str, wait: float, request: Request) -> SanicException:
        headers = {"Retry-After": str(ceil(wait))}
        text = f"this address has too many {what}"
        return self.refused(SanicException(text, 429, quiet=True, headers=headers), reason, request)


async def stream_body(request: Request, *, size: int, timeout: float) -> AsyncIterator[bytes]:  # noqa: ASYNC109
    """The body of a request piece by piece, for a route with `stream=True`.

    It has to arrive within `timeout` seconds, and may have `size` bytes; otherwise the answer is
    408 or 413, if the route does not catch the exception.
    """
    limits, stream = limits_of(request.app), request.stream
    assert isinstance(stream, HttpRequests)  # noqa: S101 - the application's only kind
    try:
        stream.limit_body(size, timeout)
        async for piece in stream:
            yield piece
    except PayloadTooLarge as error:
        raise limits.refused(error, "size", request) from None
    except TooSlow as error:
        raise limits.refused(error, "time", request) from None


def limits_of(app: Sanic) -> RequestLimits:
    limits: RequestLimits = app.ctx.request_limits
    return limits


def _size(stream: Any, unknown: int) -> int:
    """The size of a body, as far as known before it is read."""
    return unknown if stream.request_body == "chunked" else int(stream.request_bytes)

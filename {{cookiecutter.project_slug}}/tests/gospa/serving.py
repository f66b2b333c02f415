"""Serve an app in the test's own process and event loop, and ports to do so."""

import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from sanic import Sanic


def free_port() -> int:
    """A TCP port that nobody has, nor gets for a connection before somebody listens there."""
    while True:
        port = secrets.choice(range(10_000, 32_768))  # from there on they are given to connections
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@asynccontextmanager
async def serve(app: Sanic) -> AsyncIterator[str]:
    """Run the app; yields its host and port."""
    # asyncio sends small frames at once (TCP_NODELAY) only where the protocol is named.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        async with serve_at(app, sock=listener):
            yield f"127.0.0.1:{listener.getsockname()[1]}"


@asynccontextmanager
async def serve_at(app: Sanic, **where: Any) -> AsyncIterator[None]:
    """Run the app at a socket, or at another place that Sanic knows."""
    server: Any = await app.create_server(return_asyncio_server=True, **where)
    await server.startup()
    await server.before_start()
    await server.start_serving()
    try:
        yield
    finally:
        await server.before_stop()
        await server.close()
        await server.after_stop()

"""Liveness and readiness of this worker, at the public port or at one for operators."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial

from sanic import Blueprint, HTTPResponse, Request, Sanic
from sanic.exceptions import NotFound
from sanic.response import json

from gospa.errors import StoreError, StoreUnreachable
from gospa.settings import SettingsError
from gospa.stats import REASONS, STATS
from gospa.web.protocol import OperatorsProtocol

PATH = "/health/"
HIGHEST_PORT = 65535

blueprint = Blueprint("health", url_prefix="/health")


@blueprint.get("/live")
async def live(request: Request) -> HTTPResponse:
    """Answer 200 while the event loop runs."""
    return json({"status": "live", **_process(request.app)})


@blueprint.get("/ready")
async def ready(request: Request) -> HTTPResponse:
    """Answer 503 while another host would serve better, with the fault and this worker's counters.

    If the store fails for all hosts alike, answer 200, unless GOSPA_READY_NEEDS_STORE is set.
    """
    status, serves = await _status(request.app)
    counters = {**asdict(STATS), "trouble": dict(zip(REASONS, STATS.trouble, strict=True))}
    report = {"status": status, **_process(request.app), "counters": counters}
    return json(report, status=200 if serves else 503)


def is_for_operators(request: Request) -> bool:
    """Whether a request came to the port for operators (GOSPA_HEALTH_ADDRESS)."""
    return isinstance(request.stream.protocol, OperatorsProtocol)  # type: ignore[union-attr]


def check_port(request: Request) -> None:
    """Raise NotFound for a path of the other port, if health has its own port."""
    if not request.app.ctx.settings.health_address:
        return
    if request.path.startswith(PATH) != is_for_operators(request):
        raise NotFound("there is no such page", quiet=True)


def check_address(address: str) -> None:
    """Raise SettingsError if the address for operators is taken: workers would share it."""
    if not address:
        return
    host, port = _parts(address)
    if port > HIGHEST_PORT:
        raise SettingsError(
            f"GOSPA_HEALTH_ADDRESS={address} cannot be used: ports end at {HIGHEST_PORT}"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        reason = error.strerror or error
        raise SettingsError(f"GOSPA_HEALTH_ADDRESS={address} cannot be used: {reason}") from None


@asynccontextmanager
async def open_port(app: Sanic) -> AsyncIterator[asyncio.Server | None]:
    """Bind the address for operators, if it is set. All workers listen there.

    `start_serving` of the server is for a worker that can answer; until then, others do.
    """
    connections: set[OperatorsProtocol] = set()
    address = app.ctx.settings.health_address
    if not address:
        yield None
        return
    loop = asyncio.get_running_loop()
    protocol = partial(OperatorsProtocol, loop=loop, app=app, connections=connections)
    host, port = _parts(address)
    server = await loop.create_server(protocol, host, port, reuse_port=True, start_serving=False)
    try:
        yield server
    finally:
        server.close()
        for connection in list(connections):
            connection.abort()  # type: ignore[no-untyped-call]


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _process(app: Sanic) -> dict[str, int]:
    """The worker's process id, in a demonstration."""
    return {"pid": os.getpid()} if app.ctx.settings.demo else {}


async def _status(app: Sanic) -> tuple[str, bool]:
    """The report of this worker, and whether it should get traffic."""
    hub, needs_store = app.ctx.hub, app.ctx.settings.ready_needs_store
    if hub.draining:
        return "draining", False
    if not hub.subscribed:
        fault = hub.pubsub.fault
        return "not subscribed", _is_for_all(fault) and not needs_store
    for what, check in (("rooms", hub.check), ("sessions", app.ctx.sessions.check)):
        try:
            await check()
        except StoreError as error:
            return f"without {what}", _is_for_all(error) and not needs_store
    return "ready", True


def _is_for_all(fault: StoreError | None) -> bool:
    """Whether the store itself is at fault, not the connection from this host."""
    return fault is not None and not isinstance(fault, StoreUnreachable)

"""Fan-out as tutorials for Sanic show it: a set of sockets, and `await ws.send` for each."""

import asyncio
import os
from pathlib import Path
from typing import Any

import redis.asyncio as aioredis
from sanic import HTTPResponse, Request, Sanic, Websocket
from sanic.exceptions import WebsocketClosed
from sanic.response import text

app = Sanic("tutorial")
# As long as those the template sends with each answer.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
STYLE = "client/style.css"
clients: set[Websocket] = set()

app.static(f"/{STYLE}", Path(__file__).parents[2] / "{{cookiecutter.project_slug}}" / STYLE)


@app.websocket("/ws")
async def serve(_: Request, ws: Websocket) -> None:
    clients.add(ws)
    try:
        async for _ in ws:
            pass
    finally:
        clients.discard(ws)


@app.after_server_start
async def start(app: Sanic) -> None:
    app.ctx.redis = aioredis.from_url(os.environ["REDIS_URL"])
    app.ctx.relay = asyncio.create_task(relay(app.ctx.redis.pubsub()))


@app.get("/plain")
async def plain(_: Request) -> HTTPResponse:
    return text("hello")


@app.get("/session")
async def read_key(request: Request) -> HTTPResponse:
    """One GET, without which no session can be read."""
    return text(f"hello {await request.app.ctx.redis.get('visits')}")


@app.get("/protected/plain")
async def protected_plain(_: Request) -> HTTPResponse:
    return text("hello", headers=HEADERS)


@app.get("/protected/session")
async def protected_read_key(request: Request) -> HTTPResponse:
    visits = await request.app.ctx.redis.get("visits")
    return text(f"hello {visits}", headers=HEADERS)


async def relay(pubsub: Any) -> None:
    await pubsub.subscribe("fan")
    async for message in pubsub.listen():
        if message["type"] == "message":
            for ws in list(clients):
                try:
                    await ws.send(message["data"])
                except (WebsocketClosed, asyncio.CancelledError):
                    clients.discard(ws)

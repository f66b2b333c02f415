"""socketify, Python on uWebSockets: its own topics deliver what Redis publishes."""

import sys
from typing import Any

import redis.asyncio as aioredis
from socketify import App, AppListenOptions, CompressOptions, OpCode

port, redis = map(int, sys.argv[1:])
app = App()


def opened(ws: Any) -> None:
    ws.subscribe("fan")


def received(ws: Any, message: bytes | str, _: Any) -> None:
    ws.send(message, OpCode.BINARY)


async def relay() -> None:
    """Pass messages on, until the process ends."""
    pubsub = aioredis.Redis(port=redis).pubsub()
    await pubsub.subscribe("fan")
    async for message in pubsub.listen():
        if message["type"] == "message":
            app.publish("fan", message["data"], OpCode.BINARY)


behaviour = {"compression": CompressOptions.DISABLED, "idle_timeout": 0}
app.ws("/*", {**behaviour, "open": opened, "message": received})
app.listen(AppListenOptions(port=port, host="127.0.0.1"))
app.loop.run_async(relay())
app.run()

"""picows, WebSockets in Cython: a set of transports, and one `send` for each."""

import sys

import picows
import redis.asyncio as aioredis
import uvloop

clients: set[picows.WSTransport] = set()


class Client(picows.WSListener):
    """Says nothing of its own, and sends back what it is sent."""

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        clients.add(transport)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.BINARY:
            transport.send(picows.WSMsgType.BINARY, frame.get_payload_as_bytes())

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        clients.discard(transport)


async def main(port: int, redis: int) -> None:
    """Serve, and pass messages on."""
    pubsub = aioredis.Redis(port=redis).pubsub()
    await pubsub.subscribe("fan")
    server = await picows.ws_create_server(lambda _: Client(), "127.0.0.1", port, backlog=4096)
    async with server:
        async for message in pubsub.listen():
            if message["type"] == "message":
                for transport in list(clients):
                    transport.send(picows.WSMsgType.BINARY, message["data"])


uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))

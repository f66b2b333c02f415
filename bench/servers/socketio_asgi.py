"""python-socketio with its Redis manager, on uvicorn."""

import os

import socketio

manager = socketio.AsyncRedisManager(os.environ["REDIS_URL"])
app = socketio.ASGIApp(socketio.AsyncServer(async_mode="asgi", client_manager=manager))

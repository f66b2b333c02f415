"""Django Channels with the pub/sub layer of channels_redis, on uvicorn."""

import os
from typing import Any

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path

LAYER = {
    "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "CONFIG": {"hosts": [os.environ["REDIS_URL"]]},
}
settings.configure(CHANNEL_LAYERS={"default": LAYER}, SECRET_KEY="none")
django.setup()


class Fan(AsyncWebsocketConsumer):
    groups = ["fan"]

    async def pass_on(self, event: dict[str, Any]) -> None:
        await self.send(bytes_data=event["data"])


app = ProtocolTypeRouter({"websocket": URLRouter([path("ws", Fan.as_asgi())])})

"""A client of a Redis cluster in which one server that fails is no reason for others to.

redis-py's own pipeline fails as a whole with any of its servers, and then closes the connections to
all of them, on which other commands wait. This one asks where the slots are, and closes nothing.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from redis import exceptions
from redis.asyncio.cluster import PipelineCommand, RedisCluster
from sanic.log import logger

from server import background
from server.pipe import Command, Pipe

LOOK_AGAIN = 0.1  # seconds between looks at where the slots are, while servers fail
REDIRECTED = (exceptions.MovedError, exceptions.AskError, exceptions.TryAgainError)
LOST = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
FAILURES = (exceptions.RedisError, exceptions.RedisClusterException, OSError)


class Cluster(RedisCluster):
    """redis-py's client, with a way of our own to send several commands together."""

    PUBLISH = "SPUBLISH"  # to the shard that has the room's keys
    _looking: asyncio.Task[None] | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._pipes: dict[str, Pipe[Command]] = {}  # to each server

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to commands of one key each, exceptions among them."""
        await self.initialize()
        return list(await asyncio.gather(*map(self._send, commands)))

    async def aclose(self) -> None:
        if self._looking:
            await background.stop(self._looking)
        await super().aclose()

    async def _send(self, command: Command) -> Any:
        """Send it with others to the same server, and again if its slot has moved."""
        key = command[3 if command[0] in ("EVAL", "EVALSHA") else 1]
        try:
            server = self.nodes_manager.get_node_from_slot(self.keyslot(key)).name
        except exceptions.SlotNotCoveredError as error:
            self._look_again()
            return error
        if server not in self._pipes:
            self._pipes[server] = Pipe(partial(self._exchange, server))
        (answer,) = await self._pipes[server].send([command])
        if isinstance(answer, LOST):
            self._look_again()
        if isinstance(answer, REDIRECTED):
            try:
                return await self.execute_command(*command)
            except FAILURES as error:
                return error
        return answer

    async def _exchange(self, server: str, commands: list[Command]) -> list[Any]:
        node = self.get_node(node_name=server)
        if node is None:
            raise exceptions.ConnectionError(f"{server} has left the cluster")
        sent = [PipelineCommand(number, *command) for number, command in enumerate(commands)]
        await node.execute_pipeline(sent)
        return [command.result for command in sent]

    def _look_again(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = background.start(self._look(), "slots of the cluster")

    async def _look(self) -> None:
        try:
            await self.nodes_manager.initialize()
        except FAILURES as error:
            logger.warning("the Redis cluster does not say where its slots are: %s", error)
        await asyncio.sleep(LOOK_AGAIN)

"""A client of a Redis cluster in which one server that fails is no reason for others to.

redis-py's own pipeline fails as a whole with any of its servers, and then closes the connections to
all of them, on which other commands wait. This one asks where the slots are, and closes nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from redis import exceptions
from redis.asyncio.cluster import ClusterNode, PipelineCommand, RedisCluster
from sanic.log import logger

from server import background

LOOK_AGAIN = 0.1  # seconds between looks at where the slots are, while servers fail
ONE_KEY = frozenset({"DEL", "EVAL", "GET", "SET", "SPUBLISH"})
REDIRECTED = (exceptions.MovedError, exceptions.AskError, exceptions.TryAgainError)
LOST = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
FAILURES = (exceptions.RedisError, exceptions.RedisClusterException, OSError)


class Cluster(RedisCluster):
    """redis-py's client, with a way of our own to send several commands together."""

    PUBLISH = "SPUBLISH"  # to the shard that has the room's keys
    _looking: asyncio.Task[None] | None = None

    async def send(self, commands: Iterable[Sequence[Any]]) -> list[Any]:
        """The answers to commands of one key each, exceptions among them.

        They go together to each server, and again where a slot has moved.
        """
        await self.initialize()
        sent = [PipelineCommand(number, *command) for number, command in enumerate(commands)]
        nodes: defaultdict[Any, list[PipelineCommand]] = defaultdict(list)
        for command in sent:
            key = command.args[3 if command.args[0] in ("EVAL", "EVALSHA") else 1]
            try:
                nodes[self.get_node_from_key(key)].append(command)
            except exceptions.SlotNotCoveredError as error:
                command.result = error
                self._look_again()
        await asyncio.gather(*(self._send_to(node, part) for node, part in nodes.items()))
        for command in sent:
            if isinstance(command.result, REDIRECTED):
                try:
                    command.result = await super().execute_command(*command.args)
                except FAILURES as error:
                    command.result = error
        return [command.result for command in sent]

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] not in ONE_KEY:
            return await super().execute_command(*args, **options)
        (answer,) = await self.send([args])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self) -> None:
        if self._looking:
            await background.stop(self._looking)
        await super().aclose()

    async def _send_to(self, node: ClusterNode, commands: list[PipelineCommand]) -> None:
        try:
            await node.execute_pipeline(commands)
        except FAILURES as error:
            for command in commands:
                command.result = error
        if any(isinstance(command.result, LOST) for command in commands):
            self._look_again()

    def _look_again(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = background.start(self._look(), "slots of the cluster")

    async def _look(self) -> None:
        try:
            await self.nodes_manager.initialize()
        except FAILURES as error:
            logger.warning("the Redis cluster does not say where its slots are: %s", error)
        await asyncio.sleep(LOOK_AGAIN)

"""A client of a Redis cluster in which one server that fails is no reason for others to.

redis-py's own pipeline fails as a whole with any of its servers, and then closes the connections to
all of them, on which other commands wait. This one asks where the slots are, and closes nothing.
"""

import asyncio
from collections import defaultdict
from typing import Any, Self

from redis import exceptions
from redis.asyncio.cluster import ClusterNode, ClusterPipeline, PipelineCommand, RedisCluster
from sanic.log import logger

from server import background

LOOK_AGAIN = 0.1  # seconds between looks at where the slots are, while servers fail
REDIRECTED = (exceptions.MovedError, exceptions.AskError, exceptions.TryAgainError)
ONE_KEY = frozenset({"DEL", "EVAL", "GET", "SET", "SPUBLISH"})
FAILURES = (exceptions.RedisError, exceptions.RedisClusterException, OSError)


class Cluster(RedisCluster):
    """redis-py's client with a pipeline of our own, by which commands of one key go as well."""

    _looking: asyncio.Task[None] | None = None

    def pipeline(self, *_: Any, **__: Any) -> Any:
        return Pipeline(self)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] not in ONE_KEY:
            return await super().execute_command(*args, **options)
        async with self.pipeline() as pipeline:
            (answer,) = await pipeline.execute_command(*args, **options).execute()
        return answer

    async def aclose(self) -> None:
        if self._looking:
            await background.stop(self._looking)
        await super().aclose()

    def look_again(self) -> None:
        """Ask the servers which of them has which slots."""
        if self._looking is None or self._looking.done():
            self._looking = background.start(self._look(), "slots of the cluster")

    async def look(self) -> None:
        """The same now. Raises one of FAILURES."""
        await self.nodes_manager.initialize()

    async def _look(self) -> None:
        try:
            await self.look()
        except FAILURES as error:
            logger.warning("the Redis cluster does not say where its slots are: %s", error)
        await asyncio.sleep(LOOK_AGAIN)


class Pipeline(ClusterPipeline):
    """Commands of one key each, sent together to each server, and again where a slot has moved."""

    _event_dispatcher: Any = None  # redis-py declares it, and never sets it either

    def __init__(self, client: Cluster) -> None:
        super().__init__(client)
        self._client = client
        self._commands: list[PipelineCommand] = []

    def execute_command(self, *args: Any, **options: Any) -> Self:
        options.pop("target_nodes", None)  # its key says where it goes
        self._commands.append(PipelineCommand(len(self._commands), *args, **options))
        return self

    async def execute(
        self,
        raise_on_error: bool = True,  # noqa: FBT001, FBT002 - as in redis-py
        allow_redirections: bool = True,  # noqa: ARG002, FBT001, FBT002 - the same
    ) -> list[Any]:
        nodes: defaultdict[Any, list[PipelineCommand]] = defaultdict(list)
        for command in self._commands:
            try:
                nodes[self._client.get_node_from_key(_key(command))].append(command)
            except exceptions.SlotNotCoveredError as error:
                command.result = error
                self._client.look_again()
        await asyncio.gather(*(self._send(node, commands) for node, commands in nodes.items()))
        for command in self._commands:
            if isinstance(command.result, REDIRECTED):
                command.result = await self._redirected(command)
            if raise_on_error and isinstance(command.result, Exception):
                raise command.result
        return [command.result for command in self._commands]

    async def _send(self, node: ClusterNode, commands: list[PipelineCommand]) -> None:
        try:
            await node.execute_pipeline(commands)
        except FAILURES as error:
            for command in commands:
                command.result = error
        if any(_is_lost(command.result) for command in commands):
            self._client.look_again()

    async def _redirected(self, command: PipelineCommand) -> Any:
        try:
            return await RedisCluster.execute_command(self._client, *command.args, **command.kwargs)
        except FAILURES as error:
            return error


def _key(command: PipelineCommand) -> Any:
    return command.args[3 if command.args[0] in ("EVAL", "EVALSHA") else 1]


def _is_lost(result: Any) -> bool:
    return isinstance(result, exceptions.ConnectionError | exceptions.TimeoutError | OSError)

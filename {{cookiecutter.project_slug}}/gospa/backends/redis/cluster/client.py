"""A Redis Cluster client in which one failing node does not affect commands to the others.

redis-py's own pipeline fails as a whole with any of its nodes, and then closes the connections to
all of them, on which other commands wait. This client only refreshes the slot table.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from redis import exceptions
from redis.asyncio.cluster import ClusterNode, RedisCluster
from sanic.log import logger

from gospa import tasks
from gospa.backends.redis.address import Address
from gospa.backends.redis.batch import Batch, Command, Packed, exchange
from gospa.backends.redis.errors import FAILURES, LOST

REFRESH_DELAY = 0.1  # seconds between refreshes of the slot table, while servers fail
MAX_REDIRECTS = 10  # times that a command follows a slot that moves
PAUSE = 0.05  # seconds before a retry, while the keys of a command are on two nodes
ASKING = ("ASKING",)  # allows commands on a slot that is being imported; no effect on others
REDIRECTED = (exceptions.AskError, exceptions.TryAgainError)  # MovedError is an AskError
ASTRAY = (*LOST, exceptions.ClusterDownError, exceptions.SlotNotCoveredError)


def open_client(address: Address, options: dict[str, Any]) -> aclosing["Cluster"]:
    """A client of the cluster to which these nodes belong."""
    nodes = [ClusterNode(host, port) for host, port in address.nodes]
    return aclosing(Cluster(startup_nodes=nodes, require_full_coverage=False, **options))


class Cluster(RedisCluster):
    """redis-py's client, with a `send` that batches commands for each node."""

    SHARDED = True
    PUBLISH = "SPUBLISH"  # to the shard that has the room's keys
    _refreshing: asyncio.Task[None] | None = None
    _refreshed = 0.0

    def __init__(self, *, socket_timeout: float, **options: Any) -> None:
        super().__init__(socket_timeout=socket_timeout, **options)
        self._patience = 2 * socket_timeout  # one of the nodes may hang
        self._batches: dict[str, Batch] = {}  # by server

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands of one key each; returns the replies, errors included.

        Commands of one slot stay in order.
        """
        if self._initialize:  # the slot table is not loaded yet
            await asyncio.wait([self._refresh_slots()], timeout=self._patience)
        parts: defaultdict[int, list[Command]] = defaultdict(list)
        slots = [self.keyslot(_key(command)) for command in commands]
        for slot, command in zip(slots, commands, strict=True):
            parts[slot].append(command)
        answers = await asyncio.gather(*(self._send(*part) for part in parts.items()))
        rest = dict(zip(parts, map(iter, answers), strict=True))
        return [next(rest[slot]) for slot in slots]

    async def aclose(self) -> None:
        if self._refreshing:
            await tasks.stop(self._refreshing)
        await asyncio.gather(*(batch.aclose() for batch in self._batches.values()))
        await super().aclose()

    async def _send(self, slot: int, commands: list[Command]) -> list[Any]:
        """Send commands to the node that has the slot, and follow its redirects."""
        try:
            answers = await self._batch(self._owner(slot)).send(commands)
            for _ in range(MAX_REDIRECTS):
                left = [n for n, answer in enumerate(answers) if isinstance(answer, REDIRECTED)]
                if not left:
                    break
                batch = self._batch(await self._next(slot, answers[left[-1]]))
                again = await batch.send([part for n in left for part in (ASKING, commands[n])])
                for n, answer in zip(left, again[1::2], strict=True):
                    answers[n] = answer
        except exceptions.SlotNotCoveredError as error:
            answers = [error] * len(commands)
        if any(isinstance(answer, ASTRAY) for answer in answers):
            self._refresh_slots()
        return answers

    def _owner(self, slot: int) -> str:
        nodes = self.nodes_manager.slots_cache.get(slot)
        if not nodes:
            raise exceptions.SlotNotCoveredError(f"no server of the cluster has slot {slot}")
        return str(nodes[0].name)

    async def _next(self, slot: int, answer: Any) -> str:
        """The node to ask after a redirect."""
        if isinstance(answer, exceptions.TryAgainError):
            await asyncio.sleep(PAUSE)
            return self._owner(slot)
        if isinstance(answer, exceptions.MovedError):
            self._owner(slot)  # raises if the slot has no owner, which `move_slot` would replace
            await self.nodes_manager.move_slot(answer)
        node = ClusterNode(answer.host, answer.port, **self.nodes_manager.connection_kwargs)
        self.nodes_manager.nodes_cache.setdefault(node.name, node)  # a new one has no slots yet
        return str(node.name)

    def _batch(self, server: str) -> Batch:
        if server not in self._batches:
            self._batches[server] = Batch(partial(self._exchange, server))
        return self._batches[server]

    async def _exchange(self, server: str, commands: list[Packed]) -> list[Any]:
        node = self.get_node(node_name=server)
        if node is None:
            raise exceptions.ConnectionError(f"{server} is not known to be of the cluster")
        connection = node.acquire_connection()
        try:
            await node.disconnect_if_needed(connection)
            if connection.is_connected and await connection.can_read():
                await connection.disconnect()  # the server closed it
            await connection.connect()  # type: ignore[no-untyped-call]
            return await exchange(node, connection, commands)
        finally:
            node.release(connection)

    def _refresh_slots(self) -> asyncio.Task[None]:
        """Refresh the slot table, once for all callers that need it."""
        recent = asyncio.get_running_loop().time() < self._refreshed + REFRESH_DELAY
        if self._refreshing is None or (self._refreshing.done() and not recent):
            self._refreshing = tasks.start(self._refresh(), "slots of the cluster")
        return self._refreshing

    async def _refresh(self) -> None:
        try:
            await (self.initialize() if self._initialize else self.nodes_manager.initialize())
        except FAILURES as error:
            logger.warning("the slot table of the Redis cluster cannot be refreshed: %s", error)
        self._refreshed = asyncio.get_running_loop().time()


def _key(command: Command) -> Any:
    return command[3 if command[0] in ("EVAL", "EVALSHA") else 1]

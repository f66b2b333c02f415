"""State and messages on a cluster of three shards with a replica each."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from msgspec import structs
from redis import exceptions
from redis.crc import key_slot

from gospa.backends.redis.client import CONNECTIONS, ask, connect
from gospa.backends.redis.cluster import pubsub as backend
from gospa.backends.redis.pubsub import open_pubsub
from gospa.backends.redis.state import open_state
from gospa.errors import StoreError, StoreUnavailable
from gospa.pubsub import PubSub
from gospa.settings import Settings
from gospa.store.contract import Commit, StateStore, channel
from gospa.testing import until
from tests.gospa.backends.alarm_conformance import BRIEF, ROOM
from tests.gospa.backends.pubsub_conformance import PubSubConformance, no_gap
from tests.gospa.backends.state_conformance import StateStoreConformance, change
from tests.gospa.redis_servers import ClusterServers
from tests.gospa.serving import free_port

pytestmark = pytest.mark.slow

CHANNELS = [f"{{room/{number}}}" for number in range(12)]
ROOMS = [f"sheet/{number}" for number in range(30)]


class TestClusterPubSub(PubSubConformance):
    @pytest.fixture
    async def pubsub(self, cluster_settings: Settings) -> AsyncIterator[PubSub]:
        async with open_pubsub(cluster_settings) as pubsub:
            yield pubsub

    async def test_messages_stay_within_a_shard(
        self, pubsub: PubSub, cluster: ClusterServers
    ) -> None:
        for name in CHANNELS:
            await pubsub.subscribe(name, lambda _: None, no_gap)
        async with cluster.clients():
            channels = [await s.client.pubsub_shardchannels("*{room/*") for s in cluster.servers]
        assert list(map(bool, channels)).count(True) == 3
        assert sum(map(len, channels)) == len(CHANNELS)

    async def test_a_channel_moves_with_its_slot(
        self, pubsub: PubSub, cluster: ClusterServers, cluster_settings: Settings
    ) -> None:
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        gaps: list[bool] = []
        await pubsub.subscribe(CHANNELS[0], heard.put_nowait, lambda: gaps.append(True))
        await pubsub.subscribe(CHANNELS[1], heard.put_nowait, no_gap)
        async with cluster.clients():
            await cluster.migrate(cluster_settings.key_prefix + CHANNELS[0])
        await until(lambda: bool(gaps))
        await pubsub.publish(CHANNELS[0], b"again")
        async with asyncio.timeout(40):
            assert await heard.get() == b"again"

    async def test_a_channel_that_is_left_and_entered_again_at_once_is_heard(
        self, pubsub: PubSub
    ) -> None:
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        await pubsub.subscribe(CHANNELS[1], lambda _: None, no_gap)
        for _ in range(20):
            subscription = await pubsub.subscribe(CHANNELS[0], heard.put_nowait, no_gap)
            await subscription.close()
        await pubsub.subscribe(CHANNELS[0], heard.put_nowait, no_gap)
        await pubsub.publish(CHANNELS[0], b"1")
        async with asyncio.timeout(40):
            assert await heard.get() == b"1"

    async def test_one_that_is_left_while_it_moves_stays_silent(
        self, pubsub: PubSub, cluster: ClusterServers, cluster_settings: Settings
    ) -> None:
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        gone: asyncio.Queue[bytes] = asyncio.Queue()
        leaving = await pubsub.subscribe(CHANNELS[0], gone.put_nowait, lambda: None)
        await pubsub.subscribe(CHANNELS[0], heard.put_nowait, lambda: None)
        async with cluster.clients():
            await cluster.migrate(cluster_settings.key_prefix + CHANNELS[0])
        await leaving.close()

        async def is_heard() -> bool:
            await pubsub.publish(CHANNELS[0], b"again")
            return not heard.empty()

        await until(is_heard)
        assert gone.empty()

    async def test_without_a_cluster_a_subscription_is_unavailable(self) -> None:
        url = f"redis+cluster://127.0.0.1:{free_port()}"
        async with open_pubsub(Settings(redis_url=url, store_timeout=0.2)) as pubsub:
            with pytest.raises(StoreUnavailable):
                await pubsub.subscribe("c", lambda _: None, no_gap)
            assert not pubsub.connected

    def test_a_shard_that_moved_is_found_within_seconds(self) -> None:
        assert backend.RETRY < backend.REFRESH <= 5


class TestClusterStateStore(StateStoreConformance):
    @pytest.fixture
    async def pubsub(self, cluster_settings: Settings) -> AsyncIterator[PubSub]:
        async with open_pubsub(cluster_settings) as pubsub:
            yield pubsub

    @pytest.fixture
    async def store(self, cluster_settings: Settings, pubsub: PubSub) -> AsyncIterator[StateStore]:
        async with open_state(cluster_settings, pubsub) as store:
            yield store

    @pytest.fixture
    async def brief(self, cluster_settings: Settings, pubsub: PubSub) -> AsyncIterator[StateStore]:
        soon = structs.replace(cluster_settings, room_ttl=BRIEF, visited_ttl=BRIEF)
        async with open_state(soon, pubsub) as store:
            yield store

    async def test_a_pipeline_over_all_shards_answers_in_order(self, store: StateStore) -> None:
        changes = [change(exists=False, set={"room": room}) for room in ROOMS]
        await asyncio.gather(*map(store.commit, ROOMS, changes))
        heads = await store.latest_tags(ROOMS)
        assert heads == {room: made.tag for room, made in zip(ROOMS, changes, strict=True)}

    async def test_a_room_is_committed_to_while_its_slot_moves(
        self, store: StateStore, cluster: ClusterServers, cluster_settings: Settings
    ) -> None:
        await store.commit(ROOM, change(exists=False, set={"a": 0}))
        async with cluster.clients():
            moving = asyncio.create_task(
                cluster.migrate(cluster_settings.key_prefix + channel(ROOM))
            )
            done = 0
            while not moving.done() or done < 100:
                with contextlib.suppress(StoreUnavailable):  # half of the keys are elsewhere: again
                    assert isinstance(await store.commit(ROOM, change(set={"a": done})), Commit)
                    done += 1
            await moving
        snapshot = await store.load(ROOM)
        assert snapshot is not None
        assert snapshot.version == done + 1

    async def test_a_mistake_in_a_command_is_its_callers_alone(
        self, cluster_settings: Settings
    ) -> None:
        async with connect(cluster_settings) as client:
            outcomes = await asyncio.gather(
                ask(client, ("SET", "{a}1", "\ud800")),
                ask(client, ("SET", "{a}2", "1")),
                return_exceptions=True,
            )
        assert isinstance(outcomes[0], UnicodeEncodeError)
        assert outcomes[1] == [True]

    async def test_connections_that_the_servers_closed_are_opened_again(
        self, cluster: ClusterServers, cluster_settings: Settings
    ) -> None:
        async with connect(cluster_settings) as client, cluster.clients():
            await ask(client, *(("GET", room) for room in ROOMS))
            for server in cluster.servers:
                await server.client.execute_command("CLIENT KILL TYPE normal SKIPME yes")
            await ask(client, *(("GET", room) for room in ROOMS))

    async def test_a_slot_that_no_server_has_is_unavailable_until_one_has_it(
        self, cluster: ClusterServers, cluster_settings: Settings
    ) -> None:
        key = cluster_settings.key_prefix + "nowhere"
        slot = key_slot(key.encode())
        async with cluster.clients():
            owner = await cluster.owner(key)
            others = [server for server in cluster.servers if server is not owner]
            for server in (owner, *others):  # which would learn it again from the owner
                with contextlib.suppress(exceptions.ResponseError):
                    await server.client.execute_command("CLUSTER DELSLOTS", slot)
            async with connect(cluster_settings) as client:
                with pytest.raises(StoreUnavailable):
                    await ask(client, ("GET", key))
                await owner.client.execute_command("CLUSTER ADDSLOTS", slot)

                async def is_served() -> bool:
                    with contextlib.suppress(StoreUnavailable):
                        return await ask(client, ("GET", key)) == [None]
                    return False

                await until(is_served)
            await until(cluster.settled)

    async def test_all_commands_follow_a_primary_that_was_replaced(
        self, cluster: ClusterServers, cluster_settings: Settings
    ) -> None:
        many = 2 * CONNECTIONS
        async with connect(cluster_settings) as client, cluster.clients():
            await ask(client, ("SET", "{a}", "1"))
            before = await cluster.owner("{a}")
            replica = await cluster.replica(before)
            await replica.client.execute_command("CLUSTER FAILOVER")
            await until(before.is_replica)
            answers = await asyncio.gather(*(ask(client, ("INCR", "{a}")) for _ in range(many)))
            assert sorted(answers) == [[n] for n in range(2, many + 2)]
            await until(cluster.settled)

    async def test_who_first_asks_a_cluster_that_hangs_hears_of_it_in_time(
        self, cluster: ClusterServers, cluster_settings: Settings
    ) -> None:
        settings = structs.replace(cluster_settings, store_timeout=0.3)
        async with contextlib.AsyncExitStack() as halted, connect(settings) as client:
            for server in cluster.servers:
                await halted.enter_async_context(server.halted())
            asking = [asyncio.create_task(ask(client, ("GET", "a"))) for _ in range(100)]
            async with asyncio.timeout(40):  # one look takes 3 s, where each had one it were 300
                outcomes = await asyncio.gather(*asking, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
        async with cluster.clients():
            await until(cluster.settled)

    async def test_a_key_is_served_while_it_moves_to_a_server_without_slots(
        self, cluster: ClusterServers, cluster_settings: Settings
    ) -> None:
        key = f"{cluster_settings.key_prefix}moves"
        slot = "CLUSTER SETSLOT", key_slot(key.encode())
        async with (
            cluster.clients(),
            cluster.newcomer() as newcomer,
            connect(cluster_settings) as client,
        ):
            assert await ask(client, ("GET", key)) == [None]
            owner = await cluster.owner(key)
            names = [await s.client.execute_command("CLUSTER MYID") for s in (owner, newcomer)]
            await newcomer.client.execute_command(*slot, "IMPORTING", names[0])
            await owner.client.execute_command(*slot, "MIGRATING", names[1])
            assert await ask(client, ("SET", key, "a"), ("GET", key)) == [True, b"a"]
            await owner.client.execute_command(*slot, "STABLE")

    async def test_commands_of_one_room_stay_in_order_where_it_moved(
        self, cluster: ClusterServers, cluster_settings: Settings
    ) -> None:
        key = f"{cluster_settings.key_prefix}{{moves}}"
        steps = [("APPEND", key, f"{number},") for number in range(50)]
        async with connect(cluster_settings) as client, cluster.clients():
            await ask(client, ("SET", key, ""))
            await cluster.migrate(key)
            await ask(client, *steps)
            assert await ask(client, ("GET", key)) == ["".join(s for *_, s in steps).encode()]

    async def test_one_shard_that_hangs_leaves_the_rooms_of_the_others_alone(
        self, store: StateStore, cluster: ClusterServers, cluster_settings: Settings
    ) -> None:
        await store.load(ROOM)  # to know where the slots are, before a replica has them
        keys = {room: cluster_settings.key_prefix + channel(room) for room in ROOMS}
        async with cluster.clients():
            owners = {room: await cluster.owner(keys[room]) for room in ROOMS}
            for server in cluster.servers:  # who has to be given the script is not held up either
                await server.client.script_flush()
        hung = owners[ROOMS[0]]
        async with hung.halted():
            heads, *outcomes = await asyncio.gather(
                store.latest_tags(ROOMS),
                *(store.commit(room, change(exists=False, set={"a": 1})) for room in ROOMS),
                return_exceptions=True,
            )
        assert isinstance(heads, dict)
        assert {room for room in ROOMS if owners[room] is not hung} <= heads.keys()
        for room, outcome in zip(ROOMS, outcomes, strict=True):
            expected = StoreError if owners[room] is hung else Commit
            assert isinstance(outcome, expected), (room, outcome)

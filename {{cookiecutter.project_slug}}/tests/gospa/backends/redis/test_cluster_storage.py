"""Sessions on a cluster of three shards with a replica each."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gospa.backends.redis.storage import open_storage
from gospa.errors import StoreError
from gospa.settings import Settings
from gospa.storage import Storage
from tests.gospa.backends.storage_conformance import StorageConformance
from tests.gospa.redis_servers import ClusterServers

pytestmark = pytest.mark.slow

KEYS = [f"session:{number}" for number in range(30)]


class TestClusterStorage(StorageConformance):
    @pytest.fixture
    async def storage(self, cluster_settings: Settings) -> AsyncIterator[Storage]:
        async with open_storage(cluster_settings) as storage:
            yield storage

    async def test_one_shard_that_hangs_leaves_the_keys_of_the_others_alone(
        self, storage: Storage, cluster: ClusterServers, cluster_settings: Settings
    ) -> None:
        await storage.get(KEYS[0])  # to know where the slots are, before a replica has them
        async with cluster.clients():
            prefix = cluster_settings.key_prefix
            owners = {key: await cluster.owner(prefix + key) for key in KEYS}
        hung = owners[KEYS[0]]
        async with hung.halted():
            outcomes = await asyncio.gather(
                *(storage.replace(key, None, b"x") for key in KEYS), return_exceptions=True
            )
        for key, outcome in zip(KEYS, outcomes, strict=True):
            if owners[key] is hung:
                assert isinstance(outcome, StoreError), (key, outcome)
            else:
                assert outcome is True, (key, outcome)

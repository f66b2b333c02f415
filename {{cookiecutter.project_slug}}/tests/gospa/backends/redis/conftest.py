"""A cluster for the tests that need one."""

import itertools
from collections.abc import Iterator

import pytest

from gospa.settings import Settings
from tests.gospa.redis_servers import ClusterServers, no_front, started

_numbers = itertools.count()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServers]:
    """Three shards with a replica each."""
    with started(ClusterServers(tmp_path_factory.mktemp("cluster"), no_front)) as cluster:
        yield cluster


@pytest.fixture
def cluster_settings(cluster: ClusterServers) -> Settings:
    """Settings for the cluster, with a key prefix of this test's own."""
    return Settings(redis_url=cluster.url, key_prefix=f"t{next(_numbers)}:")

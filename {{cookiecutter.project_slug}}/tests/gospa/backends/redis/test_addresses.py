"""The forms of REDIS_URL, each against servers that the tests start."""

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gospa.backends.redis import devstore, startup
from gospa.backends.redis.address import parse_address
from gospa.backends.redis.client import connect
from gospa.backends.redis.errors import store_errors
from gospa.backends.redis.startup import prepare
from gospa.errors import StoreError
from gospa.settings import Settings, SettingsError
from gospa.testing import until
from tests.gospa.certificates import make_certificates
from tests.gospa.redis_servers import (
    PERSISTENT,
    ClusterServers,
    RedisServer,
    Sentinels,
    no_front,
    running,
)
from tests.gospa.serving import free_port

PROJECT = Path(__file__).parents[4]
PASSWORD = "p@ss/word"  # noqa: S105 - of a server of this test
QUOTED = "p%40ss%2Fword"


async def check(url: str, **options: Any) -> None:
    """What the main process does before it starts workers."""
    settings = Settings(redis_url=url, **options)
    await asyncio.to_thread(lambda: prepare(settings).__enter__())


@pytest.fixture(autouse=True)
def _own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "")  # `prepare` sets it for the workers


@pytest.mark.parametrize(
    ("url", "form", "nodes", "service"),
    [
        ("redis://h:1/2", "", [], ""),
        ("unix:///run/redis.sock?db=2", "", [], ""),
        ("redis+sentinel://a,b:2/main", "sentinel", [("a", 26379), ("b", 2)], "main"),
        ("rediss+sentinel://u:p@a:1,[::1]:2/main/3", "sentinel", [("a", 1), ("::1", 2)], "main"),
        ("redis+cluster://a,b:2,c", "cluster", [("a", 6379), ("b", 2), ("c", 6379)], ""),
        ("rediss+cluster://u:p@a/?ssl_ca_certs=/ca", "cluster", [("a", 6379)], ""),
        ("redis+cluster://:p@a,b:2?db=0", "cluster", [("a", 6379), ("b", 2)], ""),
        ("redis+cluster://", "cluster", [("localhost", 6379)], ""),
    ],
)
def test_an_address_names_its_servers(
    url: str, form: str, nodes: list[tuple[str, int]], service: str
) -> None:
    address = parse_address(url)
    assert (address.form, address.nodes, address.service) == (form, nodes, service)


def test_what_follows_the_servers_is_for_each_connection() -> None:
    options = parse_address(f"rediss+sentinel://u:{QUOTED}@a,b/main/3?ssl_ca_certs=/ca").options
    assert options == {
        "username": "u",
        "password": PASSWORD,
        "db": 3,
        "ssl": True,
        "ssl_ca_certs": "/ca",
    }


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis+sentinel://127.0.0.1", "name of the master"),
        ("redis+sentinel://127.0.0.1,/main", "a host is missing"),
        ("redis+cluster://127.0.0.1,,localhost", "a host is missing"),
        ("unix://redis.sock", "begins with a slash"),
        ("redis://127.0.0.1:port", "REDIS_URL cannot be used"),
        ("redis://127.0.0.1:99999", "the port is not"),
        ("redis://127.0.0.1/main", "the database is not a number"),
        ("redis://127.0.0.1/1/2", "the database is not a number"),
        ("redis+cluster://127.0.0.1/-1", "the database is not a number"),
        ("redis+sentinel://127.0.0.1/main/1.5", "the database is not a number"),
    ],
)
async def test_an_address_that_says_too_little_is_refused(url: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        await check(url)


@pytest.mark.parametrize(
    "url", ["redis://s3cret", "redis://app:s3cret", "redis+sentinel://a:s3cret/m"]
)
async def test_of_an_address_without_a_host_no_part_is_told_as_a_port(url: str) -> None:
    with pytest.raises((SettingsError, ValueError)) as refusal:
        await check(url) if "app" in url else parse_address(f"{url}:s3cret")
    assert "s3cret" not in str(refusal.value)


class TestOneServer:
    @pytest.fixture
    async def server(self, tmp_path: Path) -> AsyncIterator[RedisServer]:
        rules = f"on >{PASSWORD} ~app:* resetchannels &app:* +@all -@dangerous +info"
        server = RedisServer(tmp_path, "--user", "app", *rules.split())
        yield await server.start()
        await server.close()

    async def test_a_user_may_be_limited_to_the_prefix_of_the_application(
        self, server: RedisServer
    ) -> None:
        url = f"redis://app:{QUOTED}@127.0.0.1:{server.port}/3"
        await check(url)
        async with connect(Settings(redis_url=url)) as client:
            await client.set("app:a", 1)
            with pytest.raises(StoreError, match="refused"), store_errors():
                await client.set("other:a", 1)
        await server.client.select(3)
        assert list(await server.client.info("keyspace")) == ["db3"]

    async def test_a_wrong_password_is_said_and_not_shown(self, server: RedisServer) -> None:
        with pytest.raises(SettingsError, match="user, password") as refusal:
            await check(f"redis://app:wr0ng@127.0.0.1:{server.port}")
        assert "wr0ng" not in str(refusal.value)

    async def test_a_unix_socket_has_databases_too(self, tmp_path: Path) -> None:
        with devstore.run(tmp_path) as url:
            async with connect(Settings(redis_url=url.replace("db=0", "db=5"))) as client:
                await client.set("a", 1)
                assert list(await client.info("keyspace")) == ["db5"]


class TestTls:
    @pytest.fixture
    async def files(self, tmp_path: Path) -> Path:
        """A CA, and certificates of it for a server and for a client."""
        program = devstore.find_server()
        assert program
        said = subprocess.run(  # noqa: ASYNC221
            [program, "--tls-port", str(free_port()), "--port", "0", "--dir", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        if "No tls-cert-file" not in said.stdout:
            pytest.skip("this server was built without TLS")
        make_certificates(tmp_path)
        return tmp_path

    @pytest.fixture
    async def port(self, files: Path) -> AsyncIterator[int]:
        port = free_port()
        server = RedisServer(
            *(files, "--tls-port", str(port), "--tls-auth-clients", "yes"),
            *("--tls-ca-cert-file", str(files / "ca.pem")),
            *("--tls-cert-file", str(files / "server.pem")),
            *("--tls-key-file", str(files / "server.key")),
        )
        await server.start()
        yield port
        await server.close()

    async def test_both_sides_show_certificates(self, files: Path, port: int) -> None:
        client = f"ssl_certfile={files}/client.pem&ssl_keyfile={files}/client.key"
        await check(f"rediss://localhost:{port}/0?ssl_ca_certs={files}/ca.pem&{client}")

    async def test_a_server_that_is_not_known_is_refused(self, files: Path, port: int) -> None:
        with pytest.raises(SettingsError, match="certificate"):
            await check(f"rediss://localhost:{port}/0")

    async def test_a_server_of_another_name_is_refused(self, files: Path, port: int) -> None:
        with pytest.raises(SettingsError, match="certificate"):
            await check(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={files}/ca.pem")

    async def test_a_client_without_a_certificate_is_refused(self, files: Path, port: int) -> None:
        with pytest.raises(SettingsError, match="certificate"):
            await check(f"rediss://localhost:{port}/0?ssl_ca_certs={files}/ca.pem")

    @pytest.mark.slow
    async def test_tls_where_there_is_none_is_said(
        self, files: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(startup, "PATIENCE", 0.0)
        plain = await RedisServer(files).start()
        with pytest.raises(SettingsError, match="certificates"):
            await check(f"rediss://127.0.0.1:{plain.port}/0")
        await plain.close()


@pytest.mark.slow
async def test_a_master_that_was_replaced_is_left_although_it_goes_on(tmp_path: Path) -> None:
    async with (
        running(Sentinels(tmp_path, no_front)) as sentinels,
        connect(Settings(redis_url=sentinels.url)) as client,
    ):
        await check(sentinels.url)
        numbers = itertools.count()
        await client.set("a", next(numbers))
        before = await sentinels.master()
        # It goes on as if nothing were the matter, as it does for some seconds in any case.
        await before.client.execute_command("ACL SETUSER default -replicaof -slaveof")
        pool = client.connection_pool
        address, in_use = pool.master_address, await pool.get_connection()
        await sentinels.fail_over()
        after = await sentinels.master()
        assert after is not before
        await until(lambda: pool.master_address != address)
        await pool.release(in_use)

        async def writes_to_the_new_one() -> bool:
            value = next(numbers)
            try:
                with store_errors():
                    await client.set("a", value)
            except StoreError:
                return False
            return int(await after.client.get("a")) == value

        await until(writes_to_the_new_one)
        assert (await before.client.role())[0] == b"master"


async def test_sentinels_that_are_away_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "PATIENCE", 0.0)
    with pytest.raises(SettingsError, match="No master found"):
        await check(f"redis+sentinel://127.0.0.1:{free_port()}/main")


class TestCluster:
    @pytest.fixture
    async def server(self, tmp_path: Path) -> AsyncIterator[RedisServer]:
        server = ClusterServers(tmp_path, no_front).servers[0]
        yield await server.start()
        await server.close()

    async def test_a_cluster_named_like_one_server_is_refused(self, server: RedisServer) -> None:
        with pytest.raises(SettingsError, match=r"redis\+cluster://"):
            await check(f"redis://127.0.0.1:{server.port}")

    async def test_one_server_named_like_a_cluster_is_refused(self, tmp_path: Path) -> None:
        server = RedisServer(tmp_path, *PERSISTENT)
        try:
            await server.start()
            with pytest.raises(SettingsError, match="Cluster mode is not enabled"):
                await check(f"redis+cluster://127.0.0.1:{server.port}")
        finally:
            await server.close()


LOADED = """
import asyncio, sys
from gospa.backends.redis.client import connect
from gospa.backends.redis import pubsub, startup, state, storage
from gospa.settings import Settings

async def main():
    for url in sys.argv[1:]:
        try:
            async with connect(Settings(redis_url=url)):
                pass
        except Exception:
            pass  # nobody is there
        print(*sorted(name for name in sys.modules if name.startswith("gospa.backends.redis.")))

asyncio.run(main())
"""
FORMS = {
    "redis://127.0.0.1:1": set[str](),
    "redis+sentinel://127.0.0.1:1/main": {"sentinel"},
    "redis+cluster://127.0.0.1:1": {"sentinel", "cluster", "cluster.client"},
}


@pytest.mark.slow
def test_support_of_a_form_is_loaded_only_for_its_addresses() -> None:
    command = [sys.executable, "-c", LOADED, *FORMS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT)
    loaded = [
        line.replace("gospa.backends.redis.", "").split() for line in done.stdout.splitlines()
    ]
    found = [{name for name in each if name.startswith(("sentinel", "cluster"))} for each in loaded]
    assert found == list(FORMS.values())


@pytest.mark.parametrize(
    "option",
    [
        "decode_responses=true",
        "max_connections=1",
        "protocol=3",
        "retry_on_timeout=1",
        "x=",
        "DB=1",
    ],
)
@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+sentinel", "redis+cluster", "unix"])
def test_an_option_that_the_application_does_not_know_is_refused(scheme: str, option: str) -> None:
    name = option.partition("=")[0]
    with pytest.raises(ValueError, match=f"unknown option {name}; .*ssl_ca_certs"):
        parse_address(f"{scheme}://a/main/0?db=0&{option}")

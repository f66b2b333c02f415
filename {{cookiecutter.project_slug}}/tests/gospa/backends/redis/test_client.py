"""What a server in trouble answers, and what the application makes of it."""

import asyncio
import contextlib
import random
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from msgspec import structs
from redis import exceptions

from gospa.backends.redis import devstore
from gospa.backends.redis.batch import MAX_IN_FLIGHT
from gospa.backends.redis.client import ask, connect, limits
from gospa.backends.redis.errors import store_errors
from gospa.errors import StoreCorrupt, StoreDenied, StoreError, StoreFull, StoreUnavailable
from gospa.settings import Settings
from gospa.testing import until
from tests.gospa.process.server import halt
from tests.gospa.serving import free_port

TIMEOUT = 2.0  # seconds, where a server hangs; elsewhere a busy machine may take longer
INFINITE = float("inf")


class Cutter:
    """Forwards to a server. When its answers got longer than `left`, it closes, or `hangs`."""

    def __init__(self, address: str) -> None:
        self.left: float = INFINITE
        self.hangs = False
        self.url = ""
        self._address = address
        self._open = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator["Cutter"]:
        """In front of a server that listens on a unix socket."""
        cutter = cls(urlsplit(settings.redis_url).path)
        server = await asyncio.start_server(cutter._serve, "127.0.0.1", 0)
        cutter.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield cutter
            await until(lambda: not cutter._open)

    async def _serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        self._open += 1
        server, commands = await asyncio.open_unix_connection(self._address)
        forwarding = asyncio.create_task(self._forward(client, commands))
        while self.left > 0 and (data := await server.read(2**16)):
            answers.write(data[: int(min(self.left, len(data)))])
            self.left -= len(data)
        if self.hangs:
            await forwarding
        answers.close()
        await forwarding
        await answers.wait_closed()
        self._open -= 1

    async def _forward(self, client: asyncio.StreamReader, commands: asyncio.StreamWriter) -> None:
        while data := await client.read(2**16):
            commands.write(data)
        commands.close()
        await commands.wait_closed()


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings with a server that nobody else uses."""
    with devstore.run(str(tmp_path_factory.mktemp("private"))) as url:
        yield Settings(redis_url=url, store_timeout=40)


@pytest.fixture
async def impatient(private: Settings) -> AsyncIterator[Any]:
    """A client that is connected."""
    async with connect(structs.replace(private, store_timeout=TIMEOUT)) as client:
        yield client


@pytest.fixture
async def client(private: Settings) -> AsyncIterator[Any]:
    async with connect(private) as client:
        yield client


async def test_a_full_server_takes_nothing_and_still_answers(client: Any) -> None:
    await client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreFull), store_errors():
            await client.set("a", 1)
        assert await client.get("a") is None
    finally:
        await client.config_set("maxmemory", 0)


async def test_a_replica_is_unavailable_for_writers(client: Any) -> None:
    await client.replicaof("127.0.0.1", free_port())
    try:
        with pytest.raises(StoreUnavailable), store_errors():
            await client.set("a", 1)
    finally:
        await client.replicaof("NO", "ONE")


async def test_a_replica_that_lost_its_master_may_be_unavailable_for_readers(client: Any) -> None:
    await client.config_set("replica-serve-stale-data", "no")
    await client.replicaof("127.0.0.1", free_port())
    try:
        with pytest.raises(StoreUnavailable), store_errors():
            await client.get("a")
    finally:
        await client.replicaof("NO", "ONE")


async def test_a_server_busy_with_a_script_is_unavailable(client: Any, private: Settings) -> None:
    await client.config_set("lua-time-limit", 10)
    async with connect(private) as other:
        script = asyncio.create_task(other.eval("while true do end", 0))

        async def unavailable() -> bool:
            with contextlib.suppress(StoreUnavailable), store_errors():
                await client.set("a", 1)
                return False
            return True

        await until(unavailable)
        await client.script_kill()
        with contextlib.suppress(exceptions.RedisError):  # that its script was killed
            await script
    await client.set("a", 1)


@pytest.mark.slow
async def test_a_server_that_hangs_is_unavailable_within_the_timeout(
    client: Any, impatient: Any
) -> None:
    pid = (await client.info("server"))["process_id"]
    async with halt(pid):
        with pytest.raises(StoreUnavailable), store_errors():  # while it still hangs
            await impatient.get("a")


async def test_a_command_that_cannot_be_sent_is_the_mistake_of_its_caller_alone(
    client: Any,
) -> None:
    outcomes = await asyncio.gather(
        ask(client, ("SET", "a", "\ud800")), ask(client, ("SET", "b", "1")), return_exceptions=True
    )
    assert isinstance(outcomes[0], UnicodeEncodeError)
    assert outcomes[1] == [True]


async def test_a_command_that_is_refused_is_the_error_of_its_caller_alone(client: Any) -> None:
    await client.set("a", "text")
    outcomes = await asyncio.gather(
        ask(client, ("HGET", "a", "b")), ask(client, ("GET", "a")), return_exceptions=True
    )
    assert isinstance(outcomes[0], StoreCorrupt)
    assert outcomes[1] == [b"text"]


async def test_a_failure_of_many_is_an_error_of_each() -> None:
    nowhere = Settings(redis_url=f"redis://127.0.0.1:{free_port()}", store_timeout=TIMEOUT)
    async with connect(nowhere) as client:
        asking = (ask(client, ("GET", "a")) for _ in range(100))
        errors = await asyncio.gather(*asking, return_exceptions=True)
    assert len(set(map(id, errors))) == 100
    for error in errors:
        assert isinstance(error, StoreUnavailable)
        first = error.__cause__ or error
        assert len(list(traceback.walk_tb(first.__traceback__))) < 10


async def test_a_thousand_who_give_up_mix_up_no_answers(client: Any) -> None:
    await ask(client, *(("SET", f"n{number}", number) for number in range(100)))
    rng = random.Random(1)
    asking = []
    for number in range(2000):
        asking.append(asyncio.create_task(ask(client, ("GET", f"n{number % 100}"))))
        for task in rng.choices(asking[-50:], k=rng.randrange(2)):
            task.cancel()
        if rng.random() < 0.1:
            await asyncio.sleep(0)
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    gave_up = sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert 500 < gave_up < 1500
    for number, outcome in enumerate(outcomes):
        if not isinstance(outcome, asyncio.CancelledError):
            assert outcome == [b"%d" % (number % 100)]


@pytest.mark.parametrize("steps", range(0, 12, 2))
async def test_closing_leaves_no_connection_of_those_who_gave_up(
    client: Any, private: Settings, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    options = limits(private) | {"client_name": "gone"}
    monkeypatch.setattr("gospa.backends.redis.client.limits", lambda _: options)
    async with connect(private) as closing:
        gone = asyncio.create_task(ask(closing, ("GET", "a")))
        for _ in range(steps):
            await asyncio.sleep(0)
        gone.cancel()
    assert "round trip" not in [task.get_name() for task in asyncio.all_tasks()]

    async def none_left() -> bool:
        return "gone" not in [connected["name"] for connected in await client.client_list()]

    await until(none_left)


async def test_a_connection_that_is_cut_gives_nobody_the_answer_of_another(
    private: Settings,
) -> None:
    keys = [f"cut{number:02}" for number in range(20)]
    answer = len(b"$5\r\ncut00\r\n")
    async with connect(private) as client:
        await ask(client, *(("SET", key, key) for key in keys))
    async with Cutter.open(private) as cutter:
        settings = Settings(redis_url=cutter.url, store_timeout=40)
        async with connect(settings) as client:
            for length in range(0, answer * len(keys), 5):
                cutter.left = INFINITE
                await ask(client, ("GET", "cut00"))
                cutter.left = length
                outcomes = await asyncio.gather(
                    *(ask(client, ("GET", key)) for key in keys), return_exceptions=True
                )
                came = length // answer
                assert outcomes[:came] == [[key.encode()] for key in keys[:came]]
                assert {type(outcome) for outcome in outcomes[came:]} == {StoreUnavailable}


async def test_what_came_before_a_server_hung_is_an_answer(private: Settings) -> None:
    async with Cutter.open(private) as cutter:
        impatient = Settings(redis_url=cutter.url, store_timeout=0.5)
        async with connect(impatient) as client:
            await ask(client, ("SET", "hung", "x"))
            cutter.left, cutter.hangs = len(b"$1\r\nx\r\n") + 2, True
            asked = (ask(client, ("GET", "hung")) for _ in range(3))
            first, *others = await asyncio.gather(*asked, return_exceptions=True)
            assert first == [b"x"]
            assert {str(other) for other in others} == {
                "Redis cannot serve this now: no reply within 0.5 s"
            }
            cutter.left = INFINITE
            assert await ask(client, ("GET", "hung")) == [b"x"]


@pytest.mark.slow
async def test_who_waits_while_the_server_hangs_hears_of_it_in_time(
    client: Any, impatient: Any
) -> None:
    pid = (await client.info("server"))["process_id"]
    waiting = []
    async with halt(pid):
        for _ in range(2 * MAX_IN_FLIGHT):  # all lanes, and as many that wait for one
            waiting.append(asyncio.create_task(ask(impatient, ("GET", "a"))))
            for _ in range(5):
                await asyncio.sleep(0)
        async with asyncio.timeout(40):
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    counts = impatient.connection_pool.get_connection_count()
    assert sum(count for count, _ in counts) == MAX_IN_FLIGHT

    async def is_answered() -> bool:
        with contextlib.suppress(StoreUnavailable):
            return await ask(impatient, ("ECHO", "a")) == [b"a"]
        return False

    await until(is_answered)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError("by a server of a cluster"), StoreUnavailable),
        (TimeoutError(), StoreUnavailable),
        (exceptions.TimeoutError(), StoreUnavailable),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), StoreUnavailable),
        (exceptions.ResponseError("MISCONF Redis is configured to save"), StoreUnavailable),
        (exceptions.ResponseError("CLUSTERDOWN The cluster is down"), StoreUnavailable),
        (exceptions.ResponseError("WRONGTYPE Operation against a key"), StoreCorrupt),
        (exceptions.NoPermissionError("this user has no permissions"), StoreDenied),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_says_what_may_be_done(error: Exception, kind: type[StoreError]) -> None:
    with pytest.raises(StoreError) as said, store_errors():
        raise error
    assert said.type is kind


def test_a_mistake_of_ours_is_not_the_stores() -> None:
    with pytest.raises(RuntimeError, match="ours"), store_errors():
        raise RuntimeError("ours")

"""The application behind nginx, with the settings that are shipped for it."""

import asyncio
import collections
import contextlib
import itertools
import os
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from gospa.settings import Settings
from gospa.testing import until
from tests.gospa import wire
from tests.gospa.certificates import make_certificates
from tests.gospa.process.names import Names, name_server
from tests.gospa.process.server import PROJECT, launch_ready
from tests.gospa.process.test_http_floods import abort
from tests.gospa.raw_client import RawClient
from tests.gospa.raw_stream import stream_of
from tests.gospa.serving import free_port

REQUESTS = 100  # that an address may send at once, in tests
# In a test a client can have any address, as if nginx were behind another proxy.
CLAIMED = "set_real_ip_from 127.0.0.0/8; real_ip_header X-Test-IP;"
OWNER = "user root;" if os.geteuid() == 0 else ""  # of the test's folder, where bodies are kept
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
]

# The lines that a path is put into, before their first `/`.
PREFIXED = (
    *("/ws $http_upgrade;", "location / {", "location = /ws {", "location = /ws/stream {"),
    "location /health/ {",
)

_visitors = itertools.count(2)


@dataclass(frozen=True, slots=True)
class Site:
    """How visitors reach it, and how nginx reaches the application."""

    plain: int
    port: int
    tls: ssl.SSLContext
    names: Names
    application: str
    visitor: str = ""  # the address that connections come from
    path: str = ""  # GOSPA_PATH_PREFIX

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.port}"

    def client(self, path: str = "", **options: Any) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(verify=self.tls, local_address=self.visitor)
        return httpx.AsyncClient(base_url=self.origin + path, transport=transport, **options)

    @contextlib.asynccontextmanager
    async def member(self, origin: str) -> AsyncIterator[RawClient]:
        async with open_websocket(
            f"wss://localhost:{self.port}{self.path}/ws",
            ssl=self.tls,
            origin=origin,  # type: ignore[arg-type]
            subprotocols=[Subprotocol("gospa.v1")],
            proxy=None,
        ) as websocket:
            member = RawClient(websocket, bytes(16))
            await member.send(6, member.client)
            await member.receive()
            yield member

    @contextlib.asynccontextmanager
    async def stream(self, **headers: str) -> AsyncIterator[RawClient]:
        async with self.client(self.path) as http, stream_of(http, headers) as stream:
            member = RawClient(stream, bytes(16))
            await member.send(6, member.client)
            await member.receive()
            yield member


@pytest.fixture(scope="module")
def served(shared_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with nginx(shared_settings, tmp_path_factory.mktemp("nginx")) as site:
        yield site


@contextlib.contextmanager
def nginx(settings: Settings, tmp_path: Path, path: str = "", **options: str) -> Iterator[Site]:
    """The application behind nginx, below a path if one is given."""
    make_certificates(tmp_path)
    environment = {"SANIC_PROXIES_COUNT": "1", "GOSPA_PATH_PREFIX": path}
    with (
        launch_ready(settings, tmp_path, env=environment, **options) as server,
        name_server("127.0.0.1") as names,
    ):
        tls = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        site = Site(free_port(), free_port(), tls, names, server.address, path=path)
        text = below((PROJECT / "deploy/nginx.conf").read_text(), path)
        for shipped, ours in {
            # Whatever the machine, what a test sends at once comes faster than these rates.
            "rate=300r/s": "rate=1r/m",
            "rate=20r/s": "rate=1r/m",
            "burst=9000": f"burst={REQUESTS}",
            "app:8000;": f"app.test:{server.address.partition(':')[2]};",
            "resolver 127.0.0.11 valid=5s": f"resolver 127.0.0.1:{names.port} valid=1s",
            "listen 8080;": f"listen 127.0.0.1:{site.plain};",
            "listen 8443 ssl": f"listen 127.0.0.1:{site.port} ssl",
            "/etc/nginx/tls": str(tmp_path),
            "/tmp/nginx": f"{tmp_path}/nginx",  # noqa: S108
            "server_tokens off;": f"server_tokens off; {CLAIMED}",
            "worker_processes auto;": f"worker_processes auto; {OWNER}",
        }.items():
            assert shipped in text
            text = text.replace(shipped, ours)
        (tmp_path / "nginx.conf").write_text(text)
        command = [NGINX or "", "-c", str(tmp_path / "nginx.conf"), "-g", "daemon off;"]
        with (tmp_path / "nginx.log").open("wb") as log:
            process = subprocess.Popen(command, stderr=log)
        try:
            asyncio.run(until(lambda: answers(site)))
            yield site
        finally:
            process.terminate()
            process.wait()


def below(text: str, path: str) -> str:
    """The settings for an application below a path, as docs/deployment.md says."""
    if path:
        page = (PROJECT / "docs/deployment.md").read_text()
        for line in PREFIXED:
            assert f"`{line}`" in page
            assert text.count(line) == 1
            text = text.replace(line, line.replace("/", f"{path}/", 1))
    return text


@pytest.fixture
def site(served: Site) -> Site:
    """What all tests share, for a visitor with limits of their own."""
    return replace(served, visitor=f"127.0.0.{next(_visitors)}")


async def answers(site: Site) -> bool:
    with contextlib.suppress(httpx.TransportError):
        async with httpx.AsyncClient() as client:
            return bool(await client.get(f"http://127.0.0.1:{site.plain}/"))
    return False


async def test_sockets_and_pages_pass_through_it(site: Site) -> None:
    async with site.member(site.origin) as member:
        await member.join("sheet/a")
        assert await member.call("sheet/a", "add") == 1
        response = member.websocket.response
        assert response is not None
        assert response.headers["Set-Cookie"].startswith("__Host-tests_session=")
        assert "Secure" in response.headers["Set-Cookie"]
    async with site.client() as client:
        page = await client.get("/")
    assert page.status_code == 200
    assert page.headers["Strict-Transport-Security"]


async def test_an_event_stream_passes_through_it_as_it_is_written(site: Site) -> None:
    async with site.stream() as member:
        await member.join("sheet/streamed")
        assert await member.call("sheet/streamed", "add") == 1
        assert await member.call("sheet/streamed", "add") == 2
        headers = member.websocket.response.headers
        assert headers["Set-Cookie"].startswith("__Host-tests_session=")
        assert "Secure" in headers["Set-Cookie"]
    with pytest.raises(httpx.HTTPStatusError) as refusal:
        async with site.stream(Origin=f"https://evil.example:{site.port}"):
            pass
    assert refusal.value.response.status_code == 403


async def test_limits_of_sockets_hold_for_streams(site: Site) -> None:
    async with site.client() as client:
        answers = [
            await client.post("/ws/stream", headers={"Origin": "https://evil.example"})
            for _ in range(250)
        ]
    assert {answer.status_code for answer in answers} == {403, 429}


async def test_pages_of_other_sites_may_not_connect(site: Site) -> None:
    for origin in (f"https://evil.example:{site.port}", "https://localhost", "null"):
        with pytest.raises(InvalidStatus) as refusal:
            async with site.member(origin):
                pass
        assert refusal.value.response.status_code == 403


async def test_sockets_open_at_one_spelling_of_their_path_alone(site: Site) -> None:
    for path in (
        "/ws/",
        "/ws//",
        "//ws/",
        "/ws/.",
        "/ws%2f",
        "/ws;x",
        "/wS",
        "/x/../ws/",
        "/ws/?a",
    ):
        assert b" 101 " not in await answer_to(site, path), path
    assert b" 101 " in await answer_to(site, "/ws")


async def test_limits_of_sockets_hold_for_every_path_that_opens_one(site: Site) -> None:
    statuses: collections.Counter[str] = collections.Counter()
    began = time.monotonic()
    for path in ("/ws", "/ws/", "/%77s"):
        for _ in range(230):
            statuses[f"{path} {(await answer_to(site, path)).split()[1].decode()}"] += 1
    opened = sum(count for told, count in statuses.items() if told.endswith(" 101"))
    # The burst, and what the rate of 20 a second allows meanwhile.
    assert opened <= 201 + 20 * (time.monotonic() - began)
    assert not [told for told in statuses if told.startswith("/ws/ ") and told.endswith(" 101")]


@pytest.mark.parametrize("name", ["X-Forwarded-Host", "X-Forwarded-Port", "X-Scheme", "Forwarded"])
async def test_a_page_of_another_site_is_not_ours_by_what_a_client_claims(
    site: Site, name: str
) -> None:
    origin = {"X-Forwarded-Port": "https://localhost", "X-Scheme": f"http://localhost:{site.port}"}
    claim = {"X-Forwarded-Port": "443", "X-Scheme": "http", "Forwarded": "host=evil.test"}
    headers = {"Origin": origin.get(name, "https://evil.test"), name: claim.get(name, "evil.test")}
    assert b" 403 " in await answer_to(site, "/ws", **headers)
    async with site.client(headers=headers) as client:
        assert (await client.post("/whoami")).status_code == 403


async def answer_to(site: Site, path: str, **headers: str) -> bytes:
    """The first line that a handshake at this path is answered with."""
    place = {"Host": f"localhost:{site.port}", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in place.items())
    reader, writer = await asyncio.open_connection(
        "localhost", site.port, ssl=site.tls, local_addr=(site.visitor, 0)
    )
    head = wire.HEAD.replace("/ws", path, 1).replace("Host: {}\r\n", lines)
    writer.write(head.encode())
    answer = await reader.readline()
    await abort(writer)
    return answer


async def test_a_visitors_address_is_known_and_what_it_claims_is_not_believed(site: Site) -> None:
    claims = {
        "X-Forwarded-Host": "evil.test",
        "X-Forwarded-Port": "1",
        "X-Forwarded-Path": "/evil",
        "X-Scheme": "http",
        "X-Forwarded-For": "192.0.2.1",
        "Forwarded": "for=192.0.2.1",
        "X-Real-IP": "192.0.2.1",
    }
    async with site.client(headers=claims) as client:
        known = (await client.get("/whoami")).json()
    assert known == {"address": site.visitor, "scheme": "https", "host": f"localhost:{site.port}"}


async def test_what_is_too_much_is_refused_before_it_arrives(site: Site) -> None:
    async with site.client() as client:
        for size, status in {256 * 1024: 200, 256 * 1024 + 1: 413}.items():
            assert (await client.post("/whoami", content=bytes(size))).status_code == status
    assert (await statuses_of(site, ["192.0.2.3"] * 900))[429] > 0


async def statuses_of(
    site: Site, sources: list[str], path: str = "/ws"
) -> collections.Counter[int]:
    """How requests are answered that come from these addresses, all at once over one connection.

    What is asked one after another may be slower than the limit on a busy machine.
    """
    reader, writer = await asyncio.open_connection(
        "localhost", site.port, ssl=site.tls, local_addr=(site.visitor, 0)
    )
    place = f"GET {path} HTTP/1.1\r\nHost: localhost:{site.port}\r\nX-Test-IP: "
    writer.write("".join(f"{place}{source}\r\n\r\n" for source in sources).encode())
    answers, statuses = b"", list[bytes]()
    async with asyncio.timeout(40):
        while len(statuses) < len(sources):
            received = await reader.read(2**16)
            assert received, answers[-300:]
            answers += received
            statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)
    await abort(writer)
    return collections.Counter(map(int, statuses))


async def test_an_ipv6_network_counts_as_one_client_and_its_neighbours_are_others(
    site: Site,
) -> None:
    flood = [f"2001:db8::{number:x}" for number in range(1, 400)]
    assert (await statuses_of(site, flood))[429] > 0
    neighbours = [f"2001:db8:0:{number:x}::1" for number in range(1, 100)]
    assert set(await statuses_of(site, neighbours)) == {426}


async def test_a_flood_of_one_address_is_refused_and_others_are_not(site: Site) -> None:
    statuses = await statuses_of(site, ["192.0.2.1"] * 2 * REQUESTS, "/missing")
    assert statuses[429] > 0
    assert statuses[404] >= REQUESTS
    assert set(await statuses_of(site, ["192.0.2.2"] * REQUESTS, "/missing")) == {404}


def test_an_office_that_loads_a_page_at_once_is_not_refused() -> None:
    (burst,) = re.findall(r"zone=requests burst=(\d+)", (PROJECT / "deploy/nginx.conf").read_text())
    assert int(burst) >= 300 * 30


async def test_health_is_not_for_the_public_and_plain_http_is_led_to_tls(site: Site) -> None:
    async with site.client() as client:
        for path in ("/health/ready", "/health/metrics"):
            assert (await client.get(path)).status_code == 404
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{site.plain}/a?b=c")
    assert answer.status_code == 308
    assert answer.headers["Location"] == "https://localhost/a?b=c"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost.evil.example"])
async def test_a_request_for_another_name_leads_nowhere(site: Site, host: str) -> None:
    async with httpx.AsyncClient() as client:
        plain = f"http://127.0.0.1:{site.plain}/a"
        answer = await client.get(plain, headers={"Host": host})
    assert answer.headers["Location"] == "https://localhost/a"
    async with site.client(headers={"Host": host}) as client:
        assert (await client.get("/")).status_code == 421


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "localhost:1:evil"])
async def test_the_name_in_a_request_in_absolute_form_is_the_one_in_its_header(
    site: Site, host: str
) -> None:
    for claimed, status in ((host, 421), (f"LOCALHOST:{site.port}", 200)):
        reader, writer = await asyncio.open_connection(
            "localhost", site.port, ssl=site.tls, local_addr=(site.visitor, 0)
        )
        writer.write(f"GET {site.origin}/whoami HTTP/1.1\r\nHost: {claimed}\r\n\r\n".encode())
        assert int((await reader.readline()).split()[1]) == status
        await abort(writer)


async def test_an_application_that_has_another_address_is_found(site: Site) -> None:
    """As of a container that was created again; meanwhile its name may not exist."""
    port = int(site.application.partition(":")[2])
    asked = itertools.count(1)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nnew")
        writer.close()

    async with site.client() as client, site.member(site.origin) as member:

        async def shows(status: int, text: str = "") -> bool:
            visitor = f"198.51.100.{next(asked) % 250}"  # there are many requests
            found = await client.get("/", headers={"X-Test-IP": visitor})
            return (found.status_code, found.text if text else "") == (status, text)

        try:
            site.names.address = None
            await until(lambda: shows(502))
            site.names.address = "127.0.0.3"
            async with await asyncio.start_server(answer, "127.0.0.3", port):
                await until(lambda: shows(200, "new"))
        finally:
            site.names.address = "127.0.0.1"
        await until(lambda: shows(200))
        await member.join("sheet/moved")  # its connection stays where it was
        assert await member.call("sheet/moved", "add") == 1


async def test_an_application_below_a_path_is_reached_there_alone(
    settings: Settings, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        opened = await asyncio.to_thread(stack.enter_context, nginx(settings, tmp_path, "/app"))
        site = replace(opened, visitor=f"127.0.0.{next(_visitors)}")
        async with site.client() as client:
            for path, status in {
                "/app/": 200,
                "/app/gospa/gospa.js": 200,
                "/app": 301,
                "/app/health/ready": 404,
                "/": 404,
                "/ws": 404,
                "/gospa/gospa.js": 404,
            }.items():
                answer = await client.get(path)
                assert answer.status_code == status, path
            assert (await client.get("/app")).headers["Location"] == "/app/"
            known = (await client.post("/app/whoami", headers={"Origin": site.origin})).json()
            assert known["host"] == f"localhost:{site.port}"
            foreign = {"Origin": "https://evil.test"}
            assert (await client.post("/app/whoami", headers=foreign)).status_code == 403
            cookie = (await client.post("/app/log-in/ann")).headers["Set-Cookie"]
            assert cookie.startswith("__Host-tests_session_app=")
            assert "; Path=/;" in cookie
        async with site.member(site.origin) as member:
            await member.join("sheet/a")
            assert await member.call("sheet/a", "add") == 1
        async with site.stream() as member:
            assert (await member.join("sheet/a"))["count"] == 1
        with pytest.raises(InvalidStatus):
            async with site.member("https://evil.test"):
                pass

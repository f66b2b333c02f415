"""The application behind nginx, with the settings that are shipped for it."""

import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from gospa.settings import Settings
from gospa.testing import Member, until
from tests.gospa.certificates import make_certificates
from tests.gospa.process.server import PROJECT, launch
from tests.gospa.serving import free_port

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
]


@dataclass(frozen=True, slots=True)
class Site:
    """How visitors reach it."""

    plain: int
    port: int
    tls: ssl.SSLContext

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.port}"

    def client(self, **options: Any) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(verify=self.tls, local_address="127.0.0.2")
        return httpx.AsyncClient(base_url=self.origin, transport=transport, **options)

    @contextlib.asynccontextmanager
    async def member(self, origin: str) -> AsyncIterator[Member]:
        async with open_websocket(
            f"wss://localhost:{self.port}/ws",
            ssl=self.tls,
            origin=origin,  # type: ignore[arg-type]
            subprotocols=[Subprotocol("gospa.v1")],
            proxy=None,
        ) as websocket:
            member = Member(websocket, bytes(16))
            await member.send(6, member.client)
            await member.receive()
            yield member


@pytest.fixture
async def site(settings: Settings, tmp_path: Path) -> AsyncIterator[Site]:
    make_certificates(tmp_path)
    environment = {"SANIC_PROXIES_COUNT": "1"}
    with launch(settings, tmp_path, env=environment) as server:
        await server.ready()
        tls = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        site = Site(free_port(), free_port(), tls)
        text = (PROJECT / "deploy/nginx.conf").read_text()
        for shipped, ours in {
            "server app:8000;": f"server {server.address};",
            "listen 8080;": f"listen 127.0.0.1:{site.plain};",
            "listen 8443 ssl;": f"listen 127.0.0.1:{site.port} ssl;",
            "/etc/nginx/tls": str(tmp_path),
            "/tmp/nginx": f"{tmp_path}/nginx",  # noqa: S108
        }.items():
            assert shipped in text
            text = text.replace(shipped, ours)
        (tmp_path / "nginx.conf").write_text(text)
        command = [NGINX or "", "-c", str(tmp_path / "nginx.conf"), "-g", "daemon off;"]
        with (tmp_path / "nginx.log").open("wb") as log:
            nginx = subprocess.Popen(command, stderr=log)  # noqa: ASYNC220
        try:
            await until(lambda: answers(site))
            yield site
        finally:
            nginx.terminate()
            nginx.wait()


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
        assert response.headers["Set-Cookie"].startswith("__Host-session=")
        assert "Secure" in response.headers["Set-Cookie"]
    async with site.client() as client:
        page = await client.get("/")
    assert page.status_code == 200
    assert page.headers["Strict-Transport-Security"]


async def test_pages_of_other_sites_may_not_connect(site: Site) -> None:
    for origin in (f"https://evil.example:{site.port}", "https://localhost", "null"):
        with pytest.raises(InvalidStatus) as refusal:
            async with site.member(origin):
                pass
        assert refusal.value.response.status_code == 403


async def test_a_visitors_address_is_known_and_what_it_claims_is_not_believed(site: Site) -> None:
    claims = {
        "X-Forwarded-For": "192.0.2.1",
        "Forwarded": "for=192.0.2.1",
        "X-Real-IP": "192.0.2.1",
    }
    async with site.client(headers=claims) as client:
        known = (await client.get("/whoami")).json()
    assert known == {"address": "127.0.0.2", "scheme": "https", "host": f"localhost:{site.port}"}


async def test_what_is_too_much_is_refused_before_it_arrives(site: Site) -> None:
    async with site.client() as client:
        assert (await client.post("/whoami", content=bytes(2 * 2**20))).status_code == 413
        statuses = [(await client.get("/ws")).status_code for _ in range(600)]
    assert 429 in statuses


async def test_health_is_not_for_the_public_and_plain_http_is_led_to_tls(site: Site) -> None:
    async with site.client() as client:
        for path in ("/health/ready", "/health/metrics"):
            assert (await client.get(path)).status_code == 404
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{site.plain}/a?b=c")
    assert answer.status_code == 308
    assert answer.headers["Location"] == "https://127.0.0.1/a?b=c"

"""Under which names the application answers, as GOSPA_ALLOWED_HOSTS says."""

import asyncio

import httpx
import pytest

from gospa.environment import load_settings
from gospa.settings import SettingsError
from gospa.testing import OpenApp
from tests.gospa import wire

ALLOWED = "app.example, .team.example,localhost , [::1]"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("app.example", 404), ("app.example:8000", 404), ("APP.example.", 404)),
        *(("localhost:1", 404), ("[::1]:8000", 404), ("a.team.example", 404)),
        *(("a.b.team.example", 404), ("team.example", 421), ("evil.example", 421)),
        *(("app.example.evil.example", 421), ("evilapp.example", 421), ("127.0.0.1", 421)),
        *(("evilteam.example", 421), ("", 421), ("app.example@evil.example", 421)),
    ],
)
async def test_only_the_names_that_are_set_are_ours(
    open_app: OpenApp, host: str, status: int
) -> None:
    async with open_app(allowed_hosts=ALLOWED) as site, site.http() as client:
        answer = await client.get("/nothing", headers={"Host": host})
    assert answer.status_code == status


async def test_a_name_that_another_site_gave_this_machine_opens_no_socket(
    open_app: OpenApp,
) -> None:
    """DNS rebinding: the page's origin is the host that it asks."""
    async with open_app(allowed_hosts="127.0.0.1") as (_, address):
        rebound = f"evil.example:{address.partition(':')[2]}"
        origin = f"Host: {rebound}\r\nOrigin: http://{rebound}\r\n"
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(wire.HEAD.replace("Host: {}\r\n", origin).encode())
        assert b" 421 " in await reader.readline()
        writer.close()


async def test_probes_of_health_ask_any_address(open_app: OpenApp) -> None:
    async with open_app(allowed_hosts="app.example") as site, site.http() as client:
        assert (await client.get("/health/live")).status_code == 200


async def test_unless_it_is_set_every_name_is_ours(http: httpx.AsyncClient) -> None:
    assert (await http.get("/nothing", headers={"Host": "any.example"})).status_code == 404


@pytest.mark.parametrize(
    "setting", ["https://a", "a/b", "*", "a b", "a,,b", ".", "a:80", "bücher.example"]
)
def test_what_is_no_host_cannot_be_allowed(setting: str) -> None:
    with pytest.raises(SettingsError, match="GOSPA_ALLOWED_HOSTS"):
        load_settings({"GOSPA_ALLOWED_HOSTS": setting})

"""Each refusal at the door is counted by its reason and logged, a flood of them in few lines."""

import ast
import re
import resource
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from sanic.log import logger
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gospa import trouble
from gospa.settings import Settings
from gospa.stats import REASONS, Stats
from gospa.testing import OpenApp, Site, until
from tests.gospa.process.server import PROJECT, launch
from tests.gospa.raw_client import RawClient, raw_client


@pytest.fixture(autouse=True)
def _log() -> None:
    logger.propagate = True  # pytest sees what reaches the root


async def post_from_elsewhere(site: Site) -> None:
    async with site.http() as client:
        answer = await client.post("/ws", headers={"Origin": "https://elsewhere.example"})
        assert answer.status_code == 403


async def post_from_a_page_elsewhere(site: Site) -> None:
    async with site.http() as client:
        answer = await client.post("/ws", headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 403


async def connect_from_elsewhere(site: Site) -> None:
    with pytest.raises(InvalidStatus):
        async with raw_client(site, Origin="https://elsewhere.example"):
            pass


async def ask_for_another_host(site: Site) -> None:
    async with site.http() as client:
        assert (await client.get("/ws", headers={"Host": "other"})).status_code == 421


async def connect_without_a_log_in(site: Site) -> None:
    with pytest.raises(ConnectionClosed, match="log in first"):
        async with raw_client(site):
            pass


async def begin_a_session_without_a_log_in(site: Site) -> None:
    async with site.http() as client:
        assert (await client.post("/ws")).status_code == 401


async def get_the_sockets_path(site: Site) -> None:
    async with site.http() as client:
        assert (await client.get("/ws")).status_code == 426


async def connect_often(site: Site) -> None:
    async with site.http() as client:
        answers = [await client.post("/ws") for _ in range(30)]
    assert answers[-1].status_code == 429


async def connect_twice(site: Site) -> None:
    async with raw_client(site) as member:
        with pytest.raises(InvalidStatus):
            async with raw_client(site, cookie=member.cookie):
                pass


async def send(site: Site, *messages: Any) -> None:
    async with RawClient.connect(site.address, hello=False) as member:
        with suppress(ConnectionClosed):
            for message in messages:
                await member.websocket.send(message)
        await member.websocket.wait_closed()


async def send_text(site: Site) -> None:
    await send(site, "text")


async def send_nonsense(site: Site) -> None:
    await send(site, b"\xc1")


async def send_no_hello(site: Site) -> None:
    await send(site, b"\x91\x05")


async def send_a_flood(site: Site) -> None:
    await send(site, *([b"\x91\x05"] * 100))


Act = Callable[[Site], Awaitable[None]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "settings_", "reason"),
    [
        (post_from_elsewhere, {}, "foreign_origin"),
        (post_from_a_page_elsewhere, {}, "foreign_origin"),
        (connect_from_elsewhere, {}, "foreign_origin"),
        (ask_for_another_host, {"allowed_hosts": "127.0.0.1"}, "foreign_host"),
        (connect_without_a_log_in, {"sockets_need_login": True}, "not_logged_in"),
        (begin_a_session_without_a_log_in, {"sockets_need_login": True}, "not_logged_in"),
        (get_the_sockets_path, {}, "bad_handshake"),
        (connect_often, {"handshakes_per_second": 1.0}, "handshakes_of_address"),
        (connect_twice, {"connections_per_address": 1}, "sockets_of_address"),
        (connect_twice, {"connections_per_session": 1}, "sockets_of_session"),
        (send_text, {}, "malformed"),
        (send_nonsense, {}, "malformed"),
        (send_no_hello, {}, "no_hello"),
        (send_a_flood, {"frames_per_second": 1.0}, "too_fast"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_refusal_is_counted_and_logged(  # noqa: PLR0913, PLR0917
    open_app: OpenApp,
    stats: Stats,
    caplog: pytest.LogCaptureFixture,
    act: Act,
    settings_: dict[str, Any],
    reason: str,
) -> None:
    async with open_app(**settings_) as site:
        await act(site)
        assert stats.of(reason) >= 1
        parts = (re.escape(line).replace("…", ".*") for line in documented()[reason])
        assert re.search(rf"({'|'.join(parts)}).*\[{reason}]", caplog.text)
        assert f"[{reason}]" in caplog.text
        others = [each for each in REASONS if f"[{each}]" in caplog.text and each != reason]
        assert not set(others) - {"no_hello", "limit_frames"}


def test_a_flood_of_refusals_is_counted_and_not_logged_line_by_line(
    stats: Stats, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("gospa.trouble.monotonic", lambda: now)
    for _ in range(1000):
        trouble.report("too_fast", "refused %s", "a")
        trouble.report("slow_action", "slow", each="b")
        trouble.warn_seldom("full", "%s is full", "a")
    assert stats.of("too_fast") == 1000
    assert [record.getMessage() for record in caplog.records] == [
        "refused a [too_fast]",
        "slow [slow_action]",
        "a is full",
    ]
    now += trouble.INTERVAL
    trouble.report("too_fast", "refused %s", "c")
    trouble.report("slow_action", "slow", each="d")
    trouble.warn_seldom("full", "%s is full", "b")
    assert [record.getMessage() for record in caplog.records[3:]] == [
        "refused c [too_fast] (999 more of these since the last line)",
        "slow [slow_action]",
        "b is full (999 more of these since the last line)",
    ]


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.slow
async def test_a_worker_without_descriptors_says_so_and_accepts_again(
    settings: Settings, tmp_path: Path
) -> None:
    with launch(settings, tmp_path, "--workers=1") as server:
        await server.ready()
        pid = await server.pid()
        host, port = server.address.split(":")
        place = (host, int(port))
        used = descriptors(pid)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 8, used + 8))
        async with AsyncExitStack() as stack:
            member = await stack.enter_async_context(RawClient.connect(server.address))
            await member.join("sheet/a")
            for _ in range(20):
                stack.enter_context(socket.create_connection(place))
            await until(lambda: "[descriptors]" in server.log)
            assert "raise the limit of open files" in server.log
            assert await member.call("sheet/a", "add") == 1  # who is in stays in
        async with RawClient.connect(server.address) as member:
            assert (await member.join("sheet/a"))["count"] == 1
        server.assert_stops()


def documented() -> dict[str, list[str]]:
    """The lines in the log for each reason, as the page for operators has it."""
    page = (PROJECT / "docs/deployment.md").read_text(encoding="utf-8")
    _, table = page.split("| reason | line in the log |", 1)
    rows = [line.split(" | ") for line in table.split("\n\n")[0].splitlines()[2:]]
    return {
        reason: row[1].split("; or: ") for row in rows for reason in re.findall("`(\\w+)`", row[0])
    }


def texts() -> set[str]:
    """All texts in the engine's code, with … for what is filled in."""
    found = set()
    for path in (PROJECT / "gospa").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
                found.add("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return {re.sub(r"%[sdr]|%\.\df|\{\}", "…", text) for text in found}


def test_the_page_for_operators_has_each_reason_with_its_line() -> None:
    lines, known = documented(), texts()
    assert set(lines) == set(REASONS)
    for reason, told in lines.items():
        if reason.startswith("store_") and not (PROJECT / "gospa/backends/redis").is_dir():
            continue
        for each in told:
            said = each.removeprefix("Redis cannot serve this now: ") if ";" in each else each
            assert said in known, reason

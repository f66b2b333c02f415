"""The example `examples/auction`: a product laid over a generated project, on four workers."""

import asyncio
import contextlib
import hashlib
import hmac
import importlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, expect

from tests.baking import CHECKS, DEFAULT, ROOT, TYPES, Matrix, assert_succeeds, name_of
from tests.browsing import START_TIMEOUT, TIMEOUT, Store, serving

OVERLAY = ROOT / "examples/auction"
SECRET = b"example"
WORKERS = 4
TRIES = 30  # bids of each client
KEPT = 20  # bids that a room shows


class House(NamedTuple):
    """The served product, and its database."""

    address: str
    database: Path

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement on the database."""
        opened = sqlite3.connect(self.database, timeout=TIMEOUT)
        with contextlib.closing(opened), opened:
            return opened.execute(statement, values).fetchall()

    def begin(self, name: str) -> None:
        """Begin an auction that is open for an hour."""
        begin = "INSERT INTO auctions (name, item, closes_at) VALUES (?, ?, ?)"
        self.rows(begin, name, f"A {name}", time.time() + 3600)

    def end(self, name: str) -> None:
        """Have the time of an auction be over."""
        self.rows("UPDATE auctions SET closes_at = 0 WHERE name = ?", name)

    def accepted(self, name: str) -> list[tuple[str, int]]:
        """The bids in the order in which the database accepted them."""
        find = "SELECT bidder, amount FROM bids WHERE auction = ? ORDER BY number"
        return [(bidder, amount) for bidder, amount in self.rows(find, name)]

    def log_in(self, user: str) -> str:
        """Log in; returns the Cookie header of the session."""
        jar = CookieJar()
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        form = urllib.parse.urlencode({"name": user}).encode()
        with browser.open(f"{self.address}/account/log-in", form, timeout=TIMEOUT):
            return "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)

    def pay(self, **payment: object) -> None:
        """Post to the webhook, as the payment service does."""
        body = json.dumps(payment).encode()
        headers = {"X-Signature": hmac.new(SECRET, body, hashlib.sha256).hexdigest()}
        request = urllib.request.Request(f"{self.address}/payments", body, headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=TIMEOUT):  # noqa: S310
            pass


@pytest.fixture(scope="module")
def product(matrix: Matrix, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that keeps everything in Redis, with the example laid over it."""
    answers = {**DEFAULT, "state_backend": "redis", "session_backend": "redis"}
    path = tmp_path_factory.mktemp("auction") / "project"
    shutil.copytree(matrix[name_of(answers)].path, path)
    shutil.copytree(OVERLAY, path, dirs_exist_ok=True)
    (dependency,) = re.findall(r'"aiosqlite.*?",', (OVERLAY.parent / "README.md").read_text())
    pyproject = path / "pyproject.toml"
    before, first, after = pyproject.read_text().partition("\ndependencies = [\n")
    assert first
    pyproject.write_text(f"{before}{first}    {dependency}\n{after}")
    assert_succeeds(TYPES, path)
    return path


@pytest.fixture(scope="module")
def house(product: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The product, served with a Redis and a database of these tests."""
    folder = tmp_path_factory.mktemp("stores")
    store, database = Store(folder), folder / "auctions.sqlite3"
    environment = {
        "REDIS_URL": store.url,
        "DATABASE": str(database),
        "PAYMENT_SECRET": SECRET.decode(),
    }
    try:
        with serving(product, WORKERS, environment) as address:
            yield House(address, database)
    finally:
        store.kill()


@pytest.fixture
def client(product: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module `gospa.client` of the project."""
    monkeypatch.syspath_prepend(str(product))
    yield importlib.import_module("gospa.client")
    for name in [name for name in sys.modules if name.partition(".")[0] == "gospa"]:
        del sys.modules[name]


@contextlib.asynccontextmanager
async def on_other_workers(client: Any, house: House, *users: str) -> AsyncIterator[list[Any]]:
    """Clients of these users, each on a worker of its own."""
    url = f"ws{house.address.removeprefix('http')}/ws"
    async with contextlib.AsyncExitStack() as stack:
        found: dict[int, Any] = {}
        for user in users:
            cookie = await asyncio.to_thread(house.log_in, user)
            async with asyncio.timeout(START_TIMEOUT):
                while True:
                    connection = client.connect(url, cookie=cookie, patience=TIMEOUT)
                    opened = await stack.enter_async_context(connection)
                    if found.setdefault(opened.server["pid"], opened) is opened:
                        break
        yield list(found.values())


async def bid(room: Any, refused: type[Exception]) -> list[int]:
    """Bid more than what the client sees, again and again; returns what was accepted."""
    accepted = []
    for _ in range(TRIES):
        amount = room.state["highest"] + random.randint(1, 5)  # noqa: S311
        with contextlib.suppress(refused):
            await room.run("bid", amount=amount)
            accepted.append(amount)
    return accepted


@pytest.mark.parametrize("check", CHECKS)
def test_passes(product: Path, check: str) -> None:
    assert_succeeds(CHECKS[check], product)


def test_passes_the_check_of_types_of_its_page(product: Path, node_modules: Path) -> None:
    compiler = str(node_modules / "typescript/bin/tsc")
    assert_succeeds(("node", compiler, "-p", "jsconfig.json"), product)


def test_passes_its_own_tests(product: Path) -> None:
    assert_succeeds((sys.executable, "-m", "pytest", "-q", "tests/test_auction.py"), product)


async def test_bids_on_three_workers_count_once_though_one_is_killed(
    house: House, client: Any
) -> None:
    house.begin("lamp")
    users = ("ann", "bob", "eve")
    async with on_other_workers(client, house, *users) as clients:
        rooms = [await each.join("auction/lamp") for each in clients]
        async with asyncio.TaskGroup() as group:
            bidding = [group.create_task(bid(room, client.Refused)) for room in rooms]
            await rooms[0].until(lambda state: len(state["bids"]) >= KEPT // 2)
            killed = clients[1].server["pid"]
            os.kill(killed, signal.SIGKILL)
        answered = [each.result() for each in bidding]
        with pytest.raises(client.Refused):  # by another worker
            await rooms[1].run("bid", amount=1)
        assert clients[1].server["pid"] != killed

        accepted = house.accepted("lamp")
        amounts = [amount for _, amount in accepted]
        assert amounts == sorted(set(amounts))
        assert sorted(accepted) == sorted(
            (user, amount) for user, mine in zip(users, answered, strict=True) for amount in mine
        )
        for room in rooms:
            state = await room.until(lambda state: state["highest"] == amounts[-1])
            assert state["bidder"] == accepted[-1][0]
            shown = [(each["bidder"], each["amount"]) for each in state["bids"].values()]
            assert shown[-KEPT:] == accepted[-KEPT:]


async def test_an_auction_closes_once_and_all_see_the_payment(house: House, client: Any) -> None:
    house.begin("vase")
    house.begin("chair")
    async with on_other_workers(client, house, "ann", "ann", "bob") as clients:
        rooms = [await each.join("auction/vase") for each in clients]
        inboxes = [await each.join("inbox") for each in clients[:2]]
        await rooms[0].run("bid", amount=7)
        await rooms[2].call("say", text="too much for me")
        house.end("vase")
        for inbox in inboxes:
            assert (await inbox.next_event("notice")).payload == "vase: you won"
        for _ in range(2):
            await asyncio.to_thread(house.pay, id="p1", auction="vase", amount=7)
        for room in rooms:
            state = await room.until(lambda state: state["paid"])
            said = [line["text"] for line in state["chat"].values()]
            assert said == ["too much for me", "sold to ann for 7", "paid"]

        won = "INSERT INTO bids (auction, bidder, amount, command) VALUES ('chair', 'ann', 3, 'x')"
        house.rows(won)
        house.end("chair")
        for inbox in inboxes:  # and no second notice of the vase before
            assert (await inbox.next_event("notice")).payload == "chair: you won"
        chair = await clients[2].join("auction/chair")
        assert [each["amount"] for each in chair.state["bids"].values()] == [3]


async def test_a_user_is_present_once(house: House, client: Any) -> None:
    house.begin("sofa")
    async with on_other_workers(client, house, "ann", "ann", "bob") as clients:
        for each in clients:
            await each.join("auction/sofa")
            await each.join("auction/sofa#members")
        members = await clients[0].join("auction/sofa#members")
        await members.until(lambda state: state["count"] == 3)
        people = [(each["user"], each["tabs"]) for each in members.state["people"].values()]
        assert people == [("ann", 2), ("bob", 1)]


def test_two_browsers_bid_on_the_page_and_a_visitor_watches(house: House, browser: Browser) -> None:
    with contextlib.ExitStack() as stack:
        contexts = [browser.new_context(base_url=house.address) for _ in range(3)]
        pages = [stack.enter_context(context).new_page() for context in contexts]
        for page, user in zip(pages, ("ann", "bob"), strict=False):
            page.goto("/account")
            page.fill("#name", user)
            page.get_by_role("button", name="Log in").click()
            expect(page.locator("#user-name")).to_have_text(user)
        pages[0].goto("/")
        pages[0].fill("[name=item]", "A table")
        pages[0].fill("[name=name]", "table")
        pages[0].get_by_role("button", name="Sell").click()
        for page in pages[1:]:
            page.goto("/#table")
        for page, amount in zip(pages, (5, 6), strict=False):
            expect(page.locator("h1")).to_have_text("A table")
            page.fill("[name=amount]", str(amount))
            page.get_by_role("button", name="Bid").click()
            for shown in pages:
                expect(shown.locator("#standing")).to_contain_text(f": {amount}, open")
        expect(pages[0].locator("#message")).to_have_text("table: someone bid 6")
        expect(pages[2].locator("#here")).to_have_text("a visitor, ann, bob")
        expect(pages[2].locator("#message")).to_be_empty()

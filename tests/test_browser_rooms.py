"""Rooms of a project's own in a real browser: commands, access, collections and people."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.baking import bake
from tests.browsing import Relay, Site, serving, wait_for

ROOM = '''"""A shop whose members may be turned away."""

import asyncio

from msgspec import Struct

from gospa import Access, Caller, Event, Items, Member, Room, RoomError, Session, State
from gospa import action, command

RUNS: list[str] = []
OPEN = asyncio.Event()


class Sale(Struct):
    item: str
    by: str


class ShopState(State):
    count: int = 0
    sold: Items[Sale] = Items()


class Shop(Room[ShopState]):
    pattern = "shop/<name>"
    presence = True
    hello = Event(str)
    notice = Event(str, server=True)

    async def authorize(self, session: Session) -> Access:
        return Access[session.get("access", "FULL")]

    @action
    def add(self, state: ShopState, amount: int) -> None:
        state.count += amount

    @action
    def sell(self, state: ShopState, member: Member, item: str, id: str | None = None) -> str:
        return state.sold.append(Sale(item, member.id), id=id)

    @command
    async def buy(self, caller: Caller, item: str) -> list[str]:
        if item == "nothing":
            raise RoomError("sold out")
        RUNS.append(caller.id)
        await caller.call(Shop.sell, item)
        await OPEN.wait()
        return RUNS
'''
VIEW = '''"""What the owner of the shop may do."""

from sanic import Blueprint, HTTPResponse, Request
from sanic.response import empty, json

from gospa import rooms_of, session_of
from rooms.shop import OPEN, RUNS, Shop

blueprint = Blueprint("shop")


@blueprint.post("/access/<access>")
async def allow(request: Request, access: str) -> HTTPResponse:
    (await session_of(request))["access"] = access
    return empty()


@blueprint.post("/kick/<member>")
async def kick(request: Request, member: str) -> HTTPResponse:
    await rooms_of(request).kick("shop/a", member=member)
    return empty()


@blueprint.post("/notice")
async def notice(request: Request) -> HTTPResponse:
    await rooms_of(request).send(Shop.notice, "shop/a", "closing")
    return empty()


@blueprint.post("/open/<is_open>")
async def open_shop(_: Request, is_open: str) -> HTTPResponse:
    RUNS.clear()
    OPEN.set() if is_open == "yes" else OPEN.clear()
    return empty()


@blueprint.get("/runs")
async def runs(_: Request) -> HTTPResponse:
    return json(RUNS)
'''
ENTER = """async (name) => {
  const { connect } = await import('/gospa/gospa.js');
  const client = connect('/ws', { persist: true });
  const shop = client.room(`shop/${name}`), other = client.room('shop/other');
  const told = [], errors = [], answers = [], heard = [];
  const post = (path) => fetch(path, { method: 'POST' });
  client.on('error', (error) => errors.push(error.code));
  shop.on('$status', (status) => told.push([status, shop.access]));
  for (const event of ['hello', 'notice']) {
    shop.on(event, (payload, sender) => heard.push([payload, sender]));
  }
  const tell = (work) => void work.then(
    (result) => answers.push(result), (error) => answers.push(error.code));
  shop.optimistic('add', (state, { amount }) => { state.count += amount; });
  shop.optimistic('sell', (state, { id, item }) => { state.sold.set(id, { item, by: 'me' }); });
  Object.assign(window, { client, shop, other, told, errors, answers, heard, post, tell });
}"""


@pytest.fixture(scope="module")
def site(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    project = bake(template, tmp_path_factory.mktemp("site"))
    (project / "rooms/shop.py").write_text(ROOM, encoding="utf-8")
    (project / "views/shop.py").write_text(VIEW, encoding="utf-8")
    rooms, views = project / "rooms/__init__.py", project / "views/__init__.py"
    rooms.write_text("from rooms.shop import Shop\n\nROOMS = [Shop]\n", encoding="utf-8")
    text = views.read_text(encoding="utf-8").replace("import ", "import shop, ", 1)
    views.write_text(text.replace("[", "[shop.blueprint, ", 1), encoding="utf-8")
    with serving(project, 1, {"GOSPA_SESSION_CHECK_INTERVAL": "0.5"}) as address:
        yield Site(address, 1)


@pytest.fixture
def relay(site: Site) -> Iterator[Relay]:
    with Relay(site.address) as relay:
        yield relay


def enter(visitor: BrowserContext, name: str, address: str = "") -> Page:
    """A page in the shop of that name."""
    page = visitor.new_page()
    page.goto(f"{address}/health/live")
    load(page, name)
    return page


def load(page: Page, name: str) -> None:
    page.evaluate(ENTER, name)
    sees(page, "shop.status === 'joined' && other.status === 'joined'")


def sees(page: Page, condition: str) -> None:
    wait_for(lambda: bool(page.evaluate(condition)))


def runs(page: Page) -> list[str]:
    """The ids of the commands that were run, in the order in which they began."""
    found: list[str] = page.evaluate("fetch('/runs').then((answer) => answer.json())")
    return found


def test_a_command_that_was_cut_off_runs_again_and_changes_the_room_once(
    visitor: BrowserContext, relay: Relay
) -> None:
    page = enter(visitor, "cut", relay.address)
    page.evaluate("post('/open/no')")
    page.evaluate("tell(shop.run('buy', { item: 'tea' }))")
    sees(page, "shop.state.sold.size === 1 && client.pending === 1")
    relay.cut()
    sees(page, "client.status !== 'online'")
    relay.mend()
    page.evaluate("dispatchEvent(new Event('online'))")
    wait_for(lambda: len(runs(page)) >= 2)
    page.reload()
    load(page, "cut")
    wait_for(lambda: len(runs(page)) >= 3)
    assert len(set(runs(page))) == 1
    assert page.evaluate("[client.pending, shop.state.sold.size]") == [1, 1]
    page.evaluate("tell(shop.run('buy', { item: 'nothing' }))")
    sees(page, "answers.length === 1")
    page.evaluate("tell(shop.call('add', { amount: 2 }))")
    sees(page, "answers.length === 2")  # no mutation waits for a command
    assert page.evaluate("[answers, client.pending, shop.state.count]") == [["refused", None], 1, 2]
    page.evaluate("post('/open/yes')")
    sees(page, "client.pending === 0")
    page.evaluate("tell(shop.run('buy', { item: 'milk' }))")
    sees(page, "answers.length === 3")
    sees(page, "[...shop.state.sold.values()].map(({ item }) => item).join() === 'tea,milk'")


def test_an_item_is_shown_at_once_and_is_the_same_when_it_is_confirmed(
    visitor: BrowserContext,
) -> None:
    one, other = enter(visitor, "items"), enter(visitor, "items")
    shown = one.evaluate("""() => {
      const id = shop.newId('sold');
      tell(shop.call('sell', { id, item: 'tea' }));
      return [shop.state.sold.get(id).item, [...shop.state.sold.keys()][0] === id];
    }""")
    assert shown == ["tea", True]
    for page in (one, other):
        sees(
            page, "[...shop.state.sold.values()][0]?.by === " + repr(one.evaluate("client.member"))
        )
    assert one.evaluate("answers[0] === [...shop.state.sold.keys()][0]")
    one.evaluate("Object.assign(window, { before: shop.state.sold })")
    other.evaluate("tell(shop.call('add', { amount: 1 }))")
    sees(one, "shop.state.count === 1")
    assert one.evaluate("shop.state.sold === before")


def test_access_that_changes_is_followed_room_by_room(visitor: BrowserContext) -> None:
    page = enter(visitor, "a")
    page.evaluate("tell(shop.call('add', { amount: 3 }))")
    sees(page, "answers.length === 1")
    page.evaluate("post('/access/READ')")
    sees(page, "shop.access === 'read'")
    page.evaluate("tell(shop.call('add', { amount: 1 }))")
    sees(page, "answers.length === 2")
    assert page.evaluate("[answers[1], shop.state.count]") == ["unauthorized", 3]
    page.evaluate("shop.send('hello', 'x')")
    sees(page, "errors.length === 1")
    assert page.evaluate("[shop.status, shop.state.count]") == ["joined", 3]
    page.evaluate("post('/access/FULL')")
    sees(page, "shop.access === 'full'")
    page.evaluate("post('/kick/' + client.member)")
    sees(page, "shop.status === 'kicked'")
    assert page.evaluate("[shop.state, shop.access, other.status]") == [{}, None, "joined"]
    page.evaluate("tell(shop.call('add', { amount: 1 }))")
    sees(page, "answers[2] === 'kicked'")
    page.evaluate("post('/access/NONE')")
    sees(page, "other.status === 'unauthorized'")
    assert page.evaluate("[client.status, other.state]") == ["online", {}]
    assert page.evaluate("told.slice(-3)") == [
        ["joined", "read"],
        ["joined", "full"],
        ["kicked", None],
    ]


def test_events_say_who_sent_them_and_people_are_counted(visitor: BrowserContext) -> None:
    one, other = enter(visitor, "a"), enter(visitor, "a")
    for page in (one, other):
        page.evaluate("void (window.people = shop.members({ name: 'Ann' }))")
    for page in (one, other):
        sees(page, "people.state.count === 2 && people.state.people.size === 2")
    assert one.evaluate("people.state.people.get(client.member)") == {
        "user": None,
        "info": {},
        "claims": {"name": "Ann"},
        "tabs": 1,
    }
    one.evaluate("shop.send('hello', 'hi')")
    sees(other, "heard.length === 1")
    member = one.evaluate("client.member")
    assert other.evaluate("heard[0]") == ["hi", {"id": member, "user": None, "info": {}}]
    one.evaluate("post('/notice')")
    sees(other, "heard.length === 2")
    assert other.evaluate("heard[1]") == ["closing", None]
    one.close()
    sees(other, "people.state.count === 1")

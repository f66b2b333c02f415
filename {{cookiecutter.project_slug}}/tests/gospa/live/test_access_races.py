"""Answers of `authorize` that come late never undo newer ones."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gospa import Access, Room, Rooms, Session, State, action
from gospa.sessions.record import SessionRecord
from gospa.testing import OpenApp, Refused, Site, until
from tests.gospa.raw_client import raw_client

VAULT = "vault"


class Question:
    """A call of `authorize`, which is answered when the test says so."""

    def __init__(self, session: Session) -> None:
        self.role = session.get("role", "owner")
        self.answer: asyncio.Future[Access] = asyncio.get_running_loop().create_future()


class VaultState(State):
    opened: int = 0


class Vault(Room[VaultState]):
    pattern = VAULT

    async def authorize(self, session: Session) -> Access:
        question = Question(session)
        self.app.ctx.questions.append(question)
        return await question.answer

    @action
    def open(self, state: VaultState) -> None:
        state.opened += 1


@pytest.fixture
async def site(open_app: OpenApp) -> AsyncIterator[Site]:
    async with open_app([Vault], session_check_interval=3600) as site:
        site.app.ctx.questions = []
        yield site


@pytest.fixture
def questions(site: Site) -> list[Question]:
    found: list[Question] = site.app.ctx.questions
    return found


async def asked(questions: list[Question], number: int) -> Question:
    await until(lambda: len(questions) >= number)
    return questions[number - 1]


async def test_an_answer_that_comes_late_does_not_undo_a_newer_one(
    site: Site, rooms: Rooms, questions: list[Question]
) -> None:
    async with raw_client(site, user="ann") as ann:
        joining = asyncio.create_task(ann.join(VAULT))
        for number in (1, 2):
            (await asked(questions, number)).answer.set_result(Access.FULL)
        await joining
        await rooms.reauthorize(VAULT)
        late = await asked(questions, 3)
        await rooms.reauthorize(VAULT)
        (await asked(questions, 4)).answer.set_result(Access.READ)
        await ann.until(lambda message: message[0] == 8 and message[6] == "read")
        late.answer.set_result(Access.FULL)
        with pytest.raises(Refused, match="you may only read"):
            await ann.call(VAULT, "open")


async def test_who_joins_while_the_session_changes_is_asked_about_the_new_one(
    site: Site, questions: list[Question]
) -> None:
    cookie = await site.log_in("ann", role="owner")
    async with raw_client(site, cookie=cookie) as ann:
        joining = asyncio.create_task(ann.join(VAULT))
        first = await asked(questions, 1)
        record = await site.app.ctx.sessions.load(cookie.partition("=")[2])
        record.session["role"] = "guest"
        await site.app.ctx.sessions.save(record)
        (connection,) = site.app.ctx.connections
        connection.requests.follow_session(record.session)
        first.answer.set_result(Access.FULL)
        second = await asked(questions, 2)  # as nobody here had listened for kicks
        second.answer.set_result(Access.FULL)
        third = await asked(questions, 3)
        assert third.role == "guest"
        third.answer.set_result(Access.READ)
        await joining
        assert ann.access[VAULT] == "read"


async def test_a_session_that_was_read_before_a_newer_one_decides_nothing_after_it(
    site: Site, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie, sessions, read = await site.log_in("ann"), site.app.ctx.sessions, asyncio.Event()
    find, others_are_read = sessions.find, asyncio.Event()

    async def find_late(identity: str) -> SessionRecord | None:
        record: SessionRecord | None = await find(identity)
        if not read.is_set():
            read.set()
            await others_are_read.wait()
        return record

    async with raw_client(site, cookie=cookie) as ann:
        joining = asyncio.create_task(ann.join(VAULT))
        for number in (1, 2):
            (await asked(questions, number)).answer.set_result(Access.FULL)
        await joining
        record = await sessions.load(cookie.partition("=")[2])
        monkeypatch.setattr(sessions, "find", find_late)
        site.app.ctx.session_watch.on_gap()
        await read.wait()
        record.session["role"] = "guest"
        await sessions.save(record)
        await site.app.ctx.rooms.reauthorize(VAULT)
        (await asked(questions, 3)).answer.set_result(Access.READ)
        others_are_read.set()
        await ann.until(lambda message: message[0] == 8 and message[6] == "read")
        site.app.ctx.session_watch.on_gap()
        assert (await asked(questions, 4)).role == "guest"
        questions[3].answer.set_result(Access.READ)

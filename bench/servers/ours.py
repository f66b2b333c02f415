"""The template's application with a room to measure; runs in the template's inner tree."""

import app as chosen
from gospa import Access, Items, Room, Session, State, Writable, action, session_of
from gospa.app import create_app
from gospa.extras import http, presence
from msgspec import Struct
from sanic import HTTPResponse, Request
from sanic.response import text


class Note(Struct):
    text: str = "twelve words " * 3
    color: int = 7
    done: bool = False


class BenchState(State):
    count: int = 0
    value: Writable[str] = ""
    notes: Items[Note] = Items()
    kept_10: Items[Note] = Items(keep=10)
    kept_1000: Items[Note] = Items(keep=1000)
    kept_10000: Items[Note] = Items(keep=10_000)

    def kept(self, keep: int) -> Items[Note]:
        """The collection that keeps so many items."""
        kept: Items[Note] = getattr(self, f"kept_{keep}")
        return kept


def id_of(number: int) -> str:
    """An id like those that are appended, before all of these."""
    return f"{number:011x}000000"


class Bench(Room[BenchState]):
    """A counter, a value that members may set, and notes."""

    pattern = "bench/<name>"
    presence = True

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    @action
    def add(self, state: BenchState) -> None:
        state.count += 1

    @action
    def fill(self, state: BenchState, first: int, last: int) -> None:
        for number in range(first, last + 1):
            state.notes[id_of(number)] = Note()

    @action
    def fill_kept(self, state: BenchState, keep: int) -> None:
        for number in range(keep):
            state.kept(keep)[id_of(number)] = Note()

    @action
    def edit(self, state: BenchState, number: int, text: str) -> None:
        state.notes[id_of(number)].text = text

    @action
    def append(self, state: BenchState, keep: int) -> None:
        state.kept(keep).append(Note())

    @action
    def count_notes(self, state: BenchState) -> None:
        state.count = len(state.notes)


class Stated(Room[BenchState]):
    """A room with a state and nothing else."""

    pattern = "stated/<name>"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL


class Quiet(Room[State]):
    """Nothing happens in it."""

    pattern = "quiet/<name>"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL


app = create_app("ours", chosen.BACKENDS, [Bench, Stated, Quiet], extras=[presence, http])


@app.get("/plain")
async def plain(_: Request) -> HTTPResponse:
    return text("hello")


@app.get("/session")
async def read_session(request: Request) -> HTTPResponse:
    session = await session_of(request)
    return text(f"hello {session.get('visits', 0)}")


@app.get("/session/change")
async def change_session(request: Request) -> HTTPResponse:
    session = await session_of(request)
    session["visits"] = session.get("visits", 0) + 1
    return text(f"hello {session['visits']}")

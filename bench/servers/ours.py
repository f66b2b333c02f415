"""The template's application with a room to measure; runs in the template's inner tree."""

import app as chosen
from gospa import Draft, Room, Session, action, session_of
from gospa.app import create_app
from sanic import HTTPResponse, Request
from sanic.response import text


class Bench(Room):
    """A counter, and keys that members may set."""

    pattern = "bench/<name>"
    initial = {"count": 0}
    writable = {"value": str}

    async def authorize(self, session: Session) -> bool:
        return True

    @action
    def add(self, state: Draft) -> None:
        state["count"] += 1

    @action
    def fill(self, state: Draft, keys: int) -> None:
        for number in range(keys):
            state[f"key-{number}"] = {"text": "twelve words " * 3, "color": number, "done": False}

    @action
    def edit(self, state: Draft, key: str, text: str) -> None:
        state[key]["text"] = text


app = create_app("ours", chosen.BACKENDS, [Bench])


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

import pytest
from sanic import Blueprint, HTTPResponse, Request

from gospa.errors import (
    Busy,
    Conflicted,
    Invalid,
    RateLimited,
    RoomError,
    Unauthorized,
    UnknownRoom,
)
from gospa.testing import OpenApp


class SoldOut(RoomError):
    code = "sold_out"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        *((Invalid("no"), 400), (Unauthorized("no"), 403), (UnknownRoom("no"), 404)),
        *((RoomError("no"), 409), (SoldOut("no"), 409), (Conflicted("no"), 409)),
        *((Busy("no"), 429), (RateLimited("no"), 429)),
    ],
    ids=lambda each: type(each).__name__,
)
async def test_a_refusal_has_the_status_of_its_kind(
    open_app: OpenApp, error: RoomError, status: int
) -> None:
    refusing = Blueprint("refusing")

    @refusing.get("/refused")
    async def refuse(_: Request) -> HTTPResponse:
        raise error

    async with open_app([], [refusing]) as site, site.http() as http:
        answer = await http.get("/refused")
    assert (answer.status_code, answer.text) == (status, "no\n")
    assert ("retry-after" in answer.headers) is isinstance(error, RateLimited)

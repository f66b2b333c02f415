"""The page at /."""

from sanic import Blueprint, HTTPResponse, Request

from gospa import page

blueprint = Blueprint("home")


@blueprint.get("/")
async def index(_: Request) -> HTTPResponse:
    return await page("index.html")

"""Log-in and log-out by name alone, for demonstrations; docs/how-to.md has one with passwords."""

from sanic import Blueprint, HTTPResponse, Request
from sanic.exceptions import NotFound
from sanic.response import json, redirect

from gospa import log_in, log_out, log_out_everywhere, needs_https, page, session_of, sessions_of

LONGEST_NAME = 40

blueprint = Blueprint("account", url_prefix="/account")


@blueprint.get("/")
async def index(_: Request) -> HTTPResponse:
    return await page("account.html")


@blueprint.get("/session")
async def show(request: Request) -> HTTPResponse:
    """The user, the user's sessions, and pending flash messages."""
    session = await session_of(request)
    sessions = [
        {"since": other.created, "here": other.identity == session.identity}
        for other in await sessions_of(request)
    ]
    return json(
        {
            "user": session.user,
            "sessions": sessions,
            "told": session.take_flashes(),
            "demo": request.app.ctx.settings.demo,
            "https": needs_https(request),
        }
    )


@blueprint.post("/log-in")
async def enter(request: Request) -> HTTPResponse:
    """Log in under any name, if GOSPA_DEMO=true."""
    if not request.app.ctx.settings.demo:
        raise NotFound("The log-in by name alone is off (GOSPA_DEMO).", quiet=True)
    name = ((request.form and request.form.get("name")) or "").strip()
    if 0 < len(name) <= LONGEST_NAME and name.isprintable():
        await log_in(request, name)
        (await session_of(request)).flash(f"Welcome, {name}.")
    else:
        (await session_of(request)).flash(f"A name has 1 to {LONGEST_NAME} visible characters.")
    return redirect("/account", status=303)


@blueprint.post("/log-out")
async def leave(request: Request) -> HTTPResponse:
    await log_out(request)
    (await session_of(request)).flash("You are logged out.")
    return redirect("/account", status=303)


@blueprint.post("/log-out-everywhere")
async def leave_everywhere(request: Request) -> HTTPResponse:
    await log_out_everywhere(request)
    (await session_of(request)).flash("You are logged out everywhere.")
    return redirect("/account", status=303)

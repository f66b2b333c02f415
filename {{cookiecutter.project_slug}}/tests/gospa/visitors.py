"""Visitors for tests who are logged in, without a page to do so."""

from typing import Any

from sanic import Sanic


async def logged_in(app: Sanic, user: str, **values: Any) -> str:
    """A Cookie header, for a client at 127.0.0.1, that opens a session of `user`."""
    store = app.ctx.sessions
    ticket = store.create()
    ticket.session.log_in(user, ticket.session.created)
    ticket.session.update(values)
    assert await store.log_in(ticket)
    return f"session={ticket.token}"

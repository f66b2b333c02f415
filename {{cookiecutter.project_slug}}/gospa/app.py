"""Puts settings, backends, sessions, rooms and pages together into one Sanic application."""

import asyncio
import gc
import multiprocessing
import os
from collections.abc import Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
)
from dataclasses import dataclass
from typing import Protocol

from sanic import Blueprint, HTTPResponse, Request, Sanic
from sanic.log import logger
from sanic.response import text

from gospa import supervisor, tasks
from gospa.errors import StoreError
from gospa.extras import json_logs, metrics
from gospa.live import socket
from gospa.live.hub import open_hub
from gospa.live.limits import open_visitors
from gospa.pubsub import PubSub
from gospa.room import Directory, Room
from gospa.sessions.store import SessionStore
from gospa.settings import Settings, SettingsError, load_settings
from gospa.storage import Storage
from gospa.store.contract import StateStore
from gospa.web import health, static
from gospa.web.application import Application

BACKLOG = 4096  # clients that may wait to be accepted; with Sanic's 100, returning crowds time out
# Objects made between looks for garbage, and looks at them between looks at older ones. With
# Python's 700, a fifth of the time of a commit is spent on looking; with its 10 and 10, what is
# left of 10,000 connections would wait for the next look at all.
GARBAGE = (20_000, 3, 3)


class Backend(Protocol):
    """What every backend module offers."""

    @property
    def SHARED(self) -> bool:  # noqa: N802 - a module's constant
        """Whether all workers see the same data."""

    def prepare(self, settings: Settings) -> AbstractContextManager[Settings]:
        """What it needs while the application runs, for the main process to hold.

        Yields the settings to use. Raises SettingsError.
        """


class StateBackend(Backend, Protocol):
    def open_state(
        self, settings: Settings, pubsub: PubSub
    ) -> AbstractAsyncContextManager[StateStore]: ...


class PubSubBackend(Backend, Protocol):
    def open_pubsub(self, settings: Settings) -> AbstractAsyncContextManager[PubSub]: ...


class SessionBackend(Backend, Protocol):
    def open_storage(self, settings: Settings) -> AbstractAsyncContextManager[Storage]: ...


@dataclass(frozen=True, slots=True)
class Backends:
    """The modules chosen for this application."""

    state: StateBackend
    pubsub: PubSubBackend
    sessions: SessionBackend

    def prepare(self, settings: Settings, stack: ExitStack) -> Settings:
        """Prepare each backend on `stack`, once where several share what they need."""
        for prepare in dict.fromkeys(
            backend.prepare for backend in (self.state, self.pubsub, self.sessions)
        ):
            settings = stack.enter_context(prepare(settings))
        return settings

    def isolated(self) -> list[str]:
        """What each worker would have for itself alone."""
        parts = []
        if not (self.state.SHARED and self.pubsub.SHARED):
            parts.append("room state and messages (state_backend=memory)")
        if not self.sessions.SHARED:
            parts.append("sessions (session_backend=memory)")
        return parts


def create_app(
    name: str,
    backends: Backends,
    rooms: Sequence[type[Room]],
    settings: Settings | None = None,
    *,
    views: Sequence[Blueprint] = (),
) -> Sanic:
    """The application. Settings come from the environment unless given, as tests do."""
    app = Application(name)
    app.config.AUTO_EXTEND = False
    app.ctx.directory = Directory(rooms)
    app.ctx.settings = settings
    static.install(app)
    app.blueprint([health.blueprint, socket.blueprint, *views])
    app.exception(StoreError)(_unavailable)
    _run_main_process(app, backends)
    _run_worker(app, backends)
    return app


def _run_main_process(app: Sanic, backends: Backends) -> None:
    held = ExitStack()

    @app.main_process_start
    async def check(app: Sanic) -> None:
        await asyncio.to_thread(_prepare, app, backends, held)
        for server in app.state.server_info:
            server.settings["backlog"] = BACKLOG
        held.enter_context(metrics.shared())
        app.shared_ctx.stopping = multiprocessing.Event()

    @app.main_process_ready
    async def supervise(app: Sanic) -> None:
        guard = supervisor.Supervisor(app, app.shared_ctx.stopping)
        held.callback(guard.stop)
        guard.start()

    @app.main_process_stop
    async def release(_: Sanic) -> None:
        await asyncio.to_thread(held.close)


def _run_worker(app: Sanic, backends: Backends) -> None:
    held, opened = ExitStack(), AsyncExitStack()

    @app.before_server_start
    async def open_parts(app: Sanic) -> None:
        if app.state.workers:  # a single process, without a main process to do this
            settings = await asyncio.to_thread(_prepare, app, backends, held)
        else:
            settings = app.ctx.settings or load_settings(os.environ)
            if settings.log_format == "json":
                json_logs.write_json()
        app.ctx.settings = settings
        pubsub = await opened.enter_async_context(backends.pubsub.open_pubsub(settings))
        state = await opened.enter_async_context(backends.state.open_state(settings, pubsub))
        storage = await opened.enter_async_context(backends.sessions.open_storage(settings))
        app.ctx.sessions = SessionStore(storage, pubsub, settings)
        visitors = open_visitors(app.ctx.sessions, pubsub, settings)
        app.ctx.visitors = await opened.enter_async_context(visitors)
        hub = open_hub(state, pubsub, app.ctx.directory, settings)
        app.ctx.hub = await opened.enter_async_context(hub)
        if not app.state.workers:
            following = supervisor.follow(app, app.shared_ctx.stopping)
            opened.push_async_callback(tasks.stop, tasks.start(following, "following"))
            gc.collect()
            gc.freeze()  # what was made until now stays as long as the worker
            gc.set_threshold(*GARBAGE)

    @app.before_server_stop
    async def close_parts(_: Sanic) -> None:
        await opened.aclose()
        await asyncio.to_thread(held.close)


def _prepare(app: Sanic, backends: Backends, held: ExitStack) -> Settings:
    """Check the settings and prepare the backends; says why and exits if that cannot be."""
    try:
        settings = app.ctx.settings or load_settings(os.environ)
        if settings.log_format == "json":
            json_logs.write_json()
        _refuse_isolation(backends, settings, app.state.workers)
        return backends.prepare(settings, held)
    except SettingsError as error:
        held.close()
        logger.error("cannot start: %s", error)  # noqa: TRY400 - the text says it all
        raise SystemExit(2) from None


def _refuse_isolation(backends: Backends, settings: Settings, workers: int) -> None:
    isolated = backends.isolated()
    if workers < 2 or not isolated:
        return
    problem = (
        f"{workers} workers, but each keeps its own {' and its own '.join(isolated)}: visitors on "
        "different workers do not see the same. Remedy: generate with the redis backend, or run "
        "one worker."
    )
    if settings.require_shared:
        raise SettingsError(f"{problem} (REQUIRE_SHARED is set)")
    logger.warning(problem)


async def _unavailable(_: Request, error: StoreError) -> HTTPResponse:
    logger.warning("a request failed for want of a store: %s", error)
    return text("Try again in a moment.\n", 503, headers={"Retry-After": "1"})

"""Puts settings, backends, sessions, rooms and views together into one Sanic application."""

import asyncio
import gc
import multiprocessing
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, Protocol

from sanic import Blueprint, HTTPResponse, Request, Sanic
from sanic.log import logger
from sanic.response import text

from gospa import supervisor, tasks
from gospa.backends import Backend
from gospa.errors import RoomError, StoreError
from gospa.live import socket
from gospa.live.connections import open_connections
from gospa.live.hub import open_hub
from gospa.live.limits import ConnectionLimits
from gospa.live.router import Router
from gospa.pubsub import PubSub
from gospa.room import Room
from gospa.rooms import Rooms
from gospa.sessions.store import SessionStore
from gospa.sessions.watch import open_watch
from gospa.settings import Settings, SettingsError, load_settings
from gospa.storage import Prefixed, Storage
from gospa.store.contract import StateStore
from gospa.web import health, static
from gospa.web.application import Application

BACKLOG = 4096  # connections that wait to be accepted; Sanic's 100 make a reconnecting crowd wait
# gc thresholds for generations 0, 1 and 2. With Python's 700, a fifth of a commit's time goes to
# the collector; with its 10 and 10, the garbage of 10,000 connections would wait too long.
GC_THRESHOLDS = (20_000, 3, 3)
REFUSED = {"unknown_room": 404, "unknown_action": 404, "unauthorized": 403, "invalid": 400}


@dataclass(frozen=True, slots=True)
class Backends:
    """The backend chosen for each role."""

    state: Backend[[Settings, PubSub], StateStore]
    pubsub: Backend[[Settings], PubSub]
    storage: Backend[[Settings], Storage]

    def prepare(self, settings: Settings, stack: ExitStack) -> Settings:
        """Prepare each backend on `stack`. Raises SettingsError."""
        for role in (self.state, self.pubsub, self.storage):
            settings = stack.enter_context(role.prepare(settings))
        return settings

    def isolated(self) -> list[str]:
        """What workers would not share."""
        parts = []
        if not (self.state.shared and self.pubsub.shared):
            parts.append("room state and messages (state_backend=memory)")
        if not self.storage.shared:
            parts.append("sessions (session_backend=memory)")
        return parts


Resource = Callable[[Sanic], AbstractAsyncContextManager[Any]]
Job = Callable[[Sanic], Coroutine[Any, Any, None]]


class Extra(Protocol):
    """A module in `extras/`."""

    def install(self, app: Sanic) -> None:
        """Add it to an application that is not started yet."""


def create_app(  # noqa: PLR0913 - each is a part of an application
    name: str,
    backends: Backends,
    rooms: Sequence[type[Room]],
    settings: Settings | None = None,
    *,
    views: Sequence[Blueprint] = (),
    extras: Sequence[Extra] = (),
    resources: Sequence[Resource] = (),
    jobs: Sequence[Job] = (),
) -> Sanic:
    """The application. Settings come from the environment unless given, as tests do.

    Each resource is called with the application, and is open while rooms can be. Each job is called
    with it in every worker, runs while rooms can be used, and is run again if it fails.
    """
    app = Application(name)
    app.config.AUTO_EXTEND = False
    app.ctx.router = Router(rooms, app)
    app.ctx.backends = backends
    app.ctx.resources, app.ctx.jobs = resources, jobs
    app.ctx.settings = settings
    app.ctx.rooms = None  # while it is not running
    app.ctx.log_formats = {"text": _nothing}  # how to write each in this process
    static.install(app)
    app.blueprint([health.blueprint, socket.blueprint, *views])
    app.exception(StoreError)(_unavailable)
    app.exception(RoomError)(_refused)
    _run_main_process(app, backends)
    _run_worker(app, backends)
    for extra in extras:
        extra.install(app)
    return app


@asynccontextmanager
async def open_rooms(app: Sanic, *, jobs: bool = True) -> AsyncIterator[Rooms]:
    """The rooms of an application that is not served, as in a script, with its resources.

    Its jobs run as well unless `jobs` is false. Raises SettingsError, or RuntimeError if the
    application is running.
    """
    running: Rooms | None = app.ctx.rooms
    if running is not None:
        raise RuntimeError("the application is running: use rooms_of(app)")
    given = app.ctx.settings
    with ExitStack() as held:
        held.callback(setattr, app.ctx, "settings", given)
        prepare = partial(app.ctx.backends.prepare, given or load_settings(os.environ), held)
        app.ctx.settings = await asyncio.to_thread(prepare)
        async with AsyncExitStack() as stack:
            await _open(app, app.ctx.backends, stack, jobs=jobs)
            yield app.ctx.rooms


def storage_of(source: Request | Sanic) -> Storage:
    """A storage for the application's own keys, apart from sessions, in the session backend."""
    app = source.app if isinstance(source, Request) else source
    storage: Storage = app.ctx.storage
    return storage


def _run_main_process(app: Sanic, backends: Backends) -> None:
    held = ExitStack()
    app.register_listener(_load_settings, "main_process_start")

    @app.main_process_start
    async def check(app: Sanic) -> None:
        await asyncio.to_thread(_prepare, app, backends, held)
        for server in app.state.server_info:
            server.settings["backlog"] = BACKLOG
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
    app.register_listener(_load_settings, "before_server_start")

    @app.before_server_start
    async def open_parts(app: Sanic) -> None:
        if app.state.workers:  # a single process, without a main process to do this
            await asyncio.to_thread(_prepare, app, backends, held)
        async with AsyncExitStack() as stack:  # closes what is open if a later part fails
            await _open(app, backends, stack)
            opened.push_async_exit(stack.pop_all())
        if not app.state.workers:
            following = supervisor.follow(app, app.shared_ctx.stopping)
            opened.push_async_callback(tasks.stop, tasks.start(following, "following"))
            gc.collect()
            gc.freeze()  # what was made until now stays as long as the worker
            gc.set_threshold(*GC_THRESHOLDS)

    @app.before_server_stop
    async def close_parts(_: Sanic) -> None:
        try:
            await opened.aclose()
        finally:
            await asyncio.to_thread(held.close)


async def _open(
    app: Sanic, backends: Backends, stack: AsyncExitStack, *, jobs: bool = True
) -> None:
    """Open all parts of a worker on `stack`."""
    settings: Settings = app.ctx.settings
    pubsub = await stack.enter_async_context(backends.pubsub.open(settings))
    state = await stack.enter_async_context(backends.state.open(settings, pubsub))
    storage = await stack.enter_async_context(backends.storage.open(settings))
    app.ctx.sessions = SessionStore(storage, pubsub, settings)
    app.ctx.storage = Prefixed(storage, "own:")
    app.ctx.limits = ConnectionLimits(settings)
    watch = open_watch(app.ctx.sessions, pubsub, settings)
    app.ctx.session_watch = await stack.enter_async_context(watch)
    for resource in app.ctx.resources:
        await stack.enter_async_context(resource(app))
    stack.callback(setattr, app.ctx, "rooms", None)
    hub = open_hub(state, pubsub, app.ctx.router, settings)
    app.ctx.hub = await stack.enter_async_context(hub)
    app.ctx.rooms = Rooms(app.ctx.hub, app.ctx.sessions)
    app.ctx.connections = await stack.enter_async_context(open_connections(app.ctx.hub))
    for job in app.ctx.jobs if jobs else ():
        name = getattr(job, "__name__", repr(job))
        work = tasks.until_done(partial(job, app), name)
        stack.push_async_callback(tasks.stop, tasks.start(work, name))


def _nothing() -> None:
    """Sanic's own format is text."""


async def _load_settings(app: Sanic) -> None:
    """Read the settings, or say what is wrong with them and exit."""
    try:
        app.ctx.settings = app.ctx.settings or load_settings(os.environ)
    except SettingsError as error:
        _refuse(error)
    write_log = app.ctx.log_formats.get(app.ctx.settings.log_format)
    if write_log is None:
        _refuse("GOSPA_LOG_FORMAT=json needs the extra json_logs in EXTRAS of app.py")
    write_log()


def _prepare(app: Sanic, backends: Backends, held: ExitStack) -> None:
    """Prepare the backends, or say what is wrong and exit."""
    try:
        _refuse_isolation(backends, app.ctx.settings, app.state.workers)
        app.ctx.settings = backends.prepare(app.ctx.settings, held)
    except SettingsError as error:
        held.close()
        _refuse(error)


def _refuse(error: SettingsError | str) -> NoReturn:
    logger.error("cannot start: %s", error)
    raise SystemExit(2) from None


def _refuse_isolation(backends: Backends, settings: Settings, workers: int) -> None:
    isolated = backends.isolated()
    if workers < 2 or not isolated:
        return
    problem = (
        f"{workers} workers, but each keeps its own {' and its own '.join(isolated)}: visitors on "
        "different workers see different data. Remedy: generate with the redis backend, or run "
        "one worker."
    )
    if settings.require_shared:
        raise SettingsError(f"{problem} (REQUIRE_SHARED is set)")
    logger.warning(problem)


async def _refused(_: Request, error: RoomError) -> HTTPResponse:
    """What a room refuses to a view that does not handle it."""
    return text(f"{error}\n", REFUSED.get(error.code, 409))


async def _unavailable(_: Request, error: StoreError) -> HTTPResponse:
    logger.warning("a request failed with a store error: %s", error)
    return text("Try again in a moment.\n", 503, headers={"Retry-After": "1"})

"""Puts settings, backends, sessions, rooms and views together into one Sanic application."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
from sanic import Blueprint, Request, Sanic
from sanic.log import logger

from gospa import checks, tasks
from gospa.backends import Backend
from gospa.environment import load_settings
from gospa.errors import RoomError, StoreError, StoreFull, StoreReadOnly, StoreUnavailable
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
from gospa.settings import Settings, SettingsError
from gospa.storage import Prefixed, Storage
from gospa.store.contract import StateStore
from gospa.web import error_page, health, static
from gospa.web.admission import RequestLimits
from gospa.web.application import Application
from gospa.workers import forking
from gospa.workers.collector import Collector
from gospa.workers.lifeline import Lifeline
from gospa.workers.states import keep_states_here, registered
from gospa.workers.stopping import Stop, beating, ended_by_interrupt
from gospa.workers.supervisor import Supervisor

BACKLOG = 4096  # connections that wait to be accepted; Sanic's 100 make a reconnecting crowd wait


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
        """The data that workers would not share."""
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
    bearer_tokens: bool = False,
) -> Sanic:
    """The application. Settings come from the environment unless given, as tests do.

    Each resource is called with the application, and is open while rooms can be open. Each job is
    called with the application in every worker while rooms can be used, and again if it fails. With
    `bearer_tokens`, programs may send a token of `issue_token` in the Authorization header.
    """
    app = Application(name)
    app.config.AUTO_EXTEND = False
    app.ctx.router = Router(rooms, app)
    app.ctx.backends = backends
    app.ctx.resources, app.ctx.jobs = resources, jobs
    app.ctx.settings, app.ctx.bearer_tokens = settings, bearer_tokens
    app.ctx.rooms = None  # until the application runs
    app.ctx.log_formats = {"text": _nothing}  # functions that set each format in this process
    static.install(app)
    app.blueprint([health.blueprint, socket.blueprint, *views])
    app.exception(StoreError)(error_page.store_failed)
    app.exception(RoomError)(error_page.room_refused)
    _run_main_process(app, backends)
    _run_worker(app, backends)
    for extra in extras:
        extra.install(app)
    return app


@asynccontextmanager
async def open_rooms(app: Sanic, *, jobs: bool = True) -> AsyncIterator[Rooms]:
    """The rooms of an application that is not served, as in a script, with its resources.

    Its jobs run as well, unless `jobs` is false. Raises SettingsError, or RuntimeError if the
    application is running.
    """
    running: Rooms | None = app.ctx.rooms
    if running is not None:
        raise RuntimeError("the application is running: use rooms_of(app)")
    given = app.ctx.settings
    with ExitStack() as held:
        held.callback(setattr, app.ctx, "settings", given)
        prepare = partial(
            app.ctx.backends.prepare, given or load_settings(os.environ, app.name), held
        )
        app.ctx.settings = await tasks.in_thread(prepare)
        async with AsyncExitStack() as stack:
            await _open(app, app.ctx.backends, stack, jobs=jobs)
            yield app.ctx.rooms


def storage_of(source: Request | Sanic) -> Storage:
    """A storage for the application's own keys, separate from sessions, in the session backend."""
    app = source.app if isinstance(source, Request) else source
    storage: Storage = app.ctx.storage
    return storage


def _run_main_process(app: Sanic, backends: Backends) -> None:
    held, lifeline = ExitStack(), Lifeline()
    keep_states_here()
    app.register_listener(_load_settings, "main_process_start")

    @app.main_process_start
    async def check(app: Sanic) -> None:
        with ended_by_interrupt():
            await tasks.in_thread(partial(_prepare, app, backends, held))
        for server in app.state.server_info:
            server.settings["backlog"] = BACKLOG
        app.shared_ctx.lifeline = lifeline.open()

    @app.main_process_ready
    async def supervise(app: Sanic) -> None:
        settings: Settings = app.ctx.settings
        hang_timeout = 0 if app.debug else settings.hang_timeout  # a breakpoint is not a hang
        guard = Supervisor(app, lifeline, settings.stop_timeout, hang_timeout)
        held.callback(guard.stop)
        guard.start()
        forking.share_memory()

    @app.main_process_stop
    async def release(_: Sanic) -> None:
        await asyncio.to_thread(held.close)


def _has_main_process(app: Sanic) -> bool:
    """Whether this is a worker, and not a single process (`sanic --single-process`, or a test)."""
    return hasattr(app.shared_ctx, "lifeline")


def _run_worker(app: Sanic, backends: Backends) -> None:
    held, opened, lasting = ExitStack(), AsyncExitStack(), AsyncExitStack()
    app.register_listener(_load_settings, "before_server_start")

    @app.before_server_start
    async def open_parts(app: Sanic) -> None:
        if _has_main_process(app):
            app.shared_ctx.lifeline.begin()  # if the start never ends, the worker is replaced
            await registered(app)
        else:
            await tasks.in_thread(partial(_prepare, app, backends, held))
        async with AsyncExitStack() as stack:  # closes what is open if a later part fails
            operators = await stack.enter_async_context(health.open_port(app))  # to close it last
            await _open(app, backends, stack)
            await static.open_files(app)
            if operators:
                await operators.start_serving()
            opened.push_async_exit(stack.pop_all())

    @app.after_server_start
    async def follow(app: Sanic) -> None:
        stop = Stop(app, app.ctx.settings.stop_timeout)
        stop.handle_signals()
        if _has_main_process(app):
            stop.follow(app.shared_ctx.lifeline)
            await lasting.enter_async_context(beating(app.shared_ctx.lifeline))
            Collector().start()

    @app.before_server_stop
    async def close_parts(_: Sanic) -> None:
        try:
            await opened.aclose()
        finally:
            await asyncio.to_thread(held.close)

    @app.after_server_stop
    async def end(_: Sanic) -> None:
        await lasting.aclose()


async def _open(
    app: Sanic, backends: Backends, stack: AsyncExitStack, *, jobs: bool = True
) -> None:
    """Open all parts of a worker on `stack`."""
    settings: Settings = app.ctx.settings
    pubsub = await stack.enter_async_context(backends.pubsub.open(settings))
    state = await stack.enter_async_context(backends.state.open(settings, pubsub))
    storage = await stack.enter_async_context(backends.storage.open(settings))
    app.ctx.sessions = SessionStore(storage, pubsub, settings, state.delete)
    app.ctx.storage, app.ctx.file_storage = Prefixed(storage, "own:"), Prefixed(storage, "file:")
    app.ctx.limits = ConnectionLimits(settings)
    app.ctx.request_limits = RequestLimits(settings)
    watch = open_watch(app.ctx.sessions, pubsub, settings)
    app.ctx.session_watch = await stack.enter_async_context(watch)
    for resource in app.ctx.resources:
        await stack.enter_async_context(resource(app))
    stack.callback(setattr, app.ctx, "rooms", None)
    hub = open_hub(state, pubsub, app.ctx.router, settings, app.ctx.sessions.own_room)
    app.ctx.hub = await stack.enter_async_context(hub)
    app.ctx.rooms = Rooms(app.ctx.hub, app.ctx.sessions)
    app.ctx.connections = await stack.enter_async_context(open_connections(app.ctx.hub))
    for job in app.ctx.jobs if jobs else ():
        name = getattr(job, "__name__", repr(job))
        work = tasks.until_done(partial(job, app), name)
        stack.push_async_callback(tasks.stop, tasks.start(work, name))


async def _try_stores(backends: Backends, settings: Settings) -> None:
    """Check that the stores allow what the application needs. Raises SettingsError.

    Temporary faults, such as a full store, do not prevent the start, because rooms are readable.
    """
    try:
        async with (
            backends.pubsub.open(settings) as pubsub,
            backends.state.open(settings, pubsub) as state,
            backends.storage.open(settings) as storage,
        ):
            await checks.try_stores(state, pubsub, storage)
    except StoreError as error:
        if isinstance(error, StoreUnavailable | StoreFull) and not isinstance(error, StoreReadOnly):
            logger.warning("the application starts, but the store cannot be used now: %s", error)
            return
        raise SettingsError(f"the store cannot be used: {error}") from error


def _nothing() -> None:
    """Sanic's own format is text."""


async def _load_settings(app: Sanic) -> None:
    """Read the settings, or print what is wrong with them and exit."""
    try:
        if app.ctx.settings is None:
            read = load_settings(os.environ, app.name)
            app.ctx.settings = msgspec.structs.replace(read, application=app.name)
    except SettingsError as error:
        checks.refuse(error)
    app.config.REQUEST_MAX_SIZE = app.ctx.settings.body_size
    write_log = app.ctx.log_formats.get(app.ctx.settings.log_format)
    if write_log is None:
        checks.refuse("GOSPA_LOG_FORMAT=json needs the extra json_logs in EXTRAS of app.py")
    write_log()


def _prepare(app: Sanic, backends: Backends, held: ExitStack) -> None:
    """Prepare the backends, or print what is wrong and exit."""
    try:
        settings = app.ctx.settings
        checks.check_descriptors()
        checks.refuse_unfinished(app.name, Path(__file__).parents[1])
        checks.refuse_isolation(backends.isolated(), settings, app.state.workers)
        checks.warn_of_exposure(app, settings)
        health.check_address(settings.health_address)
        app.ctx.settings = backends.prepare(settings, held)
        asyncio.run(_try_stores(backends, app.ctx.settings))
    except SettingsError as error:
        held.close()
        checks.refuse(error)

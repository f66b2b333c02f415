"""Checks before the application serves; each error names the remedy."""

import asyncio
import os
import resource
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from sanic import Sanic
from sanic.application.state import ApplicationServerInfo
from sanic.log import error_logger, logger

from gospa.errors import StoreError, StoreUnavailable
from gospa.pubsub import PubSub
from gospa.settings import Settings, SettingsError
from gospa.storage import Storage
from gospa.store.contract import NO_MESSAGE, TAG_BYTES, Change, StateStore, channel

TEMPLATES_NAME = "app"  # never the name of a generated project
HEARD_TIMEOUT = 5.0  # seconds
NIL = b"\xc0"  # msgpack
FEWEST, FEW = 64, 256  # limits of open files, below which it does not start, or warns


async def try_stores(state: StateStore, pubsub: PubSub, storage: Storage) -> None:
    """Use the stores once as the application does. Raises StoreError.

    Commits to a room, receives the message on the room's channel, and stores a value.
    """
    name = f"check:{os.urandom(8).hex()}"
    heard = asyncio.Event()
    subscription = await pubsub.subscribe(channel(name), lambda _: heard.set(), heard.set)
    change = Change(os.urandom(TAG_BYTES), exists=False, message=NO_MESSAGE, set={"checked": NIL})
    try:
        await state.commit(name, change)
        await state.load(name)
        async with asyncio.timeout(HEARD_TIMEOUT):
            await heard.wait()
    except TimeoutError:
        raise StoreUnavailable("the store did not deliver a published message") from None
    finally:
        with suppress(StoreError):
            await subscription.close()
            await state.delete(name)
    await state.hold_lease(name, ttl=HEARD_TIMEOUT)
    await storage.replace(name, None, b"checked", ttl=HEARD_TIMEOUT)
    await storage.get(name)
    await storage.delete(name)


SANIC_SAYS = "Experienced exception while trying to serve"  # of every exit, in a second line


def refuse(error: SettingsError | str) -> NoReturn:
    """Print why the application cannot start, and exit."""
    logger.error("cannot start: %s", error)
    error_logger.addFilter(lambda record: record.msg != SANIC_SAYS)
    raise SystemExit(2) from None


def refuse_unfinished(name: str, project: Path) -> None:
    """Refuse a project that was generated without hooks. Raises SettingsError.

    Its app.py is the template's own. In the template's tree, which is an application as well,
    pyproject.toml contains template language.
    """
    with suppress(OSError):
        text = (project / "pyproject.toml").read_text(encoding="utf-8")
        if name == TEMPLATES_NAME and "{{" not in text:
            raise SettingsError(
                "app.py has neither the chosen backends nor the name, because cookiecutter ran "
                "without hooks: generate the project again without `--accept-hooks no`, or give "
                "BACKENDS and NAME in app.py the values that you want"
            )


def check_descriptors() -> None:
    """Refuse a limit of open files that is too low to work. Raises SettingsError."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    problem = (
        f"a process may have {limit} open files, and each client needs one: raise `ulimit -n`, or "
        "LimitNOFILE of the service"
    )
    if 0 <= limit < FEWEST:
        raise SettingsError(problem)
    if 0 <= limit < FEW:
        logger.warning(problem)


def refuse_isolation(isolated: Sequence[str], settings: Settings, workers: int) -> None:
    """Warn if several workers do not share data, or refuse to start. Raises SettingsError."""
    if workers < 2 or not isolated:
        return
    problem = (
        f"{workers} workers, but each keeps its own {' and its own '.join(isolated)}: visitors on "
        "different workers see different data. Remedy: change to the redis backend "
        "(docs/updating.md), or run one worker."
    )
    if settings.require_shared:
        raise SettingsError(f"{problem} (REQUIRE_SHARED is set)")
    logger.warning(problem)


def warn_of_exposure(app: Sanic, settings: Settings) -> None:
    """Warn about settings that are unsafe at a public address."""
    if settings.production and settings.demo:
        logger.warning("GOSPA_DEMO=true: anybody may log in under any name")
    config = app.config
    secure = config.PROXIES_COUNT or config.FORWARDED_SECRET or settings.insecure_cookies
    hosts = {str(each.settings.get("host")) for each in app.state.server_info if _is_plain(each)}
    if (exposed := hosts - {"localhost", "127.0.0.1", "::1"}) and not secure:
        logger.warning(
            "plain HTTP at %s: browsers on other machines refuse the session's cookie, so a log-in "
            "has no effect there. Use HTTPS (docs/deployment.md); behind a proxy, set "
            "SANIC_PROXIES_COUNT; for development in a LAN, GOSPA_INSECURE_COOKIES=true",
            ", ".join(sorted(exposed)),
        )


def _is_plain(server: ApplicationServerInfo) -> bool:
    """Whether a server listens without TLS at an address that other machines can reach."""
    given = server.settings
    return not (given.get("ssl") or given.get("unix") or given.get("sock"))

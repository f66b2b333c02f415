"""The application of the tests; workers that start while STUCK exists never finish their start."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sanic import Sanic

from app import BACKENDS, EXTRAS
from gospa.app import create_app
from tests.gospa.rooms import ROOMS
from tests.gospa.views import blueprint

STUCK = "stuck"  # a file in the folder for temporary files


def is_stuck() -> bool:
    return Path(tempfile.gettempdir(), STUCK).exists()


@asynccontextmanager
async def database(_: Sanic) -> AsyncIterator[None]:
    """A resource that may not answer."""
    if is_stuck():
        await asyncio.Event().wait()
    yield


app = create_app("tests", BACKENDS, ROOMS, views=[blueprint], extras=EXTRAS, resources=[database])

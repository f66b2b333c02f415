import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from gospa.testing import Site
from tests.gospa.web.wires import OpenWire, Wire


@pytest.fixture
async def open_wire() -> AsyncIterator[OpenWire]:
    """Opens connections, and closes them after the test."""
    opened: list[Wire] = []

    async def open_wire(site: Site, source: str = "127.0.0.1") -> Wire:
        host, _, port = site.address.partition(":")
        opened.append(Wire(*await asyncio.open_connection(host, int(port), local_addr=(source, 0))))
        return opened[-1]

    yield open_wire
    for wire in opened:
        wire.writer.transport.abort()
        with suppress(OSError):
            await wire.writer.wait_closed()

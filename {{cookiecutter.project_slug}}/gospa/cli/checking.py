"""The command that reads all stored records, and lists those that do not fit."""

import argparse
import sys
from collections.abc import AsyncIterator

from gospa.cli.rows import Problem, Rows, show
from gospa.cli.stored import Stores
from gospa.live.inspection import Finding, inspect_rooms
from gospa.sessions.inspection import KINDS, inspect_records
from gospa.web.static import FILES

PROGRESS = 1000  # records between progress messages


async def check(stores: Stores, _: argparse.Namespace) -> Rows:
    """Check settings and stores, and that this release can read all that is stored"""
    await stores.sessions.check()
    await stores.state.latest_tags(["ready"])
    show({"what": "settings and stores", "state": "in order"})
    for part in stores.backends.isolated():
        show({"what": part, "state": "not shared by workers"})
    checked = misfits = 0
    async for finding in _findings(stores):
        checked += 1
        if finding is not None:
            misfits += "reason" in finding
            show(finding)
        if checked % PROGRESS == 0:
            print(f"{checked} records checked", file=sys.stderr)
    if misfits:
        raise Problem(f"{misfits} of {checked} records do not fit this release")
    return [{"what": f"{checked} records", "state": "in order"}]


async def _findings(stores: Stores) -> AsyncIterator[Finding | None]:
    """A report on each record in the shared backends."""
    if stores.backends.state.shared:
        async for finding in inspect_rooms(stores.state, stores.router):
            yield finding
    if stores.backends.storage.shared:
        for kind in (*KINDS, FILES):
            async for finding in inspect_records(stores.storage, kind):
                yield finding

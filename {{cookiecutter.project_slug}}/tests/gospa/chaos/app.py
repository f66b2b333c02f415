"""The application under chaos: the project's own parts with rooms that can be checked.

CHAOS_DISABLE takes one safeguard away, to show that the suite notices.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import app as chosen
from gospa.app import create_app
from gospa.live.hub import Hub
from gospa.live.mutations import MutationQueue
from gospa.live.replica import Link, Replica
from gospa.live.wire import Patch
from gospa.store.contract import Change
from tests.gospa.chaos.rooms import Ledger, Lines

_apply = Replica.apply
_change: Callable[..., Change] = MutationQueue._change  # noqa: SLF001


def _without_parent(self: Replica, patch: Patch, frame: bytes) -> Link:
    return _apply(self, replace(patch, parent=self.tag), frame)


def _without_number(self: MutationQueue, *arguments: Any) -> Change:
    return replace(_change(self, *arguments), mutations=())


async def _without_heads(self: Hub) -> None:
    """Compare nothing."""


match os.environ.get("CHAOS_DISABLE"):
    case "parents":
        Replica.apply = _without_parent  # type: ignore[method-assign]
    case "numbers":
        MutationQueue._change = _without_number  # type: ignore[assignment, method-assign]  # noqa: SLF001
    case "heads":
        Hub._compare_tags = _without_heads  # type: ignore[method-assign]  # noqa: SLF001

app = create_app("chaos", chosen.BACKENDS, [Lines, Ledger])

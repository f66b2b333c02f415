"""Whether all know the same epoch of each collection, and the right one."""

from collections.abc import Mapping, Sequence

import httpx

from gospa.store.content import NO_EPOCH
from gospa.store.contract import Snapshot
from tests.gospa.chaos.rooms import KINDS
from tests.gospa.chaos.truth import Kind, Truth
from tests.gospa.process.server import Server


async def check_epochs(
    truth: Truth, stored: Mapping[str, Snapshot], servers: Sequence[Server]
) -> None:
    """Compare the store's with what clients were shown, and with those of replicas, at rest.

    Each of the servers is asked once. Which worker of it answers is chance.
    """
    for room, snapshot in stored.items():
        check_chain(truth, room, snapshot)
    for server in servers:
        async with httpx.AsyncClient(base_url=f"http://{server.address}") as client:
            answer = await client.get("/replicas", headers={"Connection": "close"})
        for room, (tag, epochs) in answer.json().items():
            if room in stored and bytes.fromhex(tag) == stored[room].tag:
                known = {name: bytes.fromhex(epoch) for name, epoch in epochs.items()}
                _compare(truth, room, stored[room], known, "a replica")


def check_chain(truth: Truth, room: str, stored: Snapshot) -> None:
    """Compare the epochs of a room with the commits that were shown."""
    collections = KINDS[room.partition("/")[0]].state.schema().collections
    found = {name: truth.chains[room].epoch(stored.tag, name) for name in collections}
    shown = {name: epoch for name, epoch in found.items() if epoch is not None}
    _compare(truth, room, stored, shown, "what was shown")


def _compare(
    truth: Truth, room: str, stored: Snapshot, known: Mapping[str, bytes], where: str
) -> None:
    for name, epoch in known.items():
        truth.counts["epochs compared"] += 1
        if (own := stored.epochs.get(name, NO_EPOCH)) != epoch:
            text = f"the epoch of {name} in {room} at {stored.tag.hex()} is {own.hex()}"
            truth.violate(Kind.EPOCH, f"{text}, and {epoch.hex()} by {where}")

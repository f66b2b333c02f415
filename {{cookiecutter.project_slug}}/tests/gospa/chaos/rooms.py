"""Rooms whose states show by themselves whether they can be true.

A state is checked as it is on the wire: a flat map, in which an item has the key
`<collection>/<id>`.
"""

import time
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from gospa import Access, Caller, Items, Room, RoomError, Session, State, action, alarm, command
from tests.gospa.chaos.ranges import Ranges, add_number, held, holds

KEPT = 8  # lines of the log
PLACES = 5  # in a pool
FIRST, SECOND = ".1", ".2"  # end the names of the lines to which the steps of a command add


class Entry(Struct, frozen=True):
    client: str
    number: int


class LinesState(State):
    lines: Items[Ranges] = Items()
    doubled: list[Entry] = []
    filler: str = ""
    log: Items[Entry] = Items(keep=KEPT)


class LedgerState(LinesState):
    total: int = 0


class ShelfState(LinesState):
    items: Items[int] = Items()


class PoolState(LinesState):
    size: int = 0
    places: Items[Entry] = Items()


class Open:
    """A room that everybody may enter."""

    async def authorize(self, session: Session) -> Access:
        return Access.FULL


class Lines(Open, Room[LinesState]):
    """Each client adds numbers to a line of its own: writers never touch each other's keys."""

    pattern = "lines/<name>"

    @action
    def add(self, state: LinesState, client: str, number: int, filler: str = "") -> list[int]:
        """Add a number; returns how many the client has."""
        state.log.append(Entry(client, number))
        return [_add(state, client, number, filler)]

    @command
    async def order(self, caller: Caller, client: str, number: int, filler: str = "") -> None:
        """Add a number to two lines, in two commits."""
        await caller.call(Lines.add, client + FIRST, number, filler)
        await caller.call(Lines.add, client + SECOND, number)


class Ledger(Open, Room[LedgerState]):
    """The same with a total, over which all writers contend: it has to fit in every state."""

    pattern = "ledger/<name>"

    @action
    def add(self, state: LedgerState, client: str, number: int, filler: str = "") -> list[int]:
        """Add a number; returns how many the client and all clients have."""
        own = _add(state, client, number, filler)
        state.total += 1
        return [own, state.total]

    @command
    async def order(self, caller: Caller, client: str, number: int, filler: str = "") -> None:
        """Add a number to two lines, in two commits."""
        await caller.call(Ledger.add, client + FIRST, number, filler)
        await caller.call(Ledger.add, client + SECOND, number)


class Shelf(Open, Room[ShelfState]):
    """Each client puts an item there and takes it away; whoever finds it otherwise is refused."""

    pattern = "shelf/<name>"

    @action
    def put(self, state: ShelfState, client: str, number: int, filler: str = "") -> list[int]:
        if client in state.items:
            raise RoomError("the item is there")
        state.items[client] = number
        return [_add(state, client, number, filler)]

    @action
    def take(self, state: ShelfState, client: str, number: int, filler: str = "") -> list[int]:
        if client not in state.items:
            raise RoomError("the item is not there")
        del state.items[client]
        return [_add(state, client, number, filler)]

    @action
    def find(self, state: ShelfState, owner: str) -> int:
        """Change nothing; returns the number under which the owner's item was put."""
        if owner not in state.items:
            raise RoomError("the item is not there")
        return state.items[owner]


class Pool(Open, Room[PoolState]):
    """Clients share a few places. Their number is kept as well: it has to fit in every state.

    `enter` reads the number of taken places, and no value that others write: only the collection's
    epoch makes the action run again after another commit.
    """

    pattern = "pool/<name>"

    @action
    def enter(self, state: PoolState, client: str, number: int, filler: str = "") -> list[int]:
        if len(state.places) >= PLACES:
            raise RoomError("the pool is full")
        state.places.append(Entry(client, number))
        state.size = len(state.places)
        return [_add(state, client, number, filler)]

    @action
    def leave(self, state: PoolState, client: str, number: int, filler: str = "") -> list[int]:
        """Remove the client that entered first."""
        for id in state.places:
            del state.places[id]
            break
        else:
            raise RoomError("the pool is empty")
        state.size = len(state.places)
        return [_add(state, client, number, filler)]


class Rung(Struct, frozen=True):
    times: int
    late: float  # seconds


class TimerState(State):
    pending: str = ""
    due: float = 0.0
    rung: Items[Rung] = Items()
    strays: int = 0


class Timer(Open, Room[TimerState]):
    """Notes which of its alarms ran, and how late by the clock of this machine."""

    pattern = "timer/<name>"

    @action(server=True)
    def arm(self, state: TimerState, token: str, after: float) -> None:
        state.pending, state.due = token, time.time() + after
        state.wake(after=after)

    @alarm
    def ring(self, state: TimerState) -> None:
        token, late = state.pending, time.time() - state.due
        if not token:
            state.strays += 1
            return
        before = state.rung[token].times if token in state.rung else 0
        state.rung[token] = Rung(before + 1, late)
        state.pending = ""


def _add(state: LinesState, client: str, number: int, filler: str) -> int:
    line = state.lines.setdefault(client, [])
    if holds(line, number):
        state.doubled.append(Entry(client, number))
    else:
        add_number(line, number)
    state.filler = filler
    return held(line)


ROOMS: list[type[Room]] = [Lines, Ledger, Shelf, Pool, Timer]
KINDS = {kind.pattern.partition("/")[0]: kind for kind in ROOMS}
COLLECTIONS = {name for kind in ROOMS for name in kind.state.schema().collections}
UNSET: Mapping[str, Any] = {
    "total": 0,
    "size": 0,
    "filler": "",
    "doubled": [],
    "pending": "",
    "due": 0.0,
    "strays": 0,
}


def flat(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state as it is on the wire, without what has its default, from one with collections."""
    found: dict[str, Any] = {}
    for key, value in state.items():
        if key in COLLECTIONS:
            found |= {f"{key}/{id}": item for id, item in value.items()}
        elif key not in UNSET or value != UNSET[key]:
            found[key] = value
    return found


def nested(state: State) -> dict[str, Any]:
    """A state with its collections, for `flat`."""
    schema = type(state).schema()
    fields = {name: getattr(state, name) for name in schema.fields}
    return fields | {name: dict(getattr(state, name)) for name in schema.collections}


def items_of(state: Mapping[str, Any], collection: str) -> dict[str, Any]:
    """The items of a collection in a flat state."""
    start = f"{collection}/"
    return {key[len(start) :]: item for key, item in state.items() if key.startswith(start)}


def line_of(state: Mapping[str, Any], client: str) -> Ranges:
    """The line of a client in a flat state."""
    line: Ranges = state.get(f"lines/{client}", [])
    return line


def contradiction(state: Mapping[str, Any]) -> str | None:
    """What in this flat state cannot be, whatever happened; None if nothing."""
    if state.get("doubled"):
        return f"applied twice: {state['doubled']}"
    if "total" in state:
        entries = sum(held(line) for line in items_of(state, "lines").values())
        if entries != state["total"]:
            return f"the total is {state['total']}, but there are {entries} entries"
    for client, number in items_of(state, "items").items():
        line = line_of(state, client)
        if not line or line[-1][1] != number:
            return f"the item of {client} was put as {number}, but its changes are {line}"
    places, size = len(items_of(state, "places")), state.get("size", 0)
    if places > PLACES or places != size:
        return (
            f"{places} of {PLACES} places are taken, and the number of these is said to be {size}"
        )
    return None

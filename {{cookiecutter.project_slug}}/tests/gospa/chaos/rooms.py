"""Rooms whose states show by themselves whether they can be true."""

from typing import Any

from gospa import Draft, Room, RoomError, Session, action

Ranges = list[list[int]]  # [first, last] of numbers that follow each other
AllLines = dict[str, dict[str, Ranges]]  # by room and client

ITEM = "item:"  # begins the key of a client's item
OTHERS = ("doubled", "filler", "total")  # keys that are no client's


def add_number(ranges: Ranges, number: int) -> None:
    """Add a number to ranges that do not hold it."""
    if ranges and ranges[-1][1] == number - 1:
        ranges[-1][1] = number
    else:
        ranges.append([number, number])
        ranges.sort()


def holds(ranges: Ranges, number: int) -> bool:
    return any(first <= number <= last for first, last in ranges)


def held(ranges: Ranges) -> int:
    """How many numbers the ranges hold."""
    return sum(last - first + 1 for first, last in ranges)


def lacking(before: Ranges, after: Ranges) -> Ranges:
    """The numbers of the first ranges that the second ones do not hold."""
    found: Ranges = []
    for first, last in before:
        at = first
        for start, end in sorted(after):
            if end >= at and start <= last:
                if start > at:
                    found.append([at, start - 1])
                at = end + 1
        if at <= last:
            found.append([at, last])
    return found


class Lines(Room):
    """Each client adds numbers to a line of its own: writers never touch each other's keys."""

    pattern = "lines/<name>"

    async def authorize(self, session: Session) -> bool:
        return True

    @action
    def add(self, state: Draft, client: str, number: int, filler: str = "") -> list[int]:
        """Add a number; returns how many the client has."""
        return [self._append(state, client, number, filler)]

    @staticmethod
    def _append(state: Draft, client: str, number: int, filler: str) -> int:
        line: Ranges = state.setdefault(client, [])
        if holds(line, number):
            state["doubled"] = [*state.get("doubled", []), [client, number]]
        else:
            add_number(line, number)
        state["filler"] = filler
        return held(line)


class Ledger(Lines):
    """The same with a total, over which all writers contend: it has to fit in every state."""

    pattern = "ledger/<name>"
    initial = {"total": 0}

    @action
    def add(self, state: Draft, client: str, number: int, filler: str = "") -> list[int]:
        """Add a number; returns how many the client and all clients have."""
        own = self._append(state, client, number, filler)
        state["total"] += 1
        return [own, state["total"]]


class Shelf(Lines):
    """Each client puts an item there and takes it away; whoever finds it otherwise is refused."""

    pattern = "shelf/<name>"

    @action
    def put(self, state: Draft, client: str, number: int, filler: str = "") -> list[int]:
        if ITEM + client in state:
            raise RoomError("the item is there")
        state[ITEM + client] = number
        return [self._append(state, client, number, filler)]

    @action
    def take(self, state: Draft, client: str, number: int, filler: str = "") -> list[int]:
        if ITEM + client not in state:
            raise RoomError("the item is not there")
        del state[ITEM + client]
        return [self._append(state, client, number, filler)]

    @action
    def find(self, state: Draft, owner: str) -> int:
        """Change nothing; returns the number under which the owner's item was put."""
        if ITEM + owner not in state:
            raise RoomError("the item is not there")
        number: int = state[ITEM + owner]
        return number


ROOMS = [Lines, Ledger, Shelf]


def lines(state: dict[str, Any]) -> dict[str, Ranges]:
    """The line of each client in a state."""
    return {
        key: line for key, line in state.items() if key not in OTHERS and not key.startswith(ITEM)
    }


def items(state: dict[str, Any]) -> dict[str, int]:
    """The item of each client that has one there."""
    return {key[len(ITEM) :]: item for key, item in state.items() if key.startswith(ITEM)}


def contradiction(state: dict[str, Any]) -> str | None:
    """What in this state cannot be, whatever happened; None if nothing."""
    if state.get("doubled"):
        return f"applied twice: {state['doubled']}"
    if "total" in state:
        entries = sum(held(line) for line in lines(state).values())
        if entries != state["total"]:
            return f"the total is {state['total']}, but there are {entries} entries"
    for client, number in items(state).items():
        line: Ranges = state.get(client, [])
        if not line or line[-1][1] != number:
            return f"the item of {client} was put as {number}, but its changes are {line}"
    return None

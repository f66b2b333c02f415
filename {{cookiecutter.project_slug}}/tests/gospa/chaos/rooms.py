"""Rooms whose states show by themselves whether they can be true."""

from typing import Any

from gospa import Draft, Room, Session, action

Ranges = list[list[int]]  # [first, last] of numbers that follow each other


def add_number(ranges: Ranges, number: int) -> None:
    """Add a number to ranges that do not hold it."""
    if ranges and ranges[-1][1] == number - 1:
        ranges[-1][1] = number
    else:
        ranges.append([number, number])
        ranges.sort()


def holds(ranges: Ranges, number: int) -> bool:
    return any(first <= number <= last for first, last in ranges)


class Lines(Room):
    """Each client adds numbers to a line of its own: writers never touch each other's keys."""

    pattern = "lines/<name>"

    async def authorize(self, session: Session) -> bool:
        return True

    @action
    def add(self, state: Draft, client: str, number: int, filler: str = "") -> None:
        line: Ranges = state.setdefault(client, [])
        if holds(line, number):
            state["doubled"] = [*state.get("doubled", []), [client, number]]
        else:
            add_number(line, number)
        state["filler"] = filler


class Ledger(Lines):
    """The same with a total, over which all writers contend: it has to fit in every state."""

    pattern = "ledger/<name>"
    initial = {"total": 0}

    @action
    def add(self, state: Draft, client: str, number: int, filler: str = "") -> None:
        super().add(state, client, number, filler)
        state["total"] += 1


def missing(before: Ranges, after: Ranges) -> int:
    """How many numbers of the first ranges the second ones do not hold."""
    held = sum(last - first + 1 for first, last in before)
    common = sum(
        max(0, min(last, end) - max(first, start) + 1)
        for first, last in before
        for start, end in after
    )
    return held - common


def lines(state: dict[str, Any]) -> dict[str, Ranges]:
    """The line of each client in a state."""
    return {key: line for key, line in state.items() if key not in ("doubled", "filler", "total")}


def contradiction(state: dict[str, Any]) -> str | None:
    """What in this state cannot be, whatever happened; None if nothing."""
    if state.get("doubled"):
        return f"applied twice: {state['doubled']}"
    if "total" in state:
        held = sum(last - first + 1 for line in lines(state).values() for first, last in line)
        if held != state["total"]:
            return f"the total is {state['total']}, but there are {held} entries"
    return None

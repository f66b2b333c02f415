"""One change that a client or the application asks for, and what became of it."""

import itertools
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.gospa.chaos.ranges import AllLines, Ranges, holds
from tests.gospa.chaos.rooms import FIRST, SECOND

TOGGLES = ("put", "take")
PASSES = ("enter", "leave")
ORDER = "order"
ORDERED = ("lines", "ledger")  # rooms that have this command
# These refusals are not recorded in the store at once: an earlier try may be applied after them.
UNRECORDED = ("store_full", "conflict")


@dataclass(slots=True, eq=False)
class Mutation:
    """The `number`-th of this client in this room, `mid` on the wire.

    A command has numbers of its own, and bytes as its id on the wire.
    `before`, in a shelf, is the last change that was asked for of the item in question.
    """

    client: str
    room: str
    number: int
    mid: int | bytes = 0
    kind: str = "add"
    owner: str = ""  # of the item to find
    filler: str = field(default="", repr=False)
    before: "Mutation | None" = field(default=None, repr=False)
    stale: bool = False  # another change of the item was asked for before this was answered
    issued: float = field(default_factory=time.monotonic)
    answered: float | None = None
    acknowledged: float | None = None
    version: int | None = None
    result: Any = None
    refused: str | None = None
    reason: str = ""
    unknown: bool = False  # nobody will say whether it was applied
    sent: int = 0  # how often

    @property
    def writes(self) -> bool:
        return self.kind != "find"

    @property
    def is_command(self) -> bool:
        return self.kind == ORDER

    @property
    def arguments(self) -> dict[str, Any]:
        if not self.writes:
            return {"owner": self.owner}
        return {"client": self.client, "number": self.number, "filler": self.filler}

    @property
    def doubtful(self) -> bool:
        """Whether it may be applied or not, whatever was answered."""
        if self.is_command:  # it was refused at any of its steps
            return self.unknown or self.refused is not None
        return self.unknown or (self.refused in UNRECORDED and self.sent > 1)

    def kept(self, lines: Mapping[str, Ranges]) -> bool:
        """Whether it is in the lines of its room: a command with both of its steps."""
        steps = (FIRST, SECOND) if self.is_command else ("",)
        return all(holds(lines.get(self.client + step, []), self.number) for step in steps)

    @property
    def basis(self) -> "Mutation | None":
        """The change that decides whether the item is there; None if that cannot be known."""
        at = self.before
        while at is not None and at.refused and not at.doubtful:
            at = at.before
        known = at is not None and at.acknowledged is not None and not at.doubtful
        return at if known else None


class Shelves:
    """The last change that was asked for of each item, by room and owner."""

    def __init__(self) -> None:
        self.last: dict[tuple[str, str], Mutation] = {}

    def settled(self, room: str) -> list[Mutation]:
        """The last changes of items in a room that everybody may rely on."""
        return [
            last
            for (where, _), last in self.last.items()
            if where == room and last.acknowledged is not None
        ]

    def rest(self, finals: AllLines) -> None:
        """Rely on no change that the store has lost, and forget those before the last."""
        for place, last in list(self.last.items()):
            room, owner = place
            line = finals.get(room, {}).get(owner, [])
            at: Mutation | None = last
            while at is not None and at.refused:
                at = None if at.doubtful else at.before
            if at is not None and holds(line, at.number):
                at.before, self.last[place] = None, at
            else:
                del self.last[place]

    def moved(self, mutation: Mutation) -> bool:
        """Whether an item was changed, or is about to be, since this looked for it."""
        return self.last.get((mutation.room, mutation.owner)) is not mutation.before


class Author:
    """Makes up the changes of one client; some of them are commands."""

    def __init__(self, client: str, shelves: Shelves, rng: random.Random) -> None:
        self.client = client
        self._shelves = shelves
        self._rng = rng
        self._numbers: dict[str, itertools.count[int]] = {}

    def issue(self, room: str, mid: int = 0) -> Mutation:
        """The next change of a room."""
        settled = self._shelves.settled(room)
        if settled and self._rng.random() < 0.3:
            before = self._rng.choice(settled)
            return Mutation(self.client, room, 0, mid, "find", owner=before.client, before=before)
        kind = room.partition("/")[0]
        if kind in ORDERED and self._rng.random() < 0.1:
            number = self._next(f"{ORDER} {room}")
            mutation = Mutation(self.client, room, number, self._rng.randbytes(16), ORDER)
        else:
            mutation = Mutation(self.client, room, self._next(room), mid)
        mutation.filler = "x" * self._rng.choice((0, 100, 5000))
        if kind == "pool":
            mutation.kind = self._rng.choice(PASSES)
        elif kind == "shelf":
            place = room, self.client
            mutation.before = self._shelves.last.get(place)
            mutation.kind = TOGGLES[(mutation.number + 1) % 2]
            self._shelves.last[place] = mutation
        return mutation

    def _next(self, sequence: str) -> int:
        return next(self._numbers.setdefault(sequence, itertools.count(1)))

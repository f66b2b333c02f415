"""What clients did and were shown, and what follows from it."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgpack

from tests.gospa.chaos.rooms import Ranges, contradiction, holds, missing

Lines = dict[str, dict[str, Ranges]]  # by room and client
ALWAYS = float("-inf")


@dataclass(slots=True)
class Mutation:
    """One change: the `number`-th of this client in this room, `mid` on the wire."""

    client: str
    room: str
    number: int
    mid: int
    filler: str = field(repr=False)
    issued: float = field(default_factory=time.monotonic)
    acknowledged: float | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """The store lost what these rooms (all, if None) were given in a span of time."""

    rooms: frozenset[str] | None
    since: float
    until: float

    def concerns(self, room: str) -> bool:
        return self.rooms is None or room in self.rooms

    def covers(self, mutation: Mutation) -> bool:
        return (
            self.concerns(mutation.room)
            and mutation.issued <= self.until
            and (mutation.acknowledged or 0) >= self.since
        )


class Truth:
    """Everything seen in a run; `violations` is what must not have been."""

    def __init__(self) -> None:
        self.open: list[Mutation] = []
        self.losses: list[Loss] = []
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self._states: dict[tuple[str, bytes], int] = {}
        self._held: Lines = {}

    @property
    def states(self) -> int:
        """How many different states were shown."""
        return len(self._states)

    def shown(self, who: str, room: str, tag: bytes, state: dict[str, Any]) -> None:
        """A client displays this: it has to be possible, and the same for all at this commit."""
        self.counts["states shown"] += 1
        if problem := contradiction(state):
            self.violate(f"{who} was shown a wrong state of {room}: {problem}")
        digest = hash(msgpack.packb(sorted(state.items())))
        if self._states.setdefault((room, tag), digest) != digest:
            self.violate(f"{who} was shown another state of {room} than others at {tag.hex()}")

    def lost(self, since: float, *rooms: str) -> None:
        """The store has just lost what was written from `since` on."""
        self.losses.append(Loss(frozenset(rooms) or None, since, time.monotonic()))

    def violate(self, text: str) -> None:
        self.violations.append(text)

    def judge(self, finals: Lines) -> None:
        """At rest: compare what clients were told with what each room's lines hold now."""
        for room, after in finals.items():
            self._judge_earlier(room, after)
        for mutation in self.open:
            self._judge(mutation, finals[mutation.room].get(mutation.client, []))
        self._held = finals
        self.open.clear()
        self.losses.clear()

    def _judge_earlier(self, room: str, after: dict[str, Ranges]) -> None:
        before = self._held.get(room, {})
        gone = sum(missing(line, after.get(client, [])) for client, line in before.items())
        self.counts["changes lost with the store"] += gone
        if gone and not any(loss.concerns(room) for loss in self.losses):
            self.violate(f"{gone} changes of {room} vanished")

    def _judge(self, mutation: Mutation, line: Ranges) -> None:
        kept = holds(line, mutation.number)
        self.counts["changes"] += 1
        if mutation.refused:
            self.counts[f"changes refused: {mutation.refused}"] += 1
            if kept:
                self.violate(f"applied although refused: {mutation}")
        elif mutation.acknowledged is None:
            self.violate(f"never answered: {mutation}")
        elif not kept:
            self.counts["changes lost with the store"] += 1
            if not any(loss.covers(mutation) for loss in self.losses):
                self.violate(f"acknowledged, but not there: {mutation}")

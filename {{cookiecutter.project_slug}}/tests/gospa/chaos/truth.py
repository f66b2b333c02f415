"""What clients did and were shown; `judge` says what follows from it."""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import msgpack

from tests.gospa.chaos.chains import ALWAYS, Chain, State
from tests.gospa.chaos.mutation import Mutation, Shelves
from tests.gospa.chaos.ranges import AllLines
from tests.gospa.chaos.rooms import contradiction, flat


class Kind(StrEnum):
    """What must not happen."""

    WRONG = "wrong states"
    DOUBLED = "changes applied twice"
    LOST = "acknowledged changes lost"
    KEPT = "refused changes applied"
    SILENT = "changes never answered"
    BACK = "states older than one shown before"
    HIDDEN = "acknowledged changes not shown"
    RESULT = "results that do not fit their state"
    UNTRUE = "untrue refusals and answers"
    EPOCH = "epochs that differ"
    APART = "no agreement"


class Violation(NamedTuple):
    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Loss:
    """The store lost what these rooms (all, if None) were given in a span of time.

    `began`: the time before which it had lost nothing yet. `split`: from then on, a worker may have
    asked a server that another had replaced.
    """

    rooms: frozenset[str] | None
    since: float
    until: float
    began: float = ALWAYS
    split: bool = False

    def concerns(self, room: str) -> bool:
        return self.rooms is None or room in self.rooms

    def covers(self, mutation: Mutation) -> bool:
        return (
            self.concerns(mutation.room)
            and mutation.issued <= self.until
            and (mutation.acknowledged or 0) >= self.since
        )


@dataclass(frozen=True, slots=True)
class Doubt:
    """What a client was shown may not be, unless the store had lost commits by then.

    `tags`: commits in question; `missing`: own numbers of `client` that are not in the state.
    """

    kind: Kind
    text: str
    room: str
    tags: tuple[bytes, ...]
    client: str = ""
    missing: tuple[int, ...] = ()
    at: float = 0.0


class Truth:
    """Everything seen in a run; `violations` is what must not have been."""

    def __init__(self) -> None:
        self.open: list[Mutation] = []
        self.losses: list[Loss] = []
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter()
        self.lateness: list[float] = []  # of alarms, in seconds
        self.shelves = Shelves()
        self.doubts: list[Doubt] = []
        self.chains: defaultdict[str, Chain] = defaultdict(Chain)
        self.lines: AllLines = {}  # at the last rest,
        self.rested = time.monotonic()  # and when that was
        self._states: dict[tuple[str, bytes], int] = {}

    @property
    def states(self) -> int:
        """How many different states were shown."""
        return len(self._states)

    def shown(
        self,
        who: str,
        room: str,
        head: tuple[int, bytes],
        state: Mapping[str, Any],
        parent: bytes | None = None,
    ) -> None:
        """A client displays this: it has to be possible, and the same for all at this commit."""
        self.counts["states shown"] += 1
        (version, tag), chain = head, self.chains[room]
        state = flat(state)
        digest = hash(msgpack.packb(sorted(state.items())))
        if self._states.setdefault((room, tag), digest) != digest:
            text = f"{who} was shown another state of {room} than others at {tag.hex()}"
            self.violate(Kind.WRONG, text)
        if tag not in chain:
            chain.add(State.of(version, tag, state))
            if problem := contradiction(state):
                kind = Kind.DOUBLED if state.get("doubled") else Kind.WRONG
                self.violate(kind, f"{who} was shown a wrong state of {room}: {problem}")
        if parent is not None:
            chain.link(tag, parent)

    def lost(self, since: float, *rooms: str, began: float = ALWAYS, split: bool = False) -> None:
        """The store has just lost what was written from `since` on."""
        began, until = max(since, began), time.monotonic()
        self.losses.append(Loss(frozenset(rooms) or None, since, until, began, split))

    def violate(self, kind: Kind, text: str) -> None:
        self.violations.append(Violation(kind, text))

    def acknowledge(self, mutation: Mutation, version: int | None, result: Any) -> None:
        self._answer(mutation)
        mutation.acknowledged = mutation.answered
        mutation.version, mutation.result = version, result

    def refuse(self, mutation: Mutation, code: str, reason: str) -> None:
        self._answer(mutation)
        mutation.refused, mutation.reason = code, reason

    def _answer(self, mutation: Mutation) -> None:
        mutation.answered = time.monotonic()
        mutation.stale = not mutation.writes and self.shelves.moved(mutation)

    def rest(self, finals: AllLines, heads: Mapping[str, bytes]) -> None:
        """Everything was judged: keep what the next round begins with."""
        self.shelves.rest(finals)
        for room, chain in self.chains.items():
            chain.forget_all_but(heads.get(room, b""))
        self.lines = finals
        self.open.clear()
        self.losses.clear()
        self.doubts.clear()
        self.rested = time.monotonic()

"""A room's queue of mutations in this worker: one runs and commits at a time, in order."""

import asyncio
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from server import background
from server.errors import StoreUnavailable
from server.realtime import wire
from server.realtime.refusal import refusal
from server.realtime.room import Invalid, RoomError
from server.state.codec import check
from server.state.draft import Draft, Edits
from server.state.store import (
    TAG_BYTES,
    Change,
    Commit,
    Refused,
    Snapshot,
    StateStore,
    fields_size,
    growth,
)

MAX_REFUSED = 128  # more than a client may have under way
PATIENCE = 2.0  # seconds in which a mutation is tried again,
ATTEMPTS = 5  # and at least so often: a slow store alone is no reason to give up


class Lane:
    """One client's mutations in a room, over one connection.

    The store keeps a client's last number, and what is repeated below it counts as done. So none
    overtakes one put off, and the store is told which were refused.
    """

    def __init__(self) -> None:
        self._done = 0
        self._put_off = math.inf
        self.refused: deque[int] = deque(maxlen=MAX_REFUSED)

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """Run a mutation. Raises StoreUnavailable if an earlier one has to be repeated first."""
        if number > self._put_off:
            raise StoreUnavailable(f"mutation {self._put_off} has to be repeated first")
        try:
            yield
        except StoreUnavailable:
            if number > self._done:  # else the client has its answer, and will not repeat it
                self._put_off = number
            raise
        except Exception:
            self.refused.append(number)
            self.answered(number)
            raise
        self.answered(number)

    def answered(self, number: int) -> None:
        """The client was told how this one ended."""
        self._done = max(self._done, number)
        if number == self._put_off:
            self._put_off = math.inf


@dataclass(frozen=True, slots=True)
class Mutation:
    """A client's numbered change; `answer` takes the message that tells how it ended."""

    client: bytes
    number: int
    lane: Lane
    run: Callable[[Draft], Any]
    answer: Callable[[bytes], None]


class Conflicted(RoomError):
    """Other writers came first each time."""

    code = "conflict"


class MutationQueue:
    """Runs mutations of one room on the newest state known, again where another writer won."""

    def __init__(  # noqa: PLR0913 - what it needs is of many kinds
        self,
        key: str,
        name: str,
        absent: Snapshot,
        store: StateStore,
        current: Callable[[], Snapshot],
        *,
        limit: float = math.inf,
    ) -> None:
        self._limit = limit
        self._key = key
        self._name = name
        self._absent = absent
        self._store = store
        self._current = current
        self._tip: Snapshot | None = None  # after our last commit, which the replica may not have
        self._proposed: tuple[bytes, Mutation, Any] | None = None  # tag and result
        self._told: Mutation | None = None
        self._waiting: deque[Mutation] = deque()
        self._runner: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return self._runner is None

    def submit(self, mutation: Mutation) -> None:
        """Queue a mutation; its `answer` is called exactly once."""
        self._waiting.append(mutation)
        if self._runner is None:
            self._runner = background.start(self._run(), f"mutations of {self._name}")

    def published(self, tag: bytes, version: int) -> None:
        """A commit has come here. If it is ours, who made it hears so before being shown it."""
        if self._proposed and self._proposed[0] == tag:
            _, mutation, result = self._proposed
            self._proposed, self._told = None, mutation
            mutation.lane.answered(mutation.number)
            mutation.answer(wire.ack(mutation.number, version, result))

    def restart(self) -> None:
        """The replica was loaded anew: what was known beyond it may be of another chain."""
        self._tip = None

    def drop(self) -> None:
        """Leave what waits unanswered: its clients send it again elsewhere."""
        self._waiting.clear()

    async def settled(self) -> None:
        """Wait until everything queued is answered."""
        while self._runner is not None:
            await asyncio.wait([self._runner])

    async def _run(self) -> None:
        try:
            while self._waiting:
                mutation = self._waiting.popleft()
                answer = await self._answer(mutation)
                if self._told is not mutation:
                    mutation.answer(answer)
        finally:
            self._runner = None

    async def _answer(self, mutation: Mutation) -> bytes:
        try:
            with mutation.lane.turn(mutation.number):
                version, result = await self._apply(mutation)
        except Exception as error:  # noqa: BLE001 - told and logged; it must not stop the queue
            return refusal(error, self._name, mutation.number)
        return wire.ack(mutation.number, version, result)

    async def _apply(self, mutation: Mutation) -> tuple[int, Any]:
        base = self._newest()
        now = asyncio.get_running_loop().time
        deadline = now() + PATIENCE
        attempt = 0
        while now() < deadline or attempt < ATTEMPTS:
            draft = Draft(base.fields)
            result = mutation.run(draft)
            check(result, "the result")
            edits = draft.edits()
            if not edits:
                return base.version, result
            change = self._change(mutation, base, edits, attempt)
            self._check_size(base, change)
            self._proposed = (change.tag, mutation, result)
            try:
                outcome = await self._store.commit(self._key, change)
            finally:
                self._proposed = None
            if isinstance(outcome, Refused):
                raise RoomError("it was refused before")
            if isinstance(outcome, Commit):
                if outcome.repeated:
                    return outcome.version, None
                self._tip = _after(base, change, outcome)
                return outcome.version, result
            base = outcome.snapshot or self._absent
            attempt += 1
        raise Conflicted(f"others changed {self._name} first, {attempt} times; try again")

    def _newest(self) -> Snapshot:
        current, tip = self._current(), self._tip
        return tip if tip and tip.version > current.version else current

    def _change(self, mutation: Mutation, base: Snapshot, edits: Edits, attempt: int) -> Change:
        tag = os.urandom(TAG_BYTES)
        exists = base.version > 0
        changed, deleted = edits.set, edits.delete
        if not exists:  # the room's first commit carries its initial state
            kept = {k: raw for k, raw in self._absent.fields.items() if k not in deleted}
            changed, deleted = {**kept, **changed}, ()
        return Change(
            tag=tag,
            exists=exists,
            frame=wire.patch_frame(self._name, tag, changed, deleted),
            set=changed,
            delete=deleted,
            expect=edits.read if exists else {},
            expect_tag=base.tag if edits.all_keys and exists else None,
            client=mutation.client,
            mutation=mutation.number,
            refused=[number for number in mutation.lane.refused if number < mutation.number],
            attempt=attempt,
        )

    def _check_size(self, base: Snapshot, change: Change) -> None:
        """Raise Invalid for what makes the room larger than it may be."""
        more = growth(base.fields, change)
        if more > 0 and fields_size(base.fields.items()) + more > self._limit:
            raise Invalid(f"{self._name} has its {self._limit} bytes: remove something first")


def _after(base: Snapshot, change: Change, commit: Commit) -> Snapshot | None:
    """The state after a commit, unless others committed between it and its base."""
    if commit.parent != base.tag:
        return None
    fields = {k: raw for k, raw in base.fields.items() if k not in change.delete}
    return Snapshot(commit.version, change.tag, {**fields, **change.set})

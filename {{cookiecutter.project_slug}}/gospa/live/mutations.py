"""A room's queue of mutations in this worker: run in order, those that wait commit together."""

import asyncio
import math
import os
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from gospa import tasks
from gospa.errors import StoreError, StoreUnavailable
from gospa.extras import metrics
from gospa.live import wire
from gospa.live.refusal import refusal
from gospa.room import Invalid, RoomError
from gospa.store.codec import check
from gospa.store.contract import (
    MAX_REFUSED,
    TAG_BYTES,
    Change,
    Commit,
    Conflict,
    Numbered,
    Refused,
    Snapshot,
    StateStore,
    fields_size,
    growth,
)
from gospa.store.draft import NO_EDITS, Draft, Edits

FOLD = 64  # mutations that may share a commit, at most
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

    def admit(self, number: int) -> None:
        """Raises StoreUnavailable if an earlier one has to be repeated first."""
        if number > self._put_off:
            raise StoreUnavailable(f"mutation {self._put_off} has to be repeated first")

    def settle(self, number: int, error: Exception | None) -> None:
        """It was applied, or ended with an error; its client is told."""
        if isinstance(error, StoreUnavailable):
            if number > self._done:  # else the client has its answer, and will not repeat it
                self._put_off = number
            return
        if error is not None:
            self.refused.append(number)
        self._done = max(self._done, number)
        if number == self._put_off:
            self._put_off = math.inf


@dataclass(frozen=True, slots=True)
class Mutation:
    """A client's numbered change; `answer` takes the message that tells how it ended.

    One of no client (b"") is not numbered in the store: it may be done twice.
    """

    client: bytes
    number: int
    lane: Lane
    run: Callable[[Draft], Any]
    answer: Callable[[bytes], None]
    context: Context = field(default_factory=copy_context)  # with the ids that logs tell


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
        self._proposed: tuple[bytes, list[Mutation], list[Any]] | None = None  # with tag, results
        self._waiting: deque[Mutation] = deque()
        self._most = FOLD  # to share the next commit: fewer while many are repeated
        self._runner: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return self._runner is None

    def submit(self, mutation: Mutation) -> None:
        """Queue a mutation; its `answer` is called exactly once."""
        self._waiting.append(mutation)
        if self._runner is None:
            self._runner = tasks.start(self._run(), f"mutations of {self._name}")

    def published(self, tag: bytes, version: int) -> None:
        """A commit has come here. If it is ours, who made it hears so before being shown it."""
        if self._proposed and self._proposed[0] == tag:
            _, turn, results = self._proposed
            self._acknowledge(turn, version, results)

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
            while turn := self._next():
                await self._serve(turn)
        finally:
            self._runner = None

    def _next(self) -> list[Mutation]:
        """The first that wait, each of another client: these may share a commit."""
        turn: dict[bytes, Mutation] = {}
        while self._waiting and len(turn) < self._most and self._waiting[0].client not in turn:
            mutation = self._waiting.popleft()
            try:
                mutation.lane.admit(mutation.number)
            except StoreUnavailable as error:
                mutation.answer(refusal(error, self._name, mutation.number))
            else:
                turn[mutation.client] = mutation
        return list(turn.values())

    async def _serve(self, turn: list[Mutation]) -> None:
        """Apply mutations and answer them; those that could not be together wait again."""
        try:
            await self._apply(turn)
        except Exception as error:  # noqa: BLE001 - told and logged; it must not stop the queue
            for mutation in turn:
                mutation.lane.settle(mutation.number, error)
                told = mutation.context.run(refusal, error, self._name, mutation.number)
                mutation.answer(told)

    def _acknowledge(self, turn: list[Mutation], version: int, results: list[Any]) -> None:
        """Tell that these were applied, once: none of them is left in `turn`."""
        for mutation, result in zip(turn, results, strict=bool(turn)):
            mutation.lane.settle(mutation.number, None)
            mutation.answer(wire.ack(mutation.number, version, result))
        turn.clear()

    async def _apply(self, turn: list[Mutation]) -> None:
        """Commit together. What cannot be is taken out of `turn`; the first always stays."""
        base = self._newest()
        now = asyncio.get_running_loop().time
        deadline = now() + PATIENCE
        attempt = 0
        while now() < deadline or attempt < ATTEMPTS:
            edits, results = self._edit(turn, base)
            if not edits:
                self._acknowledge(turn, base.version, results)
                return
            change = self._change(turn, base, edits, attempt)
            self._proposed = (change.tag, turn, results)
            try:
                outcome = await self._commit(change)
            finally:
                self._proposed = None
            if isinstance(outcome, Conflict):
                base = outcome.snapshot or self._absent
                attempt += 1
            elif isinstance(outcome, Commit) and not outcome.repeated:
                self._tip = _after(base, change, outcome)
                self._most = min(2 * self._most, FOLD)
                self._acknowledge(turn, outcome.version, results)
                return
            elif len(turn) > 1:  # one of them was done or refused before
                self._most = len(turn) // 2
                self._put_back(turn, self._most)
            elif isinstance(outcome, Commit):
                self._acknowledge(turn, outcome.version, [None])
                return
            else:
                raise RoomError("it was refused before")
        raise Conflicted(f"others changed {self._name} first, {attempt} times; try again")

    async def _commit(self, change: Change) -> Commit | Conflict | Refused:
        if change.attempt:
            metrics.COMMITS.labels("retried").inc()
        try:
            with metrics.COMMIT_SECONDS.time():
                outcome = await self._store.commit(self._key, change)
        except StoreError:
            metrics.COMMITS.labels("failed").inc()
            raise
        metrics.COMMITS.labels(type(outcome).__name__.lower()).inc()
        return outcome

    def _edit(self, turn: list[Mutation], base: Snapshot) -> tuple[Edits, list[Any]]:
        """Run each on what those before it left, up to one that fails, which will be the first."""
        edits, results, fields = NO_EDITS, list[Any](), base.fields
        for number, mutation in enumerate(turn):
            draft = Draft(fields)
            try:
                result = mutation.run(draft)
                check(result, "the result")
                own = draft.edits()
                self._check_size(fields, own)
            except Exception:
                self._put_back(turn, max(number, 1))
                if number == 0:
                    raise
                break
            results.append(result)
            edits = edits.then(own)
            fields = own.applied(fields) if own else fields
        return edits, results

    def _put_back(self, turn: list[Mutation], start: int) -> None:
        self._waiting.extendleft(reversed(turn[start:]))
        del turn[start:]

    def _newest(self) -> Snapshot:
        current, tip = self._current(), self._tip
        return tip if tip and tip.version > current.version else current

    def _change(self, turn: list[Mutation], base: Snapshot, edits: Edits, attempt: int) -> Change:
        tag = os.urandom(TAG_BYTES)
        exists = base.version > 0
        changed, deleted = edits.set, edits.delete
        if not exists:  # the room's first commit carries its initial state
            kept = {k: raw for k, raw in self._absent.fields.items() if k not in deleted}
            changed = {**kept, **changed}
        return Change(
            tag=tag,
            exists=exists,
            frame=wire.patch_frame(self._name, tag, changed, deleted),
            set=changed,
            delete=deleted,
            expect=edits.read if exists else {},
            expect_tag=base.tag if edits.all_keys and exists else None,
            mutations=[
                Numbered(m.client, m.number, [n for n in m.lane.refused if n < m.number])
                for m in turn
                if m.client
            ],
            attempt=attempt,
        )

    def _check_size(self, fields: Mapping[str, bytes], edits: Edits) -> None:
        """Raise Invalid for what makes the room larger than it may be."""
        more = growth(fields, edits.set, edits.delete)
        if more > 0 and fields_size(fields.items()) + more > self._limit:
            raise Invalid(f"{self._name} has its {self._limit} bytes: remove something first")


def _after(base: Snapshot, change: Change, commit: Commit) -> Snapshot | None:
    """The state after a commit, unless others committed between it and its base."""
    if commit.parent != base.tag:
        return None
    fields = {k: raw for k, raw in base.fields.items() if k not in change.delete}
    return Snapshot(commit.version, change.tag, {**fields, **change.set})

"""A room's queue of mutations in this worker: run in order; those that wait share a commit."""

import asyncio
import math
import os
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from sanic.log import logger

from gospa import tasks
from gospa.errors import StoreError, StoreUnavailable
from gospa.live import wire
from gospa.room import Conflicted, RoomError
from gospa.stats import BUCKETS, STATS
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
)
from gospa.store.draft import Draft, Edits, run_all

MAX_BATCH = 64  # mutations that may share a commit
RETRY_TIME = 2.0  # seconds in which a mutation is tried again,
ATTEMPTS = 5  # and at least so often: a slow store alone is no reason to give up


class MutationSequence:
    """The numbers of one client's mutations in a room, over one connection.

    The store keeps a client's last number and treats lower ones as repeats. So no mutation may
    overtake one whose outcome is unknown, and each commit names the numbers that were refused.
    """

    def __init__(self) -> None:
        self._done, self._unknown = 0, math.inf
        self.refused: deque[int] = deque(maxlen=MAX_REFUSED)

    def admit(self, number: int) -> None:
        """Raises StoreUnavailable if an earlier mutation has to be repeated first."""
        if number > self._unknown:
            raise StoreUnavailable(f"mutation {self._unknown} has to be repeated first")

    def settle(self, number: int, outcome: "Outcome") -> None:
        """Record the outcome that is sent to the client."""
        if isinstance(outcome, StoreUnavailable):
            if number > self._done:  # else the client has its answer and will not repeat it
                self._unknown = number
            return
        if isinstance(outcome, Exception):
            self.refused.append(number)
        self._done = max(self._done, number)
        if number == self._unknown:
            self._unknown = math.inf


@dataclass(frozen=True, slots=True)
class Applied:
    """A mutation is in the commit `version`; the result of a repeated one is not kept."""

    version: int
    result: Any = None


Outcome = Applied | Exception


@dataclass(frozen=True, slots=True)
class Mutation:
    """A client's numbered change; `done` is called once, with its outcome.

    A mutation of no client (b"") has no number in the store: repeated, it is applied twice.
    """

    client: bytes
    number: int
    sequence: MutationSequence
    run: Callable[[Draft], Any]
    done: Callable[[Outcome], None]
    context: Context = field(default_factory=copy_context)  # with the ids for the log

    def settle(self, outcome: Outcome) -> None:
        """End it with this outcome."""
        self.sequence.settle(self.number, outcome)
        self.report(outcome)

    def report(self, outcome: Outcome) -> None:
        """Call `done`, without recording the outcome."""
        try:
            self.context.run(self.done, outcome)
        except Exception:  # it concerns no other mutation
            logger.exception("the outcome of a mutation cannot be reported")


@dataclass(slots=True)
class _Batch:
    """Mutations that are to share a commit; `results` are those of its latest run."""

    mutations: list[Mutation]
    results: list[Any] = field(default_factory=list)
    tag: bytes = b""

    def acknowledge(self, version: int) -> None:
        """Settle these as applied. Later calls have no effect."""
        for mutation, result in zip(self.mutations, self.results, strict=bool(self.mutations)):
            mutation.settle(Applied(version, result))
        self.mutations = []


class MutationQueue:
    """Runs a room's mutations on the newest state known, again where another writer won."""

    def __init__(  # noqa: PLR0913 - it needs things of many kinds
        self,
        key: str,
        name: str,
        absent: Snapshot,
        store: StateStore,
        current: Callable[[], Snapshot],
        *,
        limit: float = math.inf,
    ) -> None:
        self._key, self._name, self._limit = key, name, limit
        self._absent, self._store, self._current = absent, store, current
        self._newest_own: Snapshot | None = None  # our last commit, ahead of the replica
        self._proposed: _Batch | None = None  # on its way to the store
        self._waiting: deque[Mutation] = deque()
        self._max_batch = MAX_BATCH  # less while many are repeats
        self._runner: asyncio.Task[None] | None = None  # started by the first mutation
        self._closed = False
        self._work, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()

    @property
    def idle(self) -> bool:
        """Whether every mutation has its outcome."""
        return self._idle.is_set()

    def submit(self, mutation: Mutation) -> None:
        """Queue a mutation, which gets no outcome if this was closed."""
        if self._closed:
            return
        self._waiting.append(mutation)
        self._work.set()
        self._idle.clear()
        if self._runner is None:
            self._runner = tasks.start(self._run(), f"mutations of {self._name}", Context())

    async def close(self) -> None:
        """Stop the queue. Waiting mutations get no outcome."""
        self._closed = True
        if self._runner is not None:
            await tasks.stop(self._runner)

    def published(self, tag: bytes, version: int) -> None:
        """A commit was published. If it is ours, acknowledge it before its state is shown."""
        if self._proposed and self._proposed.tag == tag:
            self._proposed.acknowledge(version)

    def restart(self) -> None:
        """The replica was loaded again, maybe from another chain."""
        self._newest_own = None

    def drop(self) -> None:
        """Drop waiting mutations without an outcome: clients repeat them on another worker."""
        self._waiting.clear()

    async def settled(self) -> None:
        """Wait until every mutation has its outcome."""
        await self._idle.wait()

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while batch := self._next():
                try:
                    await self._commit_batch(batch)
                except Exception as error:  # noqa: BLE001 - it is the outcome of each
                    for mutation in batch.mutations:
                        mutation.settle(error)
            self._idle.set()

    def _next(self) -> _Batch | None:
        """The oldest waiting mutations, each of another client; None if there are none."""
        batch: dict[bytes, Mutation] = {}
        while self._waiting and len(batch) < self._max_batch:
            if self._waiting[0].client in batch:
                break
            mutation = self._waiting.popleft()
            try:
                mutation.sequence.admit(mutation.number)
                batch[mutation.client] = mutation
            except StoreUnavailable as error:
                mutation.report(error)
        return _Batch(list(batch.values())) if batch else None

    async def _commit_batch(self, batch: _Batch) -> None:
        """Commit a batch. Mutations that cannot share its commit go back to the queue."""
        base, own = self._current(), self._newest_own
        base = own if own and own.version > base.version else base
        attempt, deadline = 0, time.monotonic() + RETRY_TIME
        while time.monotonic() < deadline or attempt < ATTEMPTS:
            edits, error = self._edit(batch, base)
            # Without edits, a question: refusals are decided on the newest state in the store, and
            # a repeat of an applied mutation is acknowledged whatever its action says by now.
            change = self._change(batch, base, edits, attempt)
            match outcome := await self._propose(batch, change):
                case Conflict():
                    STATS.conflicts += 1
                    base = outcome.snapshot or self._absent
                    attempt += 1
                case Commit(repeated=False):
                    if error is not None:
                        raise error
                    if edits:
                        self._follow(base, change, outcome, edits)
                    batch.acknowledge(outcome.version)
                    return
                case _ if len(batch.mutations) > 1:  # one of them was applied or refused before
                    STATS.repeated += 1
                    self._max_batch = len(batch.mutations) // 2
                    self._put_back(batch, self._max_batch)
                case Commit():
                    batch.results = [None]
                    batch.acknowledge(outcome.version)
                    return
                case _:
                    raise RoomError("this mutation was refused before")
        raise Conflicted(f"others changed {self._name} first, {attempt} times; try again")

    async def _propose(self, batch: _Batch, change: Change) -> Commit | Conflict | Refused:
        STATS.retried += change.attempt > 0
        batch.tag, self._proposed = change.tag, batch
        began = time.perf_counter()
        try:
            return await self._store.commit(self._key, change)
        except StoreError:
            STATS.failed += 1
            raise
        finally:
            self._proposed = None
            took = time.perf_counter() - began
            STATS.commit_seconds[bisect_left(BUCKETS, took)] += 1
            STATS.commit_seconds_sum += took

    def _follow(self, base: Snapshot, change: Change, commit: Commit, edits: Edits) -> None:
        """Go on from our own commit, unless others committed between it and its base."""
        STATS.committed += 1
        self._max_batch = min(2 * self._max_batch, MAX_BATCH)
        own = Snapshot(commit.version, change.tag, edits.applied(base.fields))
        self._newest_own = own if commit.parent == base.tag else None

    def _edit(self, batch: _Batch, base: Snapshot) -> tuple[Edits, Exception | None]:
        """Run the batch up to a mutation that fails; if that is the first, it is left alone."""
        runs = [mutation.run for mutation in batch.mutations]
        edits, batch.results, error = run_all(runs, base.fields, self._limit)
        if error is not None:
            self._put_back(batch, max(len(batch.results), 1))
        return edits, None if batch.results else error

    def _put_back(self, batch: _Batch, start: int) -> None:
        self._waiting.extendleft(reversed(batch.mutations[start:]))
        del batch.mutations[start:]

    def _change(self, batch: _Batch, base: Snapshot, edits: Edits, attempt: int) -> Change:
        tag, exists = os.urandom(TAG_BYTES), base.version > 0
        changed, deleted = edits.set, edits.delete
        if edits and not exists:  # the room's first commit carries its initial state
            kept = {k: raw for k, raw in self._absent.fields.items() if k not in deleted}
            changed = {**kept, **changed}
        return Change(
            tag=tag,
            exists=exists,
            message=wire.patch_parts(self._name, tag, changed, deleted),
            set=changed,
            delete=deleted,
            expect=edits.read if exists else {},
            expect_tag=base.tag if exists and (edits.all_keys or not edits) else None,
            mutations=[
                Numbered(m.client, m.number, [n for n in m.sequence.refused if n < m.number])
                for m in batch.mutations
                if m.client
            ],
            attempt=attempt if edits else 0,
        )

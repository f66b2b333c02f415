"""A room's queue of mutations in this worker: run in order; those that wait share a commit."""

import asyncio
import math
import os
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from sanic.log import logger

from gospa import tasks
from gospa.errors import Conflicted, RoomError, StoreError, StoreUnavailable
from gospa.live import wire
from gospa.stats import BUCKETS, STATS
from gospa.store import contract
from gospa.store.contract import NO_TAG, Commit, Known, Record, Snapshot
from gospa.store.draft import Draft, Edits, run_all

MAX_BATCH = 64  # mutations that may share a commit
STOPPED = "this worker stops"
RETRY_TIME = 2.0  # seconds in which a mutation is tried again,
ATTEMPTS = 5  # and at least so often: a slow store alone is no reason to give up


class MutationSequence:
    """The numbers of one source's mutations in a room, over one connection.

    A source is a client in its session, or an idempotency key; `source` is its name in the store,
    which keeps its last number for `ttl` seconds and treats lower ones as repeats. So no mutation
    may overtake one whose outcome is unknown. Refusals are recorded by the question before them or
    by the next commit. With `record_all`, only what was not refused is, also if it changed nothing.
    """

    def __init__(self, source: str, ttl: float, *, record_all: bool = False) -> None:
        self.source, self.ttl, self.record_all = source, ttl, record_all
        self._done, self._unknown = 0, math.inf
        self.refused: deque[int] = deque(maxlen=contract.MAX_REFUSED)

    def numbered(self, first: int, last: int, *, refuse: bool) -> contract.Numbered:
        """The mutations from `first` to `last`, for a commit, or to refuse the last one."""
        refused = [number for number in self.refused if number < last] + [last] * refuse
        return contract.Numbered(self.source, first, last, self.ttl, refused)

    def blocks(self, number: int, before: int) -> bool:
        """Whether one that is neither done nor in the batch, up to `before`, comes first."""
        return number > self._unknown > before

    def settle(self, number: int, outcome: "Outcome") -> None:
        """Record the outcome that is sent to the client."""
        if isinstance(outcome, StoreUnavailable):
            if number > self._done:  # else the client has its answer and will not repeat it
                self._unknown = min(number, self._unknown)
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


@dataclass(frozen=True, slots=True, eq=False)
class Mutation:
    """A change to a room; `done` is called once, with its outcome.

    Without a sequence it has no number in the store: repeated, it is applied twice.
    """

    sequence: MutationSequence | None
    number: int
    run: Callable[[Draft], Any]
    done: Callable[[Outcome], None]
    context: Context = field(default_factory=copy_context)  # with the ids for the log

    def settle(self, outcome: Outcome) -> None:
        """End it with this outcome."""
        if self.sequence is not None:
            self.sequence.settle(self.number, outcome)
        try:
            self.context.run(self.done, outcome)
        except Exception:  # it concerns no other mutation
            logger.exception("the outcome of a mutation cannot be reported")


@dataclass(slots=True)
class _Batch:
    """Mutations that are to share a commit; results and tag are those of their latest run."""

    mutations: list[Mutation]
    results: Sequence[Any] = ()
    tag: bytes = NO_TAG

    def numbered(self, *, refuse: bool) -> list[contract.Numbered]:
        """The numbers of each source."""
        first = {each.sequence: each.number for each in reversed(self.mutations) if each.sequence}
        last = {each.sequence: each.number for each in self.mutations if each.sequence}
        return [each.numbered(first[each], number, refuse=refuse) for each, number in last.items()]

    def acknowledge(self, version: int) -> None:
        """Settle these as applied. Later calls have no effect."""
        for mutation, result in zip(self._take(), self.results, strict=False):
            mutation.settle(Applied(version, result))

    def settle_known(self, known: Known) -> None:
        """Settle those that the store knows. The others remain."""
        for mutation in self._take():
            source = mutation.sequence.source if mutation.sequence else ""
            record = known.records.get(source, Record())
            if mutation.number > record.last or mutation.sequence is None:
                self.mutations.append(mutation)
            elif mutation.number in record.refused:
                mutation.settle(RoomError("this mutation was refused before"))
            else:
                mutation.settle(Applied(record.version))

    def fail(self, error: Exception) -> None:
        """Settle those that remain."""
        for mutation in self._take():
            mutation.settle(error)

    def _take(self) -> list[Mutation]:
        taken, self.mutations = self.mutations, []
        return taken


class MutationQueue:
    """Runs a room's mutations on the newest state known, again where another writer won."""

    def __init__(  # noqa: PLR0913 - it needs things of many kinds
        self,
        key: str,
        name: str,
        defaults: Mapping[str, bytes],
        store: contract.StateStore,
        current: Callable[[], Snapshot],
        *,
        limit: float = math.inf,
    ) -> None:
        self._key, self._name, self._limit = key, name, limit
        self._defaults, self._store, self._current = defaults, store, current
        # The state after our last commit, ahead of the replica. It has NO_TAG if others committed
        # before: then it is mixed of several states, and holds only for what a commit verifies.
        self._newest_own: Snapshot | None = None
        self._batch = _Batch([])  # on its way to the store
        self._waiting: deque[Mutation] = deque()
        self._runner: asyncio.Task[None] | None = None  # started by the first mutation
        self._closed = False
        self._work, self.idle = asyncio.Event(), asyncio.Event()  # idle: all have their outcome
        self.idle.set()

    def submit(self, mutation: Mutation) -> None:
        """Queue a mutation."""
        if self._closed:
            mutation.settle(StoreUnavailable(STOPPED))
            return
        self._waiting.append(mutation)
        self._work.set()
        self.idle.clear()
        if self._runner is None:
            self._runner = tasks.start(self._run(), f"mutations of {self._name}", Context())

    async def close(self) -> None:
        """Stop the queue. What has no outcome yet is unavailable: clients repeat it elsewhere."""
        self._closed = True
        await tasks.stop(*([self._runner] if self._runner else []))
        self.drop()

    def published(self, tag: bytes, version: int) -> None:
        """A commit was published. If it is ours, acknowledge it before its state is shown."""
        if self._batch.tag == tag:
            self._batch.acknowledge(version)

    def restart(self) -> None:
        """The replica was loaded again, maybe from another chain."""
        self._newest_own = None

    def drop(self) -> None:
        """Settle what waits as unavailable: clients repeat it on another worker."""
        waiting, self._waiting = self._waiting, deque()
        _Batch([*waiting]).fail(StoreUnavailable(STOPPED))

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while mutations := self._next():
                self._batch = batch = _Batch(mutations)
                try:
                    await self._commit_batch(batch)
                except asyncio.CancelledError:
                    batch.fail(StoreUnavailable(STOPPED))
                    raise
                except Exception as error:  # noqa: BLE001 - it is the outcome of each
                    batch.fail(error)
            self.idle.set()

    def _next(self) -> list[Mutation]:
        """The oldest waiting mutations, in order; those of a source have rising numbers."""
        batch: list[Mutation] = []
        newest: dict[str, Mutation] = {}  # of each source
        while self._waiting and len(batch) < MAX_BATCH:
            mutation, sequence = self._waiting[0], self._waiting[0].sequence
            before = newest.get(sequence.source) if sequence else None
            if before and (before.number >= mutation.number or before.sequence is not sequence):
                break
            self._waiting.popleft()
            if sequence and sequence.blocks(mutation.number, before.number if before else 0):
                mutation.settle(StoreUnavailable("an earlier mutation has to be repeated first"))
                continue
            batch.append(mutation)
            if sequence:
                newest[sequence.source] = mutation
        return batch

    async def _commit_batch(self, batch: _Batch) -> None:
        """Commit a batch. Mutations that cannot share its commit go back to the queue."""
        base, own = self._current(), self._newest_own
        base = own if own and own.version > base.version else base
        attempt, deadline = 0, time.monotonic() + RETRY_TIME
        while batch.mutations and (time.monotonic() < deadline or attempt < ATTEMPTS):
            edits, error = self._edit(batch, base)
            # Without edits, a question: refusals are decided on the newest state in the store, and
            # a repeat of an applied mutation is acknowledged whatever its action says by now.
            change = self._change(batch, base, edits, attempt, refuse=error is not None)
            batch.tag = change.tag
            match outcome := await self._commit(change):
                case Commit():
                    if error is not None:
                        raise error
                    if edits:  # go on from our own commit
                        STATS.committed += 1
                        tag = change.tag if outcome.parent == base.tag else NO_TAG
                        fields = edits.applied(base.fields)
                        self._newest_own = Snapshot(outcome.version, tag, fields)
                    batch.acknowledge(outcome.version)
                case Known():
                    STATS.repeated += 1
                    batch.settle_known(outcome)
                case _:
                    STATS.conflicts += 1
                    base = outcome.onto(base)
                    attempt += 1
        if batch.mutations:
            raise Conflicted(f"others changed {self._name} first, {attempt} times; try again")

    async def _commit(self, change: contract.Change) -> contract.Outcome:
        STATS.retried += change.attempt > 0
        began = time.perf_counter()
        try:
            return await self._store.commit(self._key, change)
        except StoreError:
            STATS.failed += 1
            raise
        finally:
            took = time.perf_counter() - began
            STATS.commit_seconds[bisect_left(BUCKETS, took)] += 1
            STATS.commit_seconds_sum += took

    def _edit(self, batch: _Batch, base: Snapshot) -> tuple[Edits, Exception | None]:
        """Run the batch up to a mutation that fails; if that is the first, it is left alone."""
        runs = [mutation.run for mutation in batch.mutations]
        edits, batch.results, error = run_all(runs, base.fields, self._defaults, self._limit)
        if error is not None:
            rest = max(len(batch.results), 1)
            self._waiting.extendleft(reversed(batch.mutations[rest:]))
            del batch.mutations[rest:]
        return edits, None if batch.results else error

    def _change(
        self, batch: _Batch, base: Snapshot, edits: Edits, attempt: int, *, refuse: bool
    ) -> contract.Change:
        tag, exists = os.urandom(contract.TAG_BYTES), base.version > 0
        message = wire.patch_parts(self._name, tag, edits.set, edits.delete) if edits else None
        return contract.Change(
            tag=tag,
            exists=exists,
            message=message or (b"", b""),
            set=edits.set,
            delete=edits.delete,
            expect=edits.read if exists else {},
            expect_tag=base.tag if exists and edits.all_keys else None,
            mutations=batch.numbered(refuse=refuse),
            record=any(m.sequence and m.sequence.record_all != refuse for m in batch.mutations),
            attempt=attempt if edits else 0,
        )

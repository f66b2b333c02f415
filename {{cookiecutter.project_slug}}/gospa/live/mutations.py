"""A room's queue of mutations in this worker: run in order; those that wait share a commit."""

import asyncio
import math
import os
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from gospa import tasks
from gospa.errors import Conflicted, StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from gospa.live import wire
from gospa.live.batch import Batch, Mutation
from gospa.live.newest import Newest
from gospa.stats import BUCKETS, STATS
from gospa.store import contract
from gospa.store.alarms import ALARM, timed
from gospa.store.contract import Commit, Conflict, Known, Moved, Snapshot
from gospa.store.draft import Draft, Edits, Run, run_all
from gospa.trouble import report

MAX_BATCH = 512  # mutations that may share a commit
FEW = 16  # so many at least, after a refusal ended a batch: those behind it were gathered in vain
TURNS = 2  # iterations of the event loop: answers are written in one, requests read in the next
BATCH_TIME = 0.005  # seconds, after which no more actions run before their commit, nor block others
STOPPED = "this worker stops"
SLOW = "%s in room %s took %.2f s, in which this worker did nothing else"
GONE = Moved(None)
RETRY_TIME = 2.0  # seconds in which a mutation that conflicts runs again,
ATTEMPTS = 5  # and at least so often, also if the store is slow


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """Options of a room's queue.

    `size`: the bytes that the room may take. `slow`: seconds from which on an action is logged.
    `clocked`: see `Change`. `restore`: loads a room that was deleted or lost.
    """

    size: float = math.inf
    slow: float = math.inf
    clocked: bool = False
    restore: Callable[[], Awaitable[Snapshot]] | None = None


class MutationQueue:
    """Runs a room's mutations on the newest state known, again where another writer won."""

    def __init__(
        self,
        key: str,
        name: str,
        store: contract.StateStore,
        newest: Newest,
        options: QueueOptions,
    ) -> None:
        self._key, self._name, self._options = key, name, options
        self._store, self._newest = store, newest
        self._batch, self._closed = Batch([]), False  # the batch on its way to the store
        self._waiting: deque[Mutation] = deque()
        self._most = MAX_BATCH  # mutations of the next batch
        self._runner: asyncio.Task[None] | None = None  # started by the first mutation
        self._work, self.idle = asyncio.Event(), asyncio.Event()  # idle: all have their outcome
        self.idle.set()

    def submit(self, mutation: Mutation) -> None:
        """Queue a mutation."""
        if self._closed:
            mutation.fail(StoreUnavailable(STOPPED))
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

    def drop(self) -> None:
        """Settle what waits as unavailable: clients repeat it on another worker."""
        waiting, self._waiting = self._waiting, deque()
        Batch([*waiting]).fail(StoreUnavailable(STOPPED))

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while mutations := self._next():
                self._batch = batch = Batch(mutations)
                try:
                    await self._commit_batch(batch)
                except asyncio.CancelledError:
                    batch.fail(StoreUnavailable(STOPPED))
                    raise
                except (StoreCorrupt, StoreFull) as error:
                    self._split(batch, error)
                except Exception as error:  # noqa: BLE001 - it is the outcome of each
                    batch.fail(error)
                await self._regroup(mutations)
            self.idle.set()

    @staticmethod
    async def _regroup(mutations: list[Mutation]) -> None:
        """Let clients that waited for each other's commit send what follows to the next one.

        Without this, those whose mutations came during a commit and those in it would take turns,
        and each commit would have half of them.
        """
        if len({each.sequence for each in mutations}) == len(mutations) > 1:
            for _ in range(TURNS):
                await asyncio.sleep(0)

    def _split(self, batch: Batch, error: StoreError) -> None:
        """Try the mutations in smaller batches; settle one that was alone.

        The record of a single source may be corrupt; some may need less room, or free some.
        """
        self._most = len(batch.mutations) // 2
        if self._most:
            self._give_back(batch, 0)
        batch.fail(error)

    def _next(self) -> list[Mutation]:
        """The oldest waiting mutations, in order; those of a source have rising numbers."""
        batch: list[Mutation] = []
        newest: dict[str, Mutation] = {}  # of each source
        while self._waiting and len(batch) < max(self._most, 1):
            mutation, sequence = self._waiting[0], self._waiting[0].sequence
            before = newest.get(sequence.source) if sequence else None
            if before and (before.number >= mutation.number or before.sequence is not sequence):
                break
            self._waiting.popleft()
            if sequence and sequence.blocks(mutation.number, before.number if before else 0):
                mutation.fail(StoreUnavailable("an earlier mutation has to be repeated first"))
                continue
            batch.append(mutation)
            if sequence:
                newest[sequence.source] = mutation
        return batch

    async def _commit_batch(self, batch: Batch) -> None:
        """Commit a batch. Mutations that cannot share its commit go back to the queue."""
        self._newest.refresh()
        attempt, deadline = 0, time.monotonic() + RETRY_TIME
        while batch.mutations and (time.monotonic() < deadline or attempt < ATTEMPTS):
            edits, error = self._edit(batch)
            if ALARM in edits.set:
                changed = await timed(self._store.alarms, self._key, edits.set)
                edits = replace(edits, set=changed)
            # Also without edits: refusals are decided on the newest values in the store, and a
            # repeat of an applied mutation is acknowledged even if its action would now refuse.
            change = self._change(batch, edits, attempt, error)
            batch.tag, batch.size = change.tag, sum(map(len, change.message))
            match outcome := await self._commit(change):
                case Commit():
                    if error is not None:
                        raise error
                    if edits:
                        STATS.committed += 1
                        self._newest.follow(change, outcome)
                    batch.acknowledge(outcome.version)
                    self._most = min(2 * max(self._most, 1), MAX_BATCH)
                case Known():
                    STATS.repeated += 1
                    batch.settle_known(outcome)
                case Conflict() | Moved():
                    STATS.conflicts += 1
                    if outcome == GONE:
                        outcome = await self._restored()
                    self._newest.learn(outcome)
                    attempt += 1
        if batch.mutations:
            raise Conflicted(f"others changed {self._name} first, {attempt} times; try again")

    async def _restored(self) -> Moved:
        """The first state of a room that was deleted or lost. Raises StoreError."""
        if self._options.restore is None:
            return GONE
        try:
            return Moved(await self._options.restore())
        except StoreError:
            raise
        except Exception as error:  # a hook of the room: nothing is applied, nor lost
            raise StoreUnavailable(f"{self._name} cannot be loaded: {error!r}") from error

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

    def _edit(self, batch: Batch) -> tuple[Edits, Exception | None]:
        """Run the batch, up to a mutation that fails; if that is the first, it is left alone."""
        runs, size = self._runs(batch.mutations), self._options.size
        edits, batch.results, error = run_all(runs, self._newest.view, size)
        kept = max(len(batch.results), 1)
        if kept < len(batch.mutations):
            self._most = max(2 * kept, FEW)
            self._give_back(batch, kept)
        return edits, None if batch.results else error

    def _runs(self, mutations: Iterable[Mutation]) -> Iterator[Run]:
        until = time.perf_counter() + BATCH_TIME
        for mutation in mutations:
            yield partial(self._run_timed, mutation)
            if time.perf_counter() > until:
                return

    def _give_back(self, batch: Batch, rest: int) -> None:
        """Leave the first mutations to a batch; the rest waits for the next one."""
        self._waiting.extendleft(reversed(batch.mutations[rest:]))
        del batch.mutations[rest:]

    def _run_timed(self, mutation: Mutation, draft: Draft) -> Any:
        began, before = time.perf_counter(), draft.size
        try:
            result = mutation.run(draft)
        finally:
            took = time.perf_counter() - began
            STATS.action_seconds[bisect_left(BUCKETS, took)] += 1
            STATS.action_seconds_sum += took
            if took > self._options.slow:
                report("slow_action", SLOW, mutation.name, self._name, took, each=mutation.name)
        grown = draft.size - before
        if mutation.bill is not None:
            creates = not self._newest.version and not before and grown > 0
            mutation.bill.charge(int(creates), grown)
        return result

    def _change(
        self, batch: Batch, edits: Edits, attempt: int, error: Exception | None
    ) -> contract.Change:
        tag, exists = os.urandom(contract.TAG_BYTES), self._newest.version > 0
        message = wire.patch_parts(self._name, tag, edits.set, edits.delete)
        return contract.Change(
            tag=tag,
            exists=exists,
            message=message if edits else contract.NO_MESSAGE,
            set=edits.set,
            delete=edits.delete,
            expect=edits.read if exists else {},
            expect_epochs=edits.epochs if exists else {},
            expect_tag=self._newest.tag if exists and edits.whole else None,
            mutations=batch.numbered(error),
            attempt=attempt if edits else 0,
            clocked=self._options.clocked,
            unnumbered=batch.unnumbered(),
            visit=all(each.visit for each in batch.mutations),
        )

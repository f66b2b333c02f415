"""A state store that is watched: how its commits end, and how long they take."""

from collections.abc import AsyncIterator, Sequence

from server import metrics
from server.errors import StoreError
from server.state.store import Change, Commit, Conflict, Head, Refused, Snapshot, StateStore


class MeasuredStore:
    """Passes everything on."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    async def load(self, room: str) -> Snapshot | None:
        return await self._store.load(room)

    async def heads(self, rooms: Sequence[str]) -> list[Head | None]:
        return await self._store.heads(rooms)

    def names(self) -> AsyncIterator[str]:
        return self._store.names()

    async def delete(self, room: str) -> None:
        await self._store.delete(room)

    async def commit(self, room: str, change: Change) -> Commit | Conflict | Refused:
        if change.attempt:
            metrics.COMMITS.labels("retried").inc()
        try:
            with metrics.COMMIT_SECONDS.time():
                outcome = await self._store.commit(room, change)
        except StoreError:
            metrics.COMMITS.labels("failed").inc()
            raise
        metrics.COMMITS.labels(type(outcome).__name__.lower()).inc()
        return outcome

"""Workers that share a store, and a room that records joins and leaves."""

import asyncio
from dataclasses import dataclass
from typing import Any

from gospa import Access, Member, Room, Session, State, tasks
from gospa.errors import StoreUnavailable
from gospa.live.hub import Hub
from gospa.live.local_room import LocalRoom
from gospa.live.reviews import VisitReview
from gospa.live.router import Router
from gospa.pubsub import PubSub
from gospa.sessions.session import new_session
from gospa.settings import Settings
from gospa.store.content import Content
from gospa.store.contract import Change, Outcome, StateStore
from gospa.store.draft import Draft

NAME = "porch"


class PorchState(State):
    log: list[str] = []
    names: dict[str, str] = {}
    claims: str = ""


class Porch(Room[PorchState]):
    """Notes each visit. Hooks fail for the members whose claims say how."""

    pattern = NAME

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    def joined(self, state: PorchState, member: Member) -> None:
        self._note(state, "joined", member)

    def updated(self, state: PorchState, member: Member) -> None:
        self._note(state, "updated", member)

    def left(self, state: PorchState, member: Member) -> None:
        self._note(state, "left", member)

    @staticmethod
    def _note(state: PorchState, what: str, member: Member) -> None:
        names = (member.user or member.id, *map(str, member.info.values()))
        state.log.append(" ".join((what, *names)))
        match member.claims:
            case "raise":
                raise ZeroDivisionError
            case "write nonsense":
                state.names["x"] = 5  # type: ignore[assignment]
            case "write much":
                state.claims = "x" * 100_000


class Client:
    """A connection, and what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def tell(self, room: str, code: str, text: str) -> None:
        self.told.append((code, text))


@dataclass
class Seat:
    """A client's place, of one connection."""

    member: Member
    client: Client


def seat(id: str, *, user: str | None = None, claims: Any = None, **info: Any) -> Seat:
    return Seat(Member(id, user, info=info, claims=claims), Client())


class Faulty:
    """A store that can be away for commits, which it keeps, and for the leases of some workers.

    Workers that sleep wait with theirs until they are woken.
    """

    def __init__(self, store: StateStore) -> None:
        self.away = False
        self.unheard: set[str] = set()  # workers
        self.asleep: dict[str, asyncio.Event] = {}  # by worker; set when it is woken
        self.held: list[tuple[str, float]] = []  # leases: worker and seconds
        self.changes: list[Change] = []
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def sleep(self, *workers: str) -> None:
        """Have these workers stand still before they hold their leases again."""
        self.asleep = {worker: asyncio.Event() for worker in workers}

    async def hold_lease(self, lease: str, ttl: float) -> None:
        if lease in self.unheard:
            raise StoreUnavailable("it is away")
        if lease in self.asleep:
            await self.asleep[lease].wait()
        await self._store.hold_lease(lease, ttl)
        self.held.append((lease, ttl))

    async def commit(self, room: str, change: Change) -> Outcome:
        if self.away:
            raise StoreUnavailable("it is away")
        self.changes.append(change)
        return await self._store.commit(room, change)


class Worker:
    """A hub that looks after its rooms until it is killed."""

    local: LocalRoom

    def __init__(
        self, store: StateStore, pubsub: PubSub, settings: Settings, *, watches: bool = True
    ) -> None:
        """Without `watches`, it does nothing by itself but follow the room."""
        self.hub = Hub(store, pubsub, Router([Porch]), settings)
        work = {"visits": VisitReview(self.hub).run, "ticks": self.hub.watch} if watches else {}
        self._tasks = [
            tasks.start(run(), name) for name, run in {"tags": self.hub.watch_tags, **work}.items()
        ]

    async def open(self) -> "Worker":
        self.local, _ = await self.hub.enter(NAME, new_session(0))
        return self

    async def enter(self, seat: Seat) -> None:
        if self.local.closed:
            await self.open()
        assert self.local.visits is not None
        self.local.visits.enter(seat)

    def leave(self, seat: Seat, *, orderly: bool) -> None:
        assert self.local.visits is not None
        self.local.visits.leave(seat, orderly=orderly)

    async def log(self) -> list[str]:
        """What the hooks noted, as the store has it."""
        stored = await self.hub.store.load(NAME)
        fields = stored.fields if stored else {}
        return list(PorchState.of(Draft(Content(fields, {})), frozen=True).log)

    async def kill(self) -> None:
        """End it as a crash does: nothing more is written, but what is on its way may arrive."""
        await tasks.stop(*self._tasks)
        self.hub.draining = True
        self.local.mutations._closed = True  # noqa: SLF001 - close() would wait for the store
        self.local.mutations.drop()

"""Rooms for a visitor without a socket: in JSON, for programs of any language."""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from gospa.action import Action, bind_action
from gospa.command import Command, find_command
from gospa.errors import Invalid, RateLimited, Unauthorized, UnknownRoom
from gospa.live.access import authorized
from gospa.live.commands import run_command
from gospa.live.hub import Hub
from gospa.live.limits import ALLOWANCE, Allowance
from gospa.live.loading import load
from gospa.live.seat import introduced
from gospa.live.sequence import MutationSequence
from gospa.member import Access, Member, member_of
from gospa.rates import Visitor, network_of
from gospa.room import Room, quoted
from gospa.sessions.session import Session
from gospa.store.codec import CodecError, check_bounds, pack
from gospa.store.content import Content
from gospa.store.contract import session_of
from gospa.store.draft import Draft


class Seen(NamedTuple):
    """A room's state as JSON, and the tag of its last commit."""

    state: bytes
    tag: str


class VisitorRooms:
    """Rooms with the access of a session: `authorize`, `allows` and limits apply.

    A room is named by its path in a URL, in which parameters are percent-encoded. Every method
    raises RoomError if the room refuses, and StoreError if the store fails.
    """

    def __init__(self, hub: Hub, session: Session, address: str) -> None:
        """`address` is the client address of the visitor's request."""
        self._hub, self._session = hub, session
        self._network = network_of(address)
        visitor = Visitor(session.identity, self._network)
        self._allowance = Allowance(hub.limits, visitor)

    async def read(self, path: str) -> Seen:
        """The state that the store holds now, with defaults."""
        key, room = self._place(path)
        self._require_share()
        with self._paying():
            await authorized(room, self._session)
            snapshot = await load(self._hub.store, key, room)
        state = room.state.of(Draft(Content(snapshot.fields, {})), frozen=True)
        schema = room.state.schema()
        fields = {name: getattr(state, name) for name in schema.fields}
        items = {name: dict(getattr(state, name).items()) for name in schema.collections}
        encoded = msgspec.json.encode(fields | items)
        self._count(len(encoded), 1)
        # Defaults are part of the state, and another release may have others.
        digest = hashlib.blake2b(encoded, digest_size=8).hexdigest()
        return Seen(encoded, f"{snapshot.tag.hex()}.{digest}")

    async def call(self, path: str, method: str, args: bytes, key: str = "") -> bytes:
        """Call an action, or run a command; returns its result as JSON.

        `args` is a JSON object. With an idempotency key, it is applied once, however often it is
        called. A key belongs to the user, or without a log-in to the client address. A repeated
        action returns null.
        """
        place, room = self._place(path)
        with self._paying():
            if await authorized(room, self._session) is not Access.FULL:
                raise Unauthorized(f"you may only read {room.name}")
            self._require_share()
            member = introduced(room, member_of("", self._session), self._session, None)
            if method in room.commands:
                command = find_command(room, method)
                result = await self._run(place, room, command, member, args, key)
            else:
                result = await self._act(place, room, method, member, args, key)
        if session_of(place):
            self._session.need()
        return msgspec.json.encode(result)

    async def _act(  # noqa: PLR0913, PLR0917 - it needs things of many kinds
        self, place: str, room: Room[Any], method: str, member: Member, args: bytes, key: str
    ) -> Any:
        given = self._arguments(room.actions.get(method), args)
        run, sequence = bind_action(room, method, member, given), None
        if key:
            self._allowance.make_record()
            ttl = self._hub.settings.once_ttl
            sequence = MutationSequence(self._id(method, key), ttl, record_refusals=False)
        return await self._hub.submit(place, room, run, sequence, name=method, sent=self._count)

    async def _run(  # noqa: PLR0913, PLR0917 - it needs things of many kinds
        self,
        place: str,
        room: Room[Any],
        command: Command[..., Any, ...],
        member: Member,
        args: bytes,
        key: str,
    ) -> Any:
        id = self._id(command.name, key or secrets.token_hex(16))
        given, ttl = self._arguments(command, args), self._hub.settings.once_ttl
        end = self._allowance.begin_command()
        try:
            at = (self._hub, place, room, command, member, id, given, ttl)
            return await run_command(*at, sent=self._count)
        finally:
            end(None)

    def _arguments(
        self, method: Action[..., Any, ...] | Command[..., Any, ...] | None, args: bytes
    ) -> dict[str, Any]:
        """JSON arguments as a client would send them. Raises Invalid."""
        if method is None:
            return {}
        settings = self._hub.settings
        bounds = {"elements": settings.frame_elements, "depth": settings.frame_depth}
        try:
            check_bounds(msgspec.json.decode(args or b"{}"), **bounds)
            given = msgspec.json.decode(args or b"{}", type=method.signature.arguments)
        except (msgspec.DecodeError, CodecError, RecursionError) as error:
            raise Invalid(f"{method.name}: {error}") from error
        return method.signature.named((), msgspec.structs.asdict(given))

    def _place(self, path: str) -> tuple[str, Room[Any]]:
        """The key of a room, and the room. Raises UnknownRoom, or Unauthorized before a log-in."""
        if self._hub.settings.sockets_need_login and self._session.user is None:
            raise Unauthorized("log in first")
        try:
            name = "/".join(quoted(unquote(part, errors="strict")) for part in path.split("/"))
        except UnicodeDecodeError:
            raise UnknownRoom("the name of a room is percent-encoded UTF-8") from None
        return self._hub.router.resolve(name, self._session)

    @contextmanager
    def _paying(self) -> Iterator[None]:
        """Charge the visitor's limits for what is created and stored in the block."""
        token = ALLOWANCE.set(self._allowance)
        try:
            yield
        finally:
            ALLOWANCE.reset(token)

    def _require_share(self) -> None:
        """Raise RateLimited if too much was sent for the visitor, to others or as states."""
        if wait := self._allowance.count_sent(0):
            raise RateLimited("too much was sent for you: try again", wait)

    def _count(self, size: float, receivers: int) -> None:
        self._allowance.count_sent(size * receivers)

    def _id(self, method: str, key: str) -> str:
        user = self._session.user
        who = f"network {self._network}" if user is None else f"user {user}"
        digest = hashlib.blake2b(pack([who, method, key]), digest_size=16)
        return f"http:{digest.hexdigest()}"

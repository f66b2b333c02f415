"""A client's side of one room, without I/O: the copy of its state, and its mutations in order."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

from gospa.live import wire
from gospa.store.codec import encode

MAX_PENDING = 500  # mutations of a room
OVERDUE = 2.0  # seconds between looks for acknowledged commits whose state has not arrived
RETRY = (0.3, 5.0)  # seconds: backoff while the server's store is unavailable

Message = list[Any]


class Refused(Exception):
    """A request was refused; `code` is one of docs/protocol.md, or one of this client's own.

    These are `invalid` and `too_large` (the server would not take the message), `overflow` (too
    many mutations are pending), `left`, and `other_session`: the client reconnected under another
    session, so the mutation is not sent again, although it may have been applied.
    """

    def __init__(self, code: str, text: str, room: str | None) -> None:
        super().__init__(code, text, room)
        self.code, self.text, self.room = code, text, room

    def __str__(self) -> str:
        return f"{self.code}: {self.text}" + (f" (room {self.room})" if self.room else "")


def backoff(attempt: int, first: float, longest: float) -> float:
    """Full jitter: seconds up to a bound that doubles with each attempt, from 0 on."""
    bound = min(longest, first * 2.0 ** min(attempt, 64))
    return random.uniform(0, bound)  # noqa: S311 - jitter, not a secret


@dataclass(slots=True, eq=False)
class Mutation:
    """A CALL or WRITE; `done` is called once, with its result or with an error."""

    number: int
    frame: bytes
    session: str | None  # public id of the session that it was made in
    done: Callable[[Any, Exception | None], None]
    sent: bool = False  # over any connection: it may have been applied
    in_progress: bool = False  # sent over this connection, which has to answer it
    version: int | None = None  # of its commit, once it is acknowledged
    result: Any = None
    overdue: bool = False  # its commit had not arrived at the last look
    asked: bool = False  # acknowledged before the JOIN that is not answered yet


Stage = Enum("Stage", ["ABSENT", "JOINING", "JOINED"])  # over the current connection


class Membership:
    """Follows one room over all connections of a client.

    A mutation is done when the state contains its commit. If the store lost that commit, it never
    arrives, so the answer to a JOIN that was sent after the acknowledgement counts as well.
    """

    def __init__(
        self,
        name: str,
        details: Any,
        send: Callable[[bytes], None],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        """`send` sends a frame; `later` calls a function after that many seconds."""
        self.name, self._details = name, details
        self._send, self._later = send, later
        self.on_change: Callable[[], None] = lambda: (
            None
        )  # also after the first JOIN, and at the end
        self.on_event: Callable[[str, Any, str], None] = lambda *_: None
        self.version, self.tag = 0, b""
        self.known = False  # whether the room was ever joined
        self.error: Exception | None = None  # why it ended
        self._fields: dict[str, Any] = {}
        self._defaults: dict[str, Any] = {}
        self._state: Mapping[str, Any] | None = None
        self._gap = True  # a commit is missing, or no state arrived yet
        self._stage = Stage.ABSENT
        self._rejoining = False  # was joined over this connection before
        self._mutations: dict[int, Mutation] = {}  # by number, which is their order
        self._attempt = 0
        self._waiting = self._checking = False

    @property
    def joined(self) -> bool:
        """Whether the server sends this room's changes over the current connection."""
        return self._stage is Stage.JOINED

    @property
    def state(self) -> Mapping[str, Any]:
        """The newest confirmed state over its defaults: another object after each change."""
        if self._state is None:
            self._state = MappingProxyType({**self._defaults, **self._fields})
        return self._state

    # Connections

    def resume(self, session: str | None, frame_size: int) -> None:
        """Join over a new connection; reject mutations that it may not repeat. Sizes are bytes."""
        for mutation in self._unanswered():
            if session is not None and mutation.session not in (None, session):
                self._reject(mutation, "other_session", "the session is another one by now")
            elif len(mutation.frame) > frame_size:
                self._reject(mutation, "too_large", f"a message has at most {frame_size} bytes")
        self.enter()

    def enter(self) -> None:
        """Ask for the commits since the copy, or for the whole state if one is missing.

        The version is the newest that was received or acknowledged: the server sends none older.
        """
        newest = self.version
        for mutation in self._acknowledged():
            mutation.asked |= self._stage is not Stage.JOINING  # else JOINED may answer an earlier
            newest = max(newest, mutation.version or 0)
        details = [] if self._details is None else [self._details]
        tag = None if self._gap else self.tag
        self._stage = Stage.JOINING
        self._send(encode([wire.JOIN, self.name, newest or None, tag, *details]))

    def lose(self) -> None:
        """The connection was lost."""
        self._stage, self._rejoining, self._waiting = Stage.ABSENT, False, False
        for mutation in self._unanswered():
            mutation.in_progress = False

    def end(self, error: Exception) -> None:
        """Reject what has no answer with `error`, and ignore further messages."""
        if self.error is None:
            self.lose()
            self.error = error
            for mutation in list(self._mutations.values()):
                self._finish(mutation, error if mutation.version is None else None)
            self.on_change()

    # Mutations

    def add(self, mutation: Mutation) -> None:
        """Send a mutation after all earlier ones. Raises Refused."""
        if len(self._mutations) >= MAX_PENDING:
            raise Refused("overflow", f"{MAX_PENDING} mutations are pending", self.name)
        self._mutations[mutation.number] = mutation
        self._send_pending()

    def withdraw(self, number: int) -> None:
        """Do not send a mutation; no effect once it was sent."""
        if number in self._mutations and not self._mutations[number].sent:
            del self._mutations[number]

    # Messages

    def receive(self, message: Message) -> None:
        """Handle a message about this room, other than ACK and ERROR."""
        if self.error is not None:
            return
        match message:
            case [wire.SNAPSHOT, _, version, tag, fields, *_]:
                self._fields, self._gap = fields, False
                self._follow(version, tag)
                if self.joined and self._acknowledged():  # the store may have lost their commits
                    self.enter()
            case [wire.PATCH, _, version, parent, tag, changed, deleted, *_] if tag != self.tag:
                if self._gap or parent != self.tag:
                    self._miss()
                else:
                    self._fields |= changed
                    for key in deleted:
                        self._fields.pop(key, None)
                    self._follow(version, tag)
            case [wire.JOINED, _, _, tag, *more]:
                self._arrive(tag, more[0] if more else {})
            case [wire.EVENT, _, name, payload, sender, *_]:
                self.on_event(name, payload, sender)

    def answer(self, message: Message) -> None:
        """Handle an ACK or ERROR for a mutation, if that is this room's and unanswered."""
        mutation = self._mutations.get(message[1])
        if mutation is None or mutation.version is not None:
            return
        match message:
            case [wire.ACK, _, version, result, *_]:
                self._attempt = 0
                mutation.version, mutation.result = version, result
                self._confirm()
                self._check_later()
            case [wire.ERROR, _, "unavailable", *_]:
                for each in self._unanswered():  # the server takes no later one before this
                    each.in_progress &= each.number < mutation.number
                self._retry_later()
            case [wire.ERROR, _, code, text, *_]:
                self._attempt = 0
                self._reject(mutation, code, text)

    def refuse(self, error: Refused) -> None:
        """Handle an ERROR without a number: a refused JOIN, or a kick, ends the membership.

        A JOIN that the server accepted before over this connection is repeated: the ERROR may be
        that of an event.
        """
        joining, kicked = self._stage is Stage.JOINING, error.code == "kicked"
        if joining and not kicked and (error.code == "unavailable" or self._rejoining):
            self._retry_later()
        elif joining or kicked:
            self.end(error)

    # The state

    def _follow(self, version: int, tag: bytes) -> None:
        self.version, self.tag, self._state = version, tag, None
        self._confirm()
        self.on_change()

    def _miss(self) -> None:
        """A commit is missing: keep the state, and ask for the whole one."""
        self._gap = True
        if self.joined:  # else the answer to a JOIN shows whether it still is
            self.enter()

    def _arrive(self, tag: bytes, defaults: dict[str, Any]) -> None:
        self._stage = Stage.JOINED
        if self._gap or tag != self.tag:
            self._miss()
            return
        self.known = self._rejoining = True
        if defaults != self._defaults:
            self._defaults, self._state = defaults, None
        self._attempt, self._waiting = 0, False
        for mutation in self._acknowledged():
            if mutation.asked:
                self._finish(mutation)
        self.on_change()
        self._send_pending()

    # The order of mutations

    def _unanswered(self) -> list[Mutation]:
        return [each for each in self._mutations.values() if each.version is None]

    def _acknowledged(self) -> list[Mutation]:
        return [each for each in self._mutations.values() if each.version is not None]

    def _send_pending(self) -> None:
        """Send what is not in progress, in order; after `unavailable`, only when it is retried."""
        if self.joined and not self._waiting:
            for mutation in self._unanswered():
                if not mutation.in_progress:
                    mutation.sent = mutation.in_progress = True
                    self._send(mutation.frame)

    def _retry_later(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._later(backoff(self._attempt, *RETRY), self._retry)
            self._attempt += 1

    def _retry(self) -> None:
        if self._waiting:  # else the connection was lost, or JOINED came meanwhile
            self._waiting = False
            if self.joined:
                self._send_pending()
            else:
                self.enter()

    def _confirm(self) -> None:
        for mutation in self._acknowledged():
            if (mutation.version or 0) <= self.version:
                self._finish(mutation)

    def _finish(self, mutation: Mutation, error: Exception | None = None) -> None:
        del self._mutations[mutation.number]
        mutation.done(mutation.result, error)

    def _reject(self, mutation: Mutation, code: str, text: str) -> None:
        self._finish(mutation, Refused(code, text, self.name))

    def _check_later(self) -> None:
        if not self._checking and self._acknowledged():
            self._checking = True
            self._later(OVERDUE, self._check)

    def _check(self) -> None:
        """Ask the server about commits that were acknowledged before the last look."""
        self._checking = False
        waiting = self._acknowledged()
        if self.joined and any(mutation.overdue for mutation in waiting):
            self.enter()
        for mutation in waiting:
            mutation.overdue = True
        self._check_later()

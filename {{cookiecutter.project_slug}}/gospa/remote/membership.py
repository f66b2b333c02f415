"""A client's side of one room, without I/O: the copy of its state, and its mutations in order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from gospa.live import wire
from gospa.remote.backoff import Later, Retry
from gospa.remote.commands import Commands, refusal
from gospa.remote.errors import Refused
from gospa.remote.state import ClientState
from gospa.store.codec import encode

MAX_PENDING = 500  # mutations of a room
OVERDUE = 2.0  # seconds between checks for acknowledged commits whose state has not arrived
LOST = frozenset({"kicked", "unauthorized"})  # codes that end the membership
NEVER_OF_JOIN = frozenset({"rate_limited", "unlisted"})  # codes that never answer a JOIN

Message = list[Any]


@dataclass(slots=True, eq=False)
class Mutation:
    """A CALL or WRITE; `done` is called once, with its result or with an error."""

    number: int
    frame: bytes
    session: str | None  # public id of the session in which it was created
    done: Callable[[Any, Exception | None], None]
    sent: bool = False  # over any connection: it may have been applied
    in_progress: bool = False  # sent over this connection, which has to answer it
    version: int | None = None  # of its commit, once it is acknowledged
    result: Any = None
    overdue: bool = False  # its commit had not arrived at the last check
    asked: bool = False  # acknowledged before the pending JOIN


Stage = Enum("Stage", ["ABSENT", "JOINING", "JOINED"])  # over the current connection


class Membership:
    """Follows one room over all connections of a client.

    A mutation is done when the state contains its commit. If the store lost that commit, it never
    arrives, so the answer to a JOIN that was sent after the acknowledgement counts as well.
    """

    def __init__(
        self, name: str, details: Any, send: Callable[[bytes], None], later: Later
    ) -> None:
        """`send` sends a frame; `later` calls a function after that many seconds."""
        self.name, self._details = name, details
        self._send, self._later = send, later
        # Called after each change, the first JOIN, and the end.
        self.on_change: Callable[[], None] = lambda: None
        self.on_event: Callable[[str, Any, Any], None] = lambda *_: None
        self.commands = Commands(name, send, later)
        self.version, self.tag = 0, b""
        self.access = "full"
        self.known = False  # whether the room was ever joined
        self.error: Exception | None = None  # why it ended
        self._state = ClientState()
        self._gap = True  # a commit is missing, or no state arrived yet
        self._stage = Stage.ABSENT
        self._rejoining = False  # was joined over this connection before
        self._mutations: dict[int, Mutation] = {}  # by number, which is their order
        self._retry = Retry(later, self._again)
        self._checking = False

    @property
    def joined(self) -> bool:
        """Whether the server sends this room's changes over the current connection."""
        return self._stage is Stage.JOINED

    @property
    def state(self) -> Mapping[str, Any]:
        """The newest confirmed state over its defaults: another object after each change."""
        return self._state.shown

    # Connections

    def resume(self, session: str | None, frame_size: int) -> None:
        """Join over a new connection; reject requests that it may not repeat. Sizes are bytes."""
        for mutation in self._unanswered():
            if error := refusal(mutation.frame, mutation.session, session, frame_size, self.name):
                self._finish(mutation, error)
        self.commands.resume(session, frame_size)
        (self.enter if self.error is None else self._send_pending)()

    def enter(self) -> None:
        """Ask for the commits since the copy, or for the whole state if one is missing.

        The version is the newest that was received or acknowledged: the server sends none older.
        """
        newest = self.version
        for mutation in self._acknowledged():
            mutation.asked |= self._stage is not Stage.JOINING  # JOINED may answer an earlier one
            newest = max(newest, mutation.version or 0)
        details = [] if self._details is None else [self._details]
        tag = None if self._gap else self.tag
        self._stage = Stage.JOINING
        self._send(encode([wire.JOIN, self.name, newest or None, tag, *details]))

    def lose(self) -> None:
        """The connection was lost."""
        self._stage, self._rejoining = Stage.ABSENT, False
        self._retry.cancel()
        self.commands.lose()
        for mutation in self._unanswered():
            mutation.in_progress = False

    def end(self, error: Exception, *, recall: bool = False) -> None:
        """Reject unanswered requests with `error`, and ignore further states and events.

        With `recall`, the server is asked about mutations that may have been applied before.
        """
        first = self.error is None
        asked = {each.number for each in self._unanswered() if recall and each.sent}
        sent = {each.number for each in self._unanswered() if each.in_progress}  # answered anyway
        if first:
            self.lose()
            self.error = error
        for mutation in list(self._mutations.values()):
            if mutation.number in asked:
                mutation.in_progress = mutation.number in sent
            else:
                self._finish(mutation, error if mutation.version is None else None)
        if first:
            self.commands.end(error)
            self.on_change()
            self._send_pending()

    @property
    def settled(self) -> bool:
        """Whether no mutation waits for an answer."""
        return not self._mutations

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
                self._state.replace(fields)
                self._gap = False
                self._follow(version, tag)
                if self.joined and self._acknowledged():  # the store may have lost their commits
                    self.enter()
            case [wire.PATCH, _, version, parent, tag, changed, deleted, *_] if tag != self.tag:
                if self._gap or parent != self.tag:
                    self._miss()
                else:
                    self._state.apply(changed, deleted)
                    self._follow(version, tag)
            case [wire.JOINED, _, _, tag, defaults, collections, access, *_]:
                self._arrive(tag, defaults, collections, access)
            case [wire.EVENT, _, name, payload, sender, *_]:
                self.on_event(name, payload, sender)

    def answer(self, message: Message) -> None:
        """Handle the answer to a mutation or a command, if that is this room's and unanswered."""
        self.commands.answer(message)
        mutation = self._mutations.get(message[1])
        if mutation is None or mutation.version is not None:
            return
        match message:
            case [wire.ACK, _, version, result, *_]:
                self._retry.succeed()
                mutation.version, mutation.result = version, result
                if self.error is not None:
                    self._finish(mutation)
                self._confirm()
                self._check_later()
            case [wire.ERROR, _, "unavailable" | "not_joined", *_] if self.error is not None:
                self._finish(mutation, self.error)
            case [wire.ERROR, _, "unavailable", *_]:
                for each in self._unanswered():  # the server accepts no later one before this
                    each.in_progress &= each.number < mutation.number
                self._retry.start()
            case [wire.ERROR, _, code, text, *_]:
                self._retry.succeed()
                self._finish(mutation, Refused(code, text, self.name))

    def refuse(self, error: Refused) -> None:
        """Handle an ERROR without a number: a refused JOIN, or lost access, ends the membership.

        A JOIN that the server accepted before over this connection is repeated: the ERROR may be
        that of an event.
        """
        if error.code in NEVER_OF_JOIN:
            return
        joining, lost = self._stage is Stage.JOINING, error.code in LOST
        if lost:
            self._state = ClientState()
        if joining and not lost and (error.code == "unavailable" or self._rejoining):
            self._retry.start()
        elif joining or lost:
            self.end(error, recall=lost)

    # The state

    def _follow(self, version: int, tag: bytes) -> None:
        self.version, self.tag = version, tag
        self._confirm()
        self.on_change()

    def _miss(self) -> None:
        """A commit is missing: keep the state, and ask for the whole one."""
        self._gap = True
        if self.joined:  # otherwise the answer to a JOIN shows whether one is missing
            self.enter()

    def _arrive(
        self,
        tag: bytes,
        defaults: Mapping[str, Any],
        collections: Sequence[str],
        access: str,
    ) -> None:
        """Handle a JOINED, which comes again when access changes."""
        self._stage = Stage.JOINED
        if self._gap or tag != self.tag:
            self._miss()
            return
        self.known = self._rejoining = True
        self.access = access
        self._state.describe(defaults, collections)
        self._retry.cancel()
        self._retry.succeed()
        for mutation in self._acknowledged():
            if mutation.asked:
                self._finish(mutation)
        self.on_change()
        self._send_pending()
        self.commands.join()

    # The order of mutations

    def _unanswered(self) -> list[Mutation]:
        return [each for each in self._mutations.values() if each.version is None]

    def _acknowledged(self) -> list[Mutation]:
        return [each for each in self._mutations.values() if each.version is not None]

    def _send_pending(self) -> None:
        """Send what is not in progress, in order; after `unavailable`, only when it is retried."""
        if (self.joined or self.error is not None) and not self._retry.waiting:
            for mutation in self._unanswered():
                if not mutation.in_progress:
                    mutation.sent = mutation.in_progress = True
                    self._send(mutation.frame)

    def _again(self) -> None:
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

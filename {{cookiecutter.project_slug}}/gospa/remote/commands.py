"""A client's commands in one room, without I/O: each is sent until it has an answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gospa.live import wire
from gospa.remote.backoff import Later, Retry
from gospa.remote.errors import Refused

MAX_COMMANDS = 500  # of a room, without an answer

Message = list[Any]


@dataclass(slots=True, eq=False)
class Command:
    """A RUN; `done` is called once, with its result or with an error."""

    id: bytes
    frame: bytes
    session: str | None  # public id of the session in which it was created
    done: Callable[[Any, Exception | None], None]
    in_progress: bool = False  # sent over this connection, which has to answer it


def refusal(
    frame: bytes, made_in: str | None, session: str | None, frame_size: int, room: str
) -> Refused | None:
    """Why a request of another session, or of this one, may not be sent over a new connection."""
    if session is not None and made_in not in (None, session):
        return Refused("other_session", "the session is another one by now", room)
    if len(frame) > frame_size:
        return Refused("too_large", f"a message has at most {frame_size} bytes", room)
    return None


class Commands:
    """Sends commands, in any order, and repeats them with the same id until they are answered."""

    def __init__(self, room: str, send: Callable[[bytes], None], later: Later) -> None:
        self._room, self._send = room, send
        self._retry = Retry(later, self._send_pending)
        self._pending: dict[bytes, Command] = {}
        self._joined = False

    def add(self, command: Command) -> None:
        """Send a command, once the room is joined. Raises Refused."""
        if len(self._pending) >= MAX_COMMANDS:
            raise Refused("overflow", f"{MAX_COMMANDS} commands are pending", self._room)
        self._pending[command.id] = command
        self._send_pending()

    def withdraw(self, id: bytes) -> None:
        """Do not send a command again, because no caller waits for it."""
        self._pending.pop(id, None)

    def resume(self, session: str | None, frame_size: int) -> None:
        """Reject commands that may not be sent over a new connection. Sizes are in bytes."""
        for command in list(self._pending.values()):
            if error := refusal(command.frame, command.session, session, frame_size, self._room):
                self._finish(command, error)

    def join(self) -> None:
        """The room was joined over the current connection."""
        self._joined = True
        self._send_pending()

    def lose(self) -> None:
        """The connection was lost."""
        self._joined = False
        self._retry.cancel()
        for command in self._pending.values():
            command.in_progress = False

    def end(self, error: Exception) -> None:
        """Reject all."""
        for command in list(self._pending.values()):
            self._finish(command, error)

    def answer(self, message: Message) -> None:
        """Handle a DONE or ERROR for a command, if it is an unanswered one of this room."""
        command = self._pending.get(message[1])
        if command is None:
            return
        match message:
            case [wire.ERROR, _, "unavailable" | "busy", *_]:
                command.in_progress = False
                self._retry.start()
                return
            case [wire.ERROR, _, code, text, *_]:
                self._finish(command, Refused(code, text, self._room))
            case [wire.DONE, _, result, *_]:
                self._finish(command, None, result)
        self._retry.succeed()

    def _send_pending(self) -> None:
        if self._joined and not self._retry.waiting:
            for command in self._pending.values():
                if not command.in_progress:
                    command.in_progress = True
                    self._send(command.frame)

    def _finish(self, command: Command, error: Exception | None, result: Any = None) -> None:
        del self._pending[command.id]
        command.done(result, error)

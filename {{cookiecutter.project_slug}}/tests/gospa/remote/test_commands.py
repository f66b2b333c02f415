"""A client's commands: each is sent until it has an answer, under one id."""

from collections.abc import Callable
from typing import Any

import pytest

from gospa.live.wire import DONE, ERROR
from gospa.remote.commands import MAX_COMMANDS, Command, Commands
from gospa.remote.errors import Refused

ROOM = "sheet/a"


class Server:
    """Keeps what a client's commands send, and when they would try again."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.results: dict[bytes, Any] = {}  # or errors, by id
        self._due: list[Callable[[], None]] = []
        self.commands = Commands(ROOM, self.sent.append, self._later)

    def _later(self, _: float, function: Callable[[], None]) -> None:
        self._due.append(function)

    def pass_time(self) -> None:
        """Run what waits for a delay."""
        due, self._due = self._due, []
        for function in due:
            function()

    def take(self) -> list[bytes]:
        """What was sent since the last call."""
        sent = self.sent[:]
        self.sent.clear()
        return sent

    def run(self, id_: bytes, session: str | None = None) -> None:
        """Run a command, whose frame is its id."""

        def done(result: Any, error: Exception | None) -> None:
            assert id_ not in self.results
            self.results[id_] = result if error is None else error

        self.commands.add(Command(id_, id_, session, done))

    def done(self, id_: bytes, result: Any = "done") -> None:
        self.commands.answer([DONE, id_, result])

    def refuse(self, id_: bytes, code: str) -> None:
        self.commands.answer([ERROR, id_, code, "", ROOM])


@pytest.fixture
def server() -> Server:
    """A server whose client is in the room."""
    server = Server()
    server.commands.join()
    return server


def test_a_command_has_its_own_result(server: Server) -> None:
    server.run(b"1")
    server.run(b"2")
    assert server.take() == [b"1", b"2"]
    server.done(b"2", "two")
    server.done(b"1", "one")
    server.done(b"1", "again")
    server.done(b"3")
    assert server.results == {b"1": "one", b"2": "two"}


def test_a_command_that_is_refused_is_rejected(server: Server) -> None:
    server.run(b"1")
    server.refuse(b"1", "refused")
    assert (server.results[b"1"].code, server.results[b"1"].room) == ("refused", ROOM)


def test_a_command_waits_for_the_room(server: Server) -> None:
    server.commands.lose()
    server.run(b"1")
    assert server.take() == []
    server.commands.join()
    assert server.take() == [b"1"]
    server.commands.join()  # the room is joined again after a gap
    assert server.take() == []


def test_a_command_without_an_answer_is_sent_again_under_its_id(server: Server) -> None:
    server.run(b"1")
    server.run(b"2")
    server.done(b"1")
    server.take()
    server.commands.lose()
    server.commands.resume(None, 100)
    assert server.take() == []
    server.commands.join()
    assert server.take() == [b"2"]


@pytest.mark.parametrize("code", ["unavailable", "busy"])
def test_a_command_that_may_run_later_is_sent_again(server: Server, code: str) -> None:
    server.run(b"1")
    server.run(b"2")
    server.take()
    server.refuse(b"1", code)
    server.run(b"3")
    assert server.take() == []
    server.pass_time()
    assert server.take() == [b"1", b"3"]
    server.refuse(b"1", code)
    server.commands.lose()
    server.commands.join()
    assert server.take() == [b"1", b"2", b"3"]
    server.pass_time()
    assert server.take() == []


def test_a_command_that_nobody_waits_for_is_not_sent_again(server: Server) -> None:
    server.run(b"1")
    server.take()
    server.commands.withdraw(b"1")
    server.commands.lose()
    server.commands.join()
    server.done(b"1")
    assert (server.take(), server.results) == ([], {})


def test_a_command_is_not_sent_in_another_session(server: Server) -> None:
    server.run(b"1", session="ann")
    server.run(b"2", session="bob")
    server.run(b"3")
    server.take()
    server.commands.lose()
    server.commands.resume("bob", 100)
    server.commands.join()
    assert server.results[b"1"].code == "other_session"
    assert server.take() == [b"2", b"3"]


def test_a_command_too_large_for_the_next_server_is_rejected(server: Server) -> None:
    server.run(b"1")
    server.commands.lose()
    server.commands.resume(None, 0)
    assert server.results[b"1"].code == "too_large"


def test_commands_without_an_answer_are_bounded(server: Server) -> None:
    for number in range(MAX_COMMANDS):
        server.run(str(number).encode())
    with pytest.raises(Refused, match="overflow"):
        server.run(b"one more")


def test_the_end_rejects_all(server: Server) -> None:
    server.run(b"1")
    end = Refused("left", "", ROOM)
    server.commands.end(end)
    server.done(b"1")
    assert server.results == {b"1": end}

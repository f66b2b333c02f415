"""A client's side of a room: its state follows one chain, and mutations keep their order."""

from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import pytest

from gospa.live.wire import ACK, DONE, ERROR, EVENT, JOIN, JOINED, PATCH, SNAPSHOT
from gospa.remote.backoff import backoff
from gospa.remote.commands import Command
from gospa.remote.errors import Refused
from gospa.remote.membership import MAX_PENDING, Membership, Mutation

ROOM = "sheet/a"


def tag(number: int) -> bytes:
    return number.to_bytes(8)


class Server:
    """Has a member receive what it is told to, and keeps what that sends and when it retries."""

    def __init__(self, details: Any = None) -> None:
        self.sent: list[Any] = []
        self.delays: list[float] = []
        self.results: dict[int, Any] = {}  # or errors, by mutation number
        self.events: list[Any] = []
        self._due: list[Callable[[], None]] = []
        self.member = Membership(ROOM, details, self._receive, self._later)
        self.member.on_event = lambda *event: self.events.append(event)

    def _receive(self, raw: bytes) -> None:
        self.sent.append(msgpack.unpackb(raw))

    def _later(self, delay: float, function: Callable[[], None]) -> None:
        self.delays.append(delay)
        self._due.append(function)

    def pass_time(self) -> None:
        """Run what waits for a delay."""
        due, self._due = self._due, []
        for function in due:
            function()

    def take(self) -> list[Any]:
        """What was sent since the last call."""
        sent, self.sent = self.sent, []
        return sent

    def connect(self, session: str | None = None, frame_size: int = 1000) -> None:
        self.member.resume(session, frame_size)

    def snapshot(self, number: int, **fields: Any) -> None:
        self.member.receive([SNAPSHOT, ROOM, number, tag(number), fields])

    def patch(self, number: int, *deleted: str, parent: int | None = None, **changed: Any) -> None:
        before = tag(number - 1 if parent is None else parent)
        self.member.receive([PATCH, ROOM, number, before, tag(number), changed, list(deleted)])

    def joined(
        self,
        number: int,
        defaults: dict[str, Any] | None = None,
        collections: Sequence[str] = (),
        access: str = "full",
    ) -> None:
        self.member.receive(
            [JOINED, ROOM, number, tag(number), defaults or {}, list(collections), access]
        )

    def mutate(self, number: int, session: str | None = None) -> Mutation:
        """Have the member send a mutation, whose frame is its number."""

        def done(result: Any, error: Exception | None) -> None:
            assert number not in self.results
            self.results[number] = result if error is None else error

        mutation = Mutation(number, msgpack.packb(number), session, done)
        self.member.add(mutation)
        return mutation

    def ack(self, number: int, version: int, result: Any = "applied") -> None:
        self.member.answer([ACK, number, version, result])

    def refuse(self, number: int | None, code: str) -> None:
        if number is None:
            self.member.refuse(Refused(code, "", ROOM))
        else:
            self.member.answer([ERROR, number, code, "", ROOM])


@pytest.fixture
def server() -> Server:
    """A server whose member is in the room, at version 1 with count 10."""
    server = Server()
    server.connect()
    server.snapshot(1, count=10)
    server.joined(1)
    assert server.take() == [[JOIN, ROOM, None, None]]
    return server


# The state


def test_patches_of_the_chain_set_and_delete_keys(server: Server) -> None:
    server.patch(2, count=11, note="x")
    server.patch(3, "note")
    assert dict(server.member.state) == {"count": 11}
    assert (server.member.version, server.member.tag) == (3, tag(3))


def test_a_state_is_not_changed_by_later_commits(server: Server) -> None:
    before = server.member.state
    server.patch(2, count=11)
    assert dict(before) == {"count": 10}
    with pytest.raises(TypeError):
        before["count"] = 0  # type: ignore[index]


def test_a_patch_that_was_applied_is_ignored(server: Server) -> None:
    server.patch(2, count=11)
    server.patch(2, count=11)
    assert server.member.version == 2
    assert server.take() == []


def test_after_a_gap_the_whole_state_is_asked_for_once(server: Server) -> None:
    server.patch(3, count=12)
    server.patch(4, count=13)
    assert server.take() == [[JOIN, ROOM, 1, None]]
    assert dict(server.member.state) == {"count": 10}
    server.snapshot(4, count=13)
    server.joined(4)
    assert dict(server.member.state) == {"count": 13}
    assert server.take() == []


def test_a_gap_before_joined_is_repaired_after_it(server: Server) -> None:
    server.member.lose()
    server.connect()
    server.patch(3, count=12)
    server.joined(3)
    assert server.take() == [[JOIN, ROOM, 1, tag(1)], [JOIN, ROOM, 1, None]]


def test_after_a_reconnect_the_chain_goes_on(server: Server) -> None:
    server.patch(2, count=11)
    server.member.lose()
    server.connect()
    assert server.take() == [[JOIN, ROOM, 2, tag(2)]]
    server.patch(3, count=12)
    server.joined(3)
    assert dict(server.member.state) == {"count": 12}


def test_a_snapshot_of_another_chain_replaces_the_state(server: Server) -> None:
    server.patch(2, count=11, note="x")
    server.snapshot(1, count=20)
    assert dict(server.member.state) == {"count": 20}
    assert server.member.version == 1


def test_defaults_lie_under_the_state_and_out_of_the_chain(server: Server) -> None:
    server.member.lose()
    server.connect()
    server.joined(1, {"count": 0, "title": "none"})
    assert dict(server.member.state) == {"count": 10, "title": "none"}
    server.patch(2, "count", title="some")
    assert dict(server.member.state) == {"count": 0, "title": "some"}
    server.patch(3, "title")
    assert dict(server.member.state) == {"count": 0, "title": "none"}


def test_items_are_in_their_collections(server: Server) -> None:
    server.patch(2, **{"notes/b": 2, "notes/a": 1, "$schema": 1})
    server.joined(2, {"title": ""}, ["notes", "log"])
    assert server.member.state == {"count": 10, "title": "", "notes": {"a": 1, "b": 2}, "log": {}}
    assert list(server.member.state["notes"]) == ["a", "b"]


def test_access_may_change_while_the_room_is_joined(server: Server) -> None:
    assert server.member.access == "full"
    before = server.member.state
    server.joined(1, access="read")
    assert server.member.access == "read"
    assert server.member.state is before
    assert server.take() == []


def test_elements_and_types_of_later_protocols_are_ignored(server: Server) -> None:
    server.member.receive([PATCH, ROOM, 2, tag(1), tag(2), {"count": 11}, [], "more"])
    server.member.receive([99, ROOM, 1])
    server.member.receive([JOINED, ROOM, 2, tag(2), {}, [], "full", "more"])
    server.member.receive([EVENT, ROOM, "typing", True, {"id": "ann"}, "more"])
    assert dict(server.member.state) == {"count": 11}
    assert server.events == [("typing", True, {"id": "ann"})]


def test_details_are_sent_with_each_join() -> None:
    server = Server(details={"name": "ann"})
    server.connect()
    server.member.lose()
    server.connect()
    assert server.take() == [[JOIN, ROOM, None, None, {"name": "ann"}]] * 2


# Mutations


def test_a_mutation_is_done_once_the_state_contains_it(server: Server) -> None:
    server.mutate(1)
    server.ack(1, 2)
    assert server.results == {}
    server.patch(2, count=11)
    assert server.results == {1: "applied"}


def test_a_state_may_come_before_the_acknowledgement(server: Server) -> None:
    server.mutate(1)
    server.patch(2, count=11)
    server.ack(1, 2)
    assert server.results == {1: "applied"}


def test_a_refused_mutation_is_rejected(server: Server) -> None:
    server.mutate(1)
    server.refuse(1, "conflict")
    assert server.results[1].code == "conflict"
    assert server.results[1].room == ROOM


def test_a_commit_that_does_not_arrive_is_asked_for(server: Server) -> None:
    server.mutate(1)
    server.take()
    server.ack(1, 5)
    server.pass_time()
    assert server.take() == []
    server.pass_time()
    assert server.take() == [[JOIN, ROOM, 5, tag(1)]]
    server.joined(1)  # the store lost it
    assert server.results == {1: "applied"}


def test_a_snapshot_without_an_acknowledged_commit_is_asked_about(server: Server) -> None:
    server.mutate(1)
    server.ack(1, 5)
    server.take()
    server.snapshot(4, count=7)
    assert server.results == {}
    assert server.take() == [[JOIN, ROOM, 5, tag(4)]]
    server.joined(4)
    assert server.results == {1: "applied"}


def test_an_answer_to_an_earlier_join_says_nothing_of_a_later_commit(server: Server) -> None:
    server.mutate(1)
    server.patch(3, count=12)  # a gap, so JOIN is sent
    server.ack(1, 5)
    server.snapshot(3, count=12)
    server.joined(3)
    assert server.results == {}


def test_nor_does_it_when_another_join_was_sent_meanwhile(server: Server) -> None:
    """A mutation is unavailable while a JOIN waits for its answer, and the room is joined again."""
    server.mutate(1)
    server.mutate(2)
    server.patch(3)  # 2 is missing
    server.refuse(2, "unavailable")
    server.ack(1, 4)
    server.take()
    server.pass_time()
    assert server.take() == [[JOIN, ROOM, 4, None]]
    server.snapshot(3)
    server.joined(3)
    assert server.results == {}
    server.patch(4, parent=3)
    assert server.results == {1: "applied"}


def test_unanswered_mutations_are_repeated_in_order_before_new_ones(server: Server) -> None:
    server.mutate(1)
    server.mutate(2)
    server.ack(1, 2)
    server.patch(2, count=11)
    server.member.lose()
    server.mutate(3)
    assert server.take() == [1, 2]
    server.connect()
    server.mutate(4)
    assert server.take() == [[JOIN, ROOM, 2, tag(2)]]
    server.joined(2)
    assert server.take() == [2, 3, 4]


def test_an_acknowledged_mutation_is_not_repeated_but_waited_for(server: Server) -> None:
    server.mutate(1)
    server.ack(1, 7)
    server.member.lose()
    server.take()
    server.connect()
    assert server.take() == [[JOIN, ROOM, 7, tag(1)]]
    server.joined(1)
    assert server.take() == []
    assert server.results == {1: "applied"}


def test_no_mutation_overtakes_one_that_is_unavailable(server: Server) -> None:
    for number in (1, 2, 3):
        server.mutate(number)
    server.take()
    server.ack(1, 2)
    server.refuse(2, "unavailable")
    server.mutate(4)
    server.refuse(3, "unavailable")
    assert server.take() == []
    server.pass_time()
    assert server.take() == [2, 3, 4]


def test_a_mutation_that_stays_unavailable_is_retried_until_it_is_answered(server: Server) -> None:
    server.mutate(1)
    for _ in range(3):
        assert server.take() == [1]
        server.refuse(1, "unavailable")
        server.pass_time()
    server.refuse(1, "refused")
    assert server.results[1].code == "refused"


def test_what_is_in_progress_is_not_repeated_when_the_room_is_joined_again(
    server: Server,
) -> None:
    server.mutate(1)
    server.patch(3, count=12)  # a gap
    server.mutate(2)
    assert server.take() == [1, [JOIN, ROOM, 1, None]]
    server.snapshot(3, count=12)
    server.joined(3)
    assert server.take() == [2]


def test_an_answer_that_comes_twice_counts_once(server: Server) -> None:
    server.mutate(1)
    server.refuse(1, "unavailable")
    server.pass_time()
    server.ack(1, 2)
    server.patch(2, count=11)
    server.ack(1, 2, result=None)
    assert server.results == {1: "applied"}


def test_mutations_of_another_session_are_rejected(server: Server) -> None:
    server.mutate(1, session="ann")
    server.mutate(2)  # made when the server did not send sessions
    server.member.lose()
    server.connect(session="bob")
    assert server.results[1].code == "other_session"
    server.take()
    server.joined(1)
    assert server.take() == [2]


def test_mutations_of_the_same_session_are_repeated(server: Server) -> None:
    server.mutate(1, session="ann")
    server.member.lose()
    server.take()
    server.connect(session="ann")
    server.joined(1)
    assert server.take() == [[JOIN, ROOM, 1, tag(1)], 1]


def test_a_mutation_too_large_for_the_next_server_is_rejected(server: Server) -> None:
    server.mutate(1)
    server.member.lose()
    server.connect(frame_size=0)
    assert server.results[1].code == "too_large"


def test_a_mutation_is_withdrawn_only_before_it_was_sent(server: Server) -> None:
    server.mutate(1)
    server.member.lose()
    server.mutate(2)
    server.mutate(3)
    server.take()
    for number in (1, 2):
        server.member.withdraw(number)
    server.connect()
    server.joined(1)
    assert server.take() == [[JOIN, ROOM, 1, tag(1)], 1, 3]


def test_pending_mutations_are_bounded(server: Server) -> None:
    for number in range(MAX_PENDING):
        server.mutate(number)
    with pytest.raises(Refused) as caught:
        server.mutate(MAX_PENDING)
    assert caught.value.code == "overflow"


# The end


def test_a_refused_room_rejects_its_mutations(server: Server) -> None:
    server.mutate(1)
    server.member.lose()
    server.connect()
    server.mutate(2)
    server.take()
    server.refuse(None, "unauthorized")
    assert server.results[2].code == "unauthorized"
    assert server.member.error is server.results[2]
    assert server.take() == [1]  # it may have been applied: the server knows
    server.refuse(1, "not_joined")
    assert server.results[1] is server.member.error
    assert server.member.settled


@pytest.mark.parametrize("answer", ["ack", "refused", "unavailable"])
def test_what_may_have_been_applied_before_access_was_lost_is_asked_for(
    server: Server, answer: str
) -> None:
    server.mutate(1, "s")
    server.refuse(None, "kicked")
    assert server.results == {}
    server.member.lose()
    server.take()
    server.connect("s")
    assert server.take() == [1]  # and no JOIN
    if answer == "ack":
        server.ack(1, 9)
        assert server.results == {1: "applied"}
    else:
        server.refuse(1, answer)
        assert server.results[1].code == ("refused" if answer == "refused" else "kicked")
    assert server.member.settled


@pytest.mark.parametrize("session", ["other", None])
def test_what_waits_for_an_answer_without_access_ends_with_the_session_and_the_client(
    server: Server, session: str | None
) -> None:
    server.mutate(1, "s")
    server.refuse(None, "kicked")
    if session:
        server.member.lose()
        server.connect(session)
        assert server.results[1].code == "other_session"
    else:
        closed = ConnectionError("closed")
        server.member.end(closed)
        assert server.results == {1: closed}
    assert server.member.settled


@pytest.mark.parametrize("code", ["unauthorized", "kicked"])
def test_a_room_without_access_is_shown_no_more(server: Server, code: str) -> None:
    server.mutate(1)
    server.mutate(2)
    server.ack(1, 9)
    run = Command(b"1", b"\x01", None, lambda *outcome: server.results.update({3: outcome}))
    server.member.commands.add(run)
    server.refuse(None, code)
    error = server.member.error
    assert isinstance(error, Refused)
    assert error.code == code
    assert server.results == {1: "applied", 3: (None, error)}
    server.refuse(2, "not_joined")
    assert server.results[2] is error
    assert server.member.state == {}
    server.patch(2, count=11)
    assert server.member.state == {}


def test_commands_wait_for_the_room_and_are_sent_again() -> None:
    server = Server()
    server.connect()
    outcomes = []
    run = Command(b"1", msgpack.packb("run"), None, lambda *outcome: outcomes.append(outcome))
    server.member.commands.add(run)
    server.snapshot(1)
    assert server.take() == [[JOIN, ROOM, None, None]]
    for _ in range(2):
        server.joined(1)
        assert server.take() == ["run"]
        server.member.lose()
        server.connect()
        assert server.take() == [[JOIN, ROOM, 1, tag(1)]]
    server.member.answer([DONE, b"1", "result"])
    assert outcomes == [("result", None)]


def test_an_unavailable_room_is_joined_later(server: Server) -> None:
    server.member.lose()
    server.connect()
    server.refuse(None, "unavailable")
    server.take()
    server.pass_time()
    assert server.take() == [[JOIN, ROOM, 1, tag(1)]]
    assert server.member.error is None


def test_a_refused_event_leaves_the_room_joined(server: Server) -> None:
    server.refuse(None, "invalid")
    assert server.member.joined
    server.patch(3, count=12)  # a gap, so JOIN is sent while the event is not answered
    server.refuse(None, "invalid")
    server.snapshot(3, count=12)
    server.joined(3)
    server.take()
    server.mutate(1)  # waits for no retry
    assert server.take() == [1]
    assert server.member.error is None


@pytest.mark.parametrize("code", ["rate_limited", "unlisted"])
def test_what_never_answers_a_join_ends_none(server: Server, code: str) -> None:
    server.member.lose()
    server.connect()
    server.refuse(None, code)
    assert server.member.error is None
    server.joined(1)
    assert server.member.joined


def test_at_the_end_what_was_acknowledged_has_its_result(server: Server) -> None:
    server.mutate(1)
    server.mutate(2)
    server.ack(1, 9)
    end = Refused("left", "", ROOM)
    server.member.end(end)
    server.patch(2, count=11)
    server.member.end(Refused("other", "", ROOM))
    assert server.results == {1: "applied", 2: end}
    assert dict(server.member.state) == {"count": 10}


def test_a_retry_of_a_lost_connection_does_nothing(server: Server) -> None:
    server.mutate(1)
    server.refuse(1, "unavailable")
    server.member.lose()
    server.take()
    server.pass_time()
    assert server.take() == []


def test_delays_double_up_to_their_bound() -> None:
    for attempt, bound in ((0, 1), (1, 2), (4, 16), (5, 20), (5000, 20)):
        delays = [backoff(attempt, 1, 20) for _ in range(200)]
        assert bound / 2 < max(delays) <= bound


def test_an_error_names_its_code_and_room() -> None:
    assert str(Refused("invalid", "no such key", ROOM)) == "invalid: no such key (room sheet/a)"
    assert str(Refused("invalid", "no name", None)) == "invalid: no name"

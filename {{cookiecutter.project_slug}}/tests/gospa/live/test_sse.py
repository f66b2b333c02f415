"""Frames as lines of an event stream, and batches of messages as frames."""

import os
from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.protocol import State
from websockets.server import ServerProtocol

from gospa.live import sse
from gospa.live.frames import FRAGMENT, fragmented, framed
from gospa.live.wire import WireError

ID = b"0123456789abcdef" + b"f" * 32
SIZES = (0, 1, 125, 126, FRAGMENT - 1, FRAGMENT, 2 * FRAGMENT + 1, 2**16 - 1, 2**16)


def read(text: bytes) -> list[bytes]:
    """The messages of a stream that has nothing else."""
    events = text.decode().split("\n\n")
    assert events.pop() == ""
    lines = [each.split("\n") for each in events]
    assert all(line.startswith("data: ") for event in lines for line in event)
    return [b"".join(b64decode(line[6:], validate=True) for line in event) for event in lines]


@given(st.lists(st.sampled_from(SIZES), max_size=4))
def test_frames_are_the_messages_that_were_sent(sizes: list[int]) -> None:
    messages = [os.urandom(size) for size in sizes]
    frames = b"".join(frame for message in messages for frame in fragmented(message))
    assert read(sse.events(frames)) == messages


def test_the_lines_for_all_members_of_a_room_are_made_once() -> None:
    frames = framed(os.urandom(100))
    assert sse.events(frames) is sse.events(frames)


def test_a_ping_and_a_close_are_events_of_their_own() -> None:
    server = ServerProtocol(state=State.OPEN)
    server.send_ping(b"")
    server.send_close(4500, "malformed\nmessage")
    ping, close = server.data_to_send()
    assert sse.events(ping) == b"event: ping\ndata:\n\n"
    assert sse.events(close) == b"event: close\ndata: 4500 malformed message\n\n"
    assert [sse.is_close(each) for each in (ping, close, framed(b"x"))] == [False, True, False]


@pytest.mark.parametrize("size", SIZES)
def test_a_message_of_a_client_is_a_frame_of_one(size: int) -> None:
    message = os.urandom(size)
    server = ServerProtocol(state=State.OPEN, max_size=None)
    server.receive_data(sse.frame(message))
    (frame,) = server.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (2, True, message)


@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(1, 10**15 - 1))
def test_a_batch_is_read_as_it_was_sent(messages: list[bytes], number: int) -> None:
    body = b"\n".join([b"%b %d" % (ID, number), *map(b64encode, messages)])
    batch = sse.read_batch(body)
    assert batch[:3] == (ID[:16].decode(), ID[16:].decode(), number)
    assert batch.messages() == messages


@pytest.mark.parametrize(
    "body",
    [
        *(b"", ID, ID + b" 0", ID + b" 1 ", ID + b" -1", ID + b" 01", ID[1:] + b" 1"),
        *(ID + b" " + b"1" * 16, ID.upper() + b" 1", b"\n" + ID + b" 1", ID + b"\n1"),
        *(ID + b" 1\na", ID + b" 1\nYQ=", ID + b" 1\n Y Q==", ID + b" 1\nYQ==\r\nYQ=="),
        *(ID + b" 1" + b"\n" * (sse.MOST + 1), ID + b" 1" + b"\nYQ==" * (sse.MOST + 1)),
    ],
)
def test_what_is_not_a_batch_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        sse.read_batch(body).messages()

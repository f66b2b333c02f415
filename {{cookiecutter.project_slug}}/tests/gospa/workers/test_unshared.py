"""What is closed in forks, and what must not be."""

import multiprocessing
import os
import socket
import sys

import pytest

from gospa.workers.unshared import close_in_forks
from tests.gospa.forks import forked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")


def is_socket(descriptor: int) -> bool:
    """Whether this process has a socket of that number."""
    try:
        socket.socket(fileno=os.dup(descriptor)).close()
    except OSError:
        return False
    return True


def test_a_fork_does_not_have_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        close_in_forks(ours)
        with forked(lambda: (is_socket(ours.fileno()), is_socket(theirs.fileno()))) as answer:
            assert answer.recv() == (False, True)
        assert is_socket(ours.fileno())


def test_what_has_the_number_of_one_that_is_just_being_closed_stays_open() -> None:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    close_in_forks(receiver)
    number = receiver.fileno()
    os.close(number)  # as its thread does first, before it notes that it is closed
    ours, theirs = socket.socketpair()
    with ours, theirs, sender:
        assert number in (ours.fileno(), theirs.fileno())
        with forked(lambda: is_socket(number)) as answer:
            assert answer.recv()
        receiver._handle = None  # type: ignore[attr-defined] # noqa: SLF001 - it is not ours any more


def test_what_this_process_is_about_to_write_is_not_written_by_a_fork() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as source, os.fdopen(writer, "wb") as written:
        close_in_forks(written)
        written.write(b"once")
        with forked(lambda: "") as answer:
            assert answer.recv() == ""
        written.close()
        assert source.read() == b"once"

"""A name server that answers every question for an IPv4 address with the one it has just now."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ANSWER = struct.pack(">HHHI", 0xC00C, 1, 1, 0)  # the question's name, A, IN, for no time
FLAGS, ADDRESS = 0x8180, 1  # a recursive answer without an error; the type A


class Names:
    """`address` may be changed; without one, the name does not exist."""

    def __init__(self, address: str) -> None:
        self.address: str | None = address
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def serve(self) -> None:
        """Answer until `close`."""
        with self._socket:
            while received := self._socket.recvfrom(512):
                question, client = received
                if not question:
                    return
                self._socket.sendto(self._answer(question), client)

    def _answer(self, question: bytes) -> bytes:
        end = question.index(b"\0", 12) + 5
        (kind,) = struct.unpack(">H", question[end - 4 : end - 2])
        known = self.address is not None and kind == ADDRESS
        flags = FLAGS | (0 if self.address else 3)
        head = question[:2] + struct.pack(">HHHHH", flags, 1, int(known), 0, 0)
        answer = question[12:end]
        if known and self.address:
            answer += ANSWER + struct.pack(">H", 4) + socket.inet_aton(self.address)
        return head + answer

    def close(self) -> None:
        """End `serve`."""
        self._socket.sendto(b"", ("127.0.0.1", self.port))


@contextmanager
def name_server(address: str) -> Iterator[Names]:
    names = Names(address)
    thread = threading.Thread(target=names.serve)
    thread.start()
    try:
        yield names
    finally:
        names.close()
        thread.join()

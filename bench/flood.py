"""A client that sends as fast as it can, and comes back when it is thrown out.

As a program: `python -m bench.flood PORT KIND`; it ends when it is killed.
"""

import contextlib
import secrets
import socket
import sys

import msgpack

from bench import frames
from bench.processes import HOST

PING = 9
# What comes first, and what is repeated.
KINDS = {
    "frames of 64 KiB": (b"", frames.frame(msgpack.packb([4, "x", "y", bytes(65_000)]))),
    "empty fragments": (b"\x02\x80" + bytes(4), (b"\x00\x80" + bytes(4)) * 1000),
    "pings": (b"", frames.frame(b"", PING) * 1000),
}


def main(port: int, kind: str) -> None:
    """Flood the server on that port for ever."""
    first, again = KINDS[kind]
    hello = frames.frame(b"\x92\x06\xc4\x10" + secrets.token_bytes(16))
    while True:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port)) as client:
            client.sendall(frames.handshake("/ws", "gospa.v1") + hello + first)
            while True:
                client.sendall(again)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

"""Ports to serve at."""

import secrets
import socket
import sys
from contextlib import suppress

_held: list[socket.socket] = []


def free_port() -> int:
    """A TCP port for a server that this process starts: no other process is given it meanwhile."""
    while True:
        port = secrets.choice(range(10_000, 32_768))  # from there on they are given to connections
        holder = socket.socket()
        with suppress(OSError):
            holder.bind(("127.0.0.1", port))
            _hold(holder)
            return port
        holder.close()


def _hold(holder: socket.socket) -> None:
    """Keep the port for a server, which may bind it beside one that reuses it and does not listen.

    Other systems would refuse that.
    """
    if sys.platform == "linux":
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _held.append(holder)
    else:
        holder.close()

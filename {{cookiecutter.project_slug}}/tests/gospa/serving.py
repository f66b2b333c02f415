"""Ports to serve at."""

import secrets
import socket
from contextlib import suppress


def free_port() -> int:
    """A TCP port that nobody has, nor gets for a connection before somebody listens there."""
    while True:
        port = secrets.choice(range(10_000, 32_768))  # from there on they are given to connections
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port

"""Numbers in memory that the main process and its workers share.

Python's own shared arrays and events need a writable /dev/shm, which hardened hosts do not have.
"""

import mmap
import os
import tempfile
from collections.abc import MutableSequence
from multiprocessing.connection import Connection
from typing import cast

SIZE = 8  # bytes of a number


def share_numbers(count: int) -> Connection:
    """Memory for so many numbers, each 0.0; for `app.shared_ctx` in the main process.

    It is a Connection, which can be passed to workers; nothing is sent over it.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("gospa")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, count * SIZE)
    return Connection(descriptor)


def open_numbers(memory: Connection) -> MutableSequence[float]:
    """The numbers, in the process that shares them or in a worker."""
    view = memoryview(mmap.mmap(memory.fileno(), 0)).cast("d")
    return cast("MutableSequence[float]", view)

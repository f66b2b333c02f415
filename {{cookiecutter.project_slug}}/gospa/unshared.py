"""What forks of the main process must not keep open, or nobody would see that process end.

A pipe, a socket or a lock of a file lasts until the last process that has it has closed it.
"""

import os
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet


class Closable(Protocol):
    """A file, a socket or a connection."""

    def close(self) -> None: ...


_unshared: WeakSet[Closable] = WeakSet()


def close_in_forks(*opened: Closable) -> None:
    """Close these in each fork of this process, while they are open here."""
    _unshared.update(opened)


def _close() -> None:
    for each in list(_unshared):
        with suppress(OSError):
            each.close()


os.register_at_fork(after_in_child=_close)

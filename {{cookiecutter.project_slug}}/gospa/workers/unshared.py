"""Closes files of the main process in its forks, so that others notice when that process ends.

A pipe, a socket or a file lock stays open until the last process has closed it.
"""

import os
from contextlib import suppress
from typing import Protocol
from weakref import WeakKeyDictionary


class Opened(Protocol):
    """A file, a socket or a connection."""

    def fileno(self) -> int: ...


_Identity = tuple[int, int]  # the device and the inode
_unshared: WeakKeyDictionary[Opened, _Identity] = WeakKeyDictionary()


def close_in_forks(*opened: Opened) -> None:
    """Close these in each fork of this process, as long as they are open here."""
    _unshared.update({each: _identity(each.fileno()) for each in opened})


def _identity(descriptor: int) -> _Identity:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _close() -> None:
    # Not by their methods: another thread may have held a lock of theirs when the process forked,
    # or have closed one whose number was then given to something else.
    null = os.open(os.devnull, os.O_RDWR)
    for each, identity in list(_unshared.items()):
        with suppress(OSError, ValueError):  # it is closed
            if _identity(each.fileno()) == identity:
                os.dup2(null, each.fileno(), inheritable=False)
    os.close(null)


os.register_at_fork(after_in_child=_close)

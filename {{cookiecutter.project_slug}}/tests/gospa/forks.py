"""Forks of the process of the tests, to see what they have of it."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

FORK = multiprocessing.get_context("fork")


@contextmanager
def forked(look: Callable[[], Any]) -> Iterator[Connection]:
    """A fork of this process that sends what `look` returns there."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    fork = FORK.Process(target=lambda: sender.send(look()))
    fork.start()
    sender.close()
    with receiver:
        yield receiver
    fork.join()


def descriptors() -> set[str]:
    """The targets of this process's file descriptors."""
    return {str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()}

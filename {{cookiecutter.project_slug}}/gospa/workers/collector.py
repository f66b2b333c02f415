"""The garbage collector, set so that a worker with many objects does not block for long.

A collection of all generations visits every object: 0.2 s with 10,000 connections. Objects that
survive a collection of an older generation are therefore excluded from later ones, until there are
many more objects, or the process needs much more memory: a few objects can hold large values.
From Python 3.14 on, the collector visits old objects a part at a time by itself.
"""

import gc
import resource
import sys
from collections.abc import Mapping
from typing import Any

# For generations 0, 1 and 2: with Python's 700, a fifth of a commit's time goes to the collector.
# A collection of the first two visits 20,000 objects: 10 ms.
THRESHOLDS = (10_000, 1, 3)
GROWTH = 1.5  # of the memory blocks in use, or of the most memory, until all objects are collected
OLDEST = 2
INCREMENTAL = (3, 14)


def most_memory() -> int:
    """The most memory that the process has had, in a unit of the platform."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Collector:
    """Decides which objects collections visit."""

    def __init__(self) -> None:
        self._blocks = self._memory = 0  # after the last collection of all objects
        self._all = False  # whether the next collection of the oldest generation is to visit all

    def start(self) -> None:
        """Exclude existing objects, which live as long as the worker."""
        gc.collect()
        gc.freeze()
        self._note()
        if sys.version_info < INCREMENTAL:
            gc.set_threshold(*THRESHOLDS)
            if self._blocks:  # 0 with PYTHONMALLOC=malloc: growth would never be noticed
                gc.callbacks.append(self.on_collection)

    def stop(self) -> None:
        """Let collections visit all objects again."""
        if self.on_collection in gc.callbacks:
            gc.callbacks.remove(self.on_collection)
        gc.unfreeze()

    def on_collection(self, phase: str, info: Mapping[str, Any]) -> None:
        """Called by Python before a collection of `info["generation"]` starts and when it stops."""
        generation = info["generation"]
        if phase == "start" or generation == 0:
            return
        if generation == OLDEST and self._all:
            self._all = False
            self._note()
        elif not self._all and self._grown():
            self._all = True
            gc.unfreeze()
        if not self._all:
            gc.freeze()

    def _note(self) -> None:
        self._blocks, self._memory = sys.getallocatedblocks(), most_memory()

    def _grown(self) -> bool:
        more = sys.getallocatedblocks() > self._blocks * GROWTH
        return more or most_memory() > self._memory * GROWTH

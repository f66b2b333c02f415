"""The garbage collector, set so that a worker with many objects does not stand still for long.

A collection of all generations visits every object: 0.2 s with 10,000 connections. What survives
one is therefore left out of later ones, until the worker's memory has grown.
"""

import gc
import resource
from collections.abc import Mapping
from typing import Any

# For generations 0, 1 and 2. With Python's 700, a fifth of a commit's time goes to the collector;
# with its 10 and 10, the garbage of 10,000 connections would wait too long.
THRESHOLDS = (20_000, 3, 3)
GROWTH = 1.5  # of the memory at the last collection of all objects, after which there is another


class Collector:
    """Decides which objects the collections of the oldest generation visit."""

    def __init__(self) -> None:
        self._memory = peak_memory()

    def start(self) -> None:
        """Leave out what exists already, which lives as long as the worker."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        gc.callbacks.append(self._on_collection)

    def stop(self) -> None:
        """Go on as Python does by default, for tests."""
        gc.callbacks.remove(self._on_collection)
        gc.unfreeze()

    def _on_collection(self, phase: str, info: Mapping[str, Any]) -> None:
        if info["generation"] < 2:
            return
        if phase == "stop":
            gc.freeze()
        elif (memory := peak_memory()) > self._memory * GROWTH:
            self._memory = memory
            gc.unfreeze()


def peak_memory() -> int:
    """The most memory that this process has had, in units that depend on the system."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

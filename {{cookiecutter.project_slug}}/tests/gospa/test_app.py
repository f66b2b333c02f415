"""What the factory sets for a worker."""

import gc
from collections import deque

import pytest

from gospa.app import GC_THRESHOLDS


class Connection:
    """Refers to itself, as what is left of a connection does."""

    alive = 0

    def __init__(self) -> None:
        self.own = self
        type(self).alive += 1

    def __del__(self) -> None:
        type(self).alive -= 1


@pytest.mark.slow
def test_what_is_left_of_those_who_came_and_went_is_found_in_time() -> None:
    before, present, most = gc.get_threshold(), 40_000, 0
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        connections: deque[Connection] = deque(maxlen=present)
        for _ in range(40 * present):
            connections.append(Connection())
            most = max(most, Connection.alive)
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
    assert most < 8 * present

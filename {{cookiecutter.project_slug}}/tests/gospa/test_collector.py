"""Garbage among objects that live for long is found once memory has grown."""

import gc
import sys
from collections import deque
from collections.abc import Iterator

import pytest

from gospa import collector
from gospa.collector import INCREMENTAL, Collector

pytestmark = pytest.mark.skipif(sys.version_info >= INCREMENTAL, reason="Python does this itself")


class Connection:
    """Refers to itself, as what is left of a connection does."""

    alive = 0

    def __init__(self) -> None:
        self.own = self
        type(self).alive += 1

    def __del__(self) -> None:
        type(self).alive -= 1


class Memory:
    """How much memory the process has had."""

    used = 100

    def __call__(self) -> int:
        return self.used


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    memory = Memory()
    monkeypatch.setattr(collector, "peak_memory", memory)
    return memory


@pytest.fixture(autouse=True)
def started(memory: Memory) -> Iterator[None]:
    before, started = gc.get_threshold(), Collector()
    started.start()
    yield
    started.stop()
    gc.set_threshold(*before)


def test_what_survives_a_collection_is_left_out_until_memory_has_grown(memory: Memory) -> None:
    connection = Connection()
    gc.collect()
    del connection
    gc.collect()
    assert Connection.alive == 1
    memory.used = 151
    gc.collect(1)
    gc.collect()
    assert Connection.alive == 0


def test_what_becomes_garbage_before_a_collection_is_found_by_it() -> None:
    Connection()
    gc.collect()
    assert Connection.alive == 0


@pytest.mark.slow
def test_what_is_left_of_those_who_came_and_went_is_found_in_time(memory: Memory) -> None:
    present, most = 40_000, 0
    connections: deque[Connection] = deque(maxlen=present)
    for _ in range(40 * present):
        connections.append(Connection())
        most = max(most, Connection.alive)
        memory.used = max(100, 100 * most // present)
    connections.clear()
    memory.used *= 2
    gc.collect(1)
    gc.collect()
    assert Connection.alive == 0
    assert most < 8 * present

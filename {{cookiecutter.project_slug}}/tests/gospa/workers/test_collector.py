"""Garbage among objects that live for long is found once memory has grown."""

import gc
import sys
from collections import deque
from collections.abc import Iterator

import pytest

from gospa.workers import collector
from gospa.workers.collector import INCREMENTAL, Collector

pytestmark = pytest.mark.skipif(sys.version_info >= INCREMENTAL, reason="Python does this itself")


class Connection:
    """Refers to itself, as what is left of a connection does."""

    alive = 0

    def __init__(self) -> None:
        self.own = self
        type(self).alive += 1

    def __del__(self) -> None:
        type(self).alive -= 1


@pytest.fixture(autouse=True)
def started() -> Iterator[Collector]:
    before, started = gc.get_threshold(), Collector()
    started.start()
    yield started
    started.stop()
    gc.set_threshold(*before)


@pytest.mark.slow
def test_what_survives_a_collection_is_left_out_until_there_are_many_more_objects() -> None:
    connection = Connection()
    gc.collect()
    del connection
    gc.collect()
    assert Connection.alive == 1
    many = [object() for _ in range(sys.getallocatedblocks())]
    gc.collect(1)
    gc.collect()
    assert (Connection.alive, len(many) > 0) == (0, True)


def test_what_becomes_garbage_before_a_collection_is_found_by_it() -> None:
    Connection()
    gc.collect()
    assert Connection.alive == 0


@pytest.mark.slow
def test_all_objects_are_visited_where_python_counts_no_memory_blocks(
    started: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    started.stop()
    monkeypatch.setattr(sys, "getallocatedblocks", lambda: 0)  # as with PYTHONMALLOC=malloc
    started.start()
    connection = Connection()
    gc.collect()
    del connection
    gc.collect()
    assert Connection.alive == 0


def test_few_objects_are_found_once_the_process_has_had_much_more_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection, memory = Connection(), collector.most_memory()
    gc.collect()
    del connection
    gc.collect()
    assert Connection.alive == 1
    monkeypatch.setattr(collector, "most_memory", lambda: 2 * memory)
    gc.collect(1)
    gc.collect()
    assert Connection.alive == 0


@pytest.mark.slow
def test_what_is_left_of_those_who_came_and_went_is_found_in_time() -> None:
    before, most = sys.getallocatedblocks(), 0
    connections: deque[Connection] = deque(maxlen=40_000)
    for _ in range(1_600_000):
        connections.append(Connection())
        most = max(most, Connection.alive)
    gc.collect(1)
    assert most < before

"""How Sanic starts workers, and what a worker takes over from the main process."""

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import pytest
from sanic import Sanic
from sanic.helpers import Default, _default

from gospa import forking, trouble
from gospa.lifeline import Lifeline
from gospa.stats import REASONS, STATS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sanic]:
    """An application that has not been told how to start workers."""
    monkeypatch.setattr(Sanic, "start_method", _default)
    app = Sanic("forking")
    yield app
    Sanic.unregister_app(app)


def test_workers_are_forked(app: Sanic) -> None:
    forking.choose_start_method(app)
    assert Sanic.start_method == "fork"


def test_with_auto_reload_they_load_new_code(app: Sanic) -> None:
    app.state.auto_reload = True
    forking.choose_start_method(app)
    assert isinstance(Sanic.start_method, Default)


def test_with_an_inspector_they_load_new_code(app: Sanic) -> None:
    app.config.INSPECTOR = True
    forking.choose_start_method(app)
    assert isinstance(Sanic.start_method, Default)


def test_the_applications_own_choice_stays(app: Sanic) -> None:
    Sanic.start_method = "spawn"
    forking.choose_start_method(app)
    assert Sanic.start_method == "spawn"


@contextmanager
def forked(look: Callable[[], Any]) -> Iterator[Connection]:
    """A fork of this process that sends what `look` returns there."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    fork = multiprocessing.get_context("fork").Process(target=lambda: sender.send(look()))
    fork.start()
    sender.close()
    with receiver:
        yield receiver
    fork.join()


def test_a_fork_counts_and_logs_anew(
    app: Sanic, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def report() -> tuple[int, int, int]:
        trouble.report("descriptors", "no more files")
        return STATS.workers_died, STATS.of("descriptors"), caplog.text.count("no more files")

    monkeypatch.setattr(STATS, "workers_died", 1)
    monkeypatch.setattr(STATS, "trouble", [0] * len(REASONS))
    trouble.forget()
    forking.choose_start_method(app)
    report()
    with forked(report) as answer:
        assert answer.recv() == (0, 1, 2)
    assert report() == (1, 2, 1)


def test_a_fork_notices_the_end_of_the_main_process() -> None:
    lifeline = Lifeline()
    ends = lifeline.open()
    with forked(lambda: ends.stop.poll(60) and ends.cut) as answer:
        lifeline.close()
        assert answer.recv()

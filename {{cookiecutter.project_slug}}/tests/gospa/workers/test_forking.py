"""How Sanic starts workers, and what a worker takes over from the main process."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sanic import Sanic
from sanic.helpers import Default, _default
from sanic.logging.formatter import AutoFormatter

from gospa import trouble
from gospa.stats import REASONS, STATS
from gospa.workers import forking
from gospa.workers.lifeline import Lifeline
from gospa.workers.states import LocalManager
from tests.gospa.forks import FORK, descriptors, forked

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


def test_a_fork_does_not_keep_open_what_ends_with_the_main_process() -> None:
    lifeline, before = Lifeline(), descriptors()
    manager, ends = LocalManager(), lifeline.open()
    manager.dict()  # opens a connection
    mine = descriptors() - before
    theirs = {str(Path(f"/proc/self/fd/{end.fileno()}").readlink()) for end in ends}
    with forked(lambda: descriptors() & mine) as answer:
        assert answer.recv() == theirs < mine


def test_lines_of_the_log_begin_with_the_workers_name(
    app: Sanic, monkeypatch: pytest.MonkeyPatch
) -> None:
    forking.choose_start_method(app)
    monkeypatch.setenv("SANIC_WORKER_IDENTIFIER", "Srv 7")
    with forked(lambda: AutoFormatter.IDENT) as answer:
        assert answer.recv() == "Srv 7"
    assert AutoFormatter.IDENT != "Srv 7"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_fork_is_ended_by_a_signal_until_it_handles_it(app: Sanic, name: str) -> None:
    number = signal.Signals[name]
    forking.choose_start_method(app)
    before = signal.signal(number, lambda *_: None)
    try:
        fork = FORK.Process(target=signal.raise_signal, args=[number])
        fork.start()
        fork.join()
    finally:
        signal.signal(number, before)
    assert fork.exitcode == -number


def test_a_fork_keeps_a_signal_ignored(app: Sanic) -> None:
    forking.choose_start_method(app)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with forked(lambda: signal.getsignal(signal.SIGHUP)) as answer:
            assert answer.recv() is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)

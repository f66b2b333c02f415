"""Which workers are replaced, and when; tests/gospa/process has it happen for real."""

from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from gospa.workers.lifeline import Lifeline
from gospa.workers.supervisor import DELAYS, STEADY, Supervisor

NAME = "Sanic-Server-0-0"


class Manager:
    """What the supervisor knows of Sanic's: states, and a line on which to ask for a restart."""

    def __init__(self) -> None:
        self.worker_state: dict[str, dict[str, Any]] = {"Sanic-Main": {"pid": 1}}
        self.monitor_publisher = self
        self.processes = [SimpleNamespace(name=NAME, pid=7, exitcode=-9)]
        self.transient_processes = self.processes
        self.sent: list[str] = []
        self.state = "ACKED"

    @property
    def state(self) -> str:
        return str(self.worker_state[NAME]["state"])

    @state.setter
    def state(self, state: str) -> None:
        self.worker_state[NAME] = {"server": True, "state": state}

    def send(self, message: str) -> None:
        self.sent.append(message)
        self.state = "RESTARTING"


class Scene(NamedTuple):
    manager: Manager
    supervisor: Supervisor


@pytest.fixture
def scene() -> Scene:
    manager = Manager()
    app: Any = SimpleNamespace(manager=manager)
    supervisor = Supervisor(app, Lifeline(), stop_timeout=15, hang_timeout=60)
    supervisor.check(0)
    return Scene(manager, supervisor)


def time_to_replacement(scene: Scene, died: float) -> float:
    """Let the worker die; returns after how many seconds a new one was asked for."""
    scene.manager.state = "FAILED"
    before = len(scene.manager.sent)
    now = died
    while len(scene.manager.sent) == before:
        scene.supervisor.check(now)
        now += 0.125
        assert now < died + 2 * DELAYS[1]
    return now - 0.125 - died


@pytest.mark.parametrize("state", ["FAILED", "COMPLETED"])
def test_a_worker_that_ended_is_replaced_once(scene: Scene, state: str) -> None:
    scene.manager.state = state
    for tick in range(20):
        scene.supervisor.check(STEADY + 1 + tick / 10)
    assert scene.manager.sent == [f"{NAME}:"]


@pytest.mark.parametrize(
    ("code", "how"), [(-9, "signal 9"), (-40, "signal 40"), (1, "exit code 1")]
)
def test_the_log_says_which_process_ended_and_how(
    scene: Scene, caplog: pytest.LogCaptureFixture, code: int, how: str
) -> None:
    scene.manager.processes[0].exitcode = code
    scene.manager.state = "FAILED"
    scene.supervisor.check(3)
    assert f"{NAME} (process 7, {how}) died after 3 s" in caplog.text


@pytest.mark.parametrize(
    ("state", "code", "started", "sent"),
    [
        ("ACKED", None, True, []),
        ("ACKED", 1, True, []),
        ("STARTED", None, False, []),
        ("STARTED", -9, True, []),
        ("STARTED", 1, False, ["__TERMINATE_EARLY__"]),
    ],
)
def test_at_the_start_a_worker_that_fails_ends_all_and_one_that_is_killed_does_not(
    scene: Scene, state: str, code: int | None, started: bool, sent: list[str]
) -> None:
    scene.manager.state, scene.manager.processes[0].exitcode = state, code
    assert scene.supervisor._all_started() is started  # noqa: SLF001 - Sanic calls it
    assert scene.manager.sent == sent


@pytest.mark.parametrize("state", ["ACKED", "STARTED", "RESTARTING", "TERMINATED"])
def test_others_are_left_alone(scene: Scene, state: str) -> None:
    scene.manager.state = state
    for tick in range(100):
        scene.supervisor.check(float(tick))
    assert scene.manager.sent == []


def test_one_that_lived_long_is_replaced_within_a_second(scene: Scene) -> None:
    assert time_to_replacement(scene, died=STEADY + 1) <= 1


def test_one_that_dies_at_every_start_is_replaced_ever_later_up_to_a_bound(scene: Scene) -> None:
    now, waits = STEADY + 1, []
    for _ in range(10):
        waits.append(time_to_replacement(scene, now))
        now += waits[-1] + 1  # lives a second
        scene.manager.state = "ACKED"
        scene.supervisor.check(now)
    assert waits == sorted(waits)
    assert waits[0] == DELAYS[0]
    assert waits[-1] == DELAYS[1]


def test_one_that_lives_long_again_is_forgiven(scene: Scene) -> None:
    now = STEADY + 1
    for _ in range(5):
        now += time_to_replacement(scene, now) + 1
        scene.manager.state = "ACKED"
        scene.supervisor.check(now)
    assert time_to_replacement(scene, now + STEADY + 1) == DELAYS[0]

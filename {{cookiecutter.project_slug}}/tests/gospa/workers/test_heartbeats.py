"""Which workers are said to hang, and which only seem to."""

from gospa.workers.heartbeats import Heartbeats

TIMEOUT = 30.0


def looks(heartbeats: Heartbeats, since: float, seconds: float, beats: set[int]) -> list[int]:
    """Look four times a second; returns what the last look found."""
    hung: list[int] = []
    for tick in range(int(seconds * 4) + 1):
        hung = heartbeats.check(since + tick / 4, beats, {1, 2})
    return hung


def test_a_worker_without_a_beat_for_the_timeout_hangs_and_others_do_not() -> None:
    heartbeats = Heartbeats(TIMEOUT)
    assert looks(heartbeats, 0, 1, {1, 2}) == []
    assert looks(heartbeats, 1, TIMEOUT, {2}) == []
    assert looks(heartbeats, 1 + TIMEOUT, 0.25, {2}) == [1]


def test_a_worker_that_beats_again_does_not_hang() -> None:
    heartbeats = Heartbeats(TIMEOUT)
    looks(heartbeats, 0, 1, {1, 2})
    looks(heartbeats, 1, TIMEOUT - 1, {2})
    looks(heartbeats, TIMEOUT, 0, {1, 2})
    assert looks(heartbeats, TIMEOUT, 5, {2}) == []


def test_a_process_that_never_sent_a_beat_is_left_alone() -> None:
    assert looks(Heartbeats(TIMEOUT), 0, 10 * TIMEOUT, set()) == []


def test_after_the_machine_slept_each_worker_has_the_whole_timeout() -> None:
    heartbeats = Heartbeats(TIMEOUT)
    looks(heartbeats, 0, 1, {1, 2})
    assert looks(heartbeats, 3600, TIMEOUT - 2, set()) == []
    assert looks(heartbeats, 3600 + TIMEOUT - 2, 2, set()) == [1, 2]


def test_a_worker_that_ended_is_forgotten() -> None:
    heartbeats = Heartbeats(TIMEOUT)
    heartbeats.check(0, {7}, {7})
    assert looks(heartbeats, 0, 2 * TIMEOUT, {1, 2}) == []

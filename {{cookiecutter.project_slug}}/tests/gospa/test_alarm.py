"""What an alarm is, where it is defined and where it is set."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from gospa import Access, Member, Room, Session, State, action, alarm
from gospa.errors import DefinitionError
from gospa.member import SERVER
from gospa.state import LONGEST_WAIT, values_of
from gospa.store.alarms import ALARM, EARLY, GRAIN, look_at, read_alarm, rounded
from gospa.store.codec import encode
from gospa.store.content import Content
from gospa.store.draft import Draft


class TimerState(State):
    rings: int = 0


async def authorize(self: object, session: Session) -> Access:
    return Access.FULL


class Timer(Room[TimerState]):
    pattern = "timer"
    authorize = authorize

    @action
    def start(self, state: TimerState, after: float | None) -> None:
        state.wake(after=after)

    @alarm
    def ring(self, state: TimerState) -> None:
        state.rings += 1


class Silent(Room[TimerState]):
    pattern = "silent"
    authorize = authorize

    @action
    def start(self, state: TimerState) -> None:
        state.wake(after=1)


def draft(**fields: Any) -> Draft:
    return Draft(Content({key: encode(value) for key, value in fields.items()}, {}))


def started(after: float | None, fields: dict[str, Any] | None = None) -> int | None:
    """What an action leaves as alarm that calls `wake`."""
    on = draft(**(fields or {}))
    Timer.start.bind(Timer("timer", {}), SERVER, {"after": after})(on)
    return read_alarm(on.get(ALARM))


def test_an_action_says_how_long_from_its_commit_on() -> None:
    assert started(1.25) == -1250
    assert started(0, {ALARM: 5}) == 0
    assert started(LONGEST_WAIT) == -LONGEST_WAIT * 1000
    assert started(None, {ALARM: 5}) is None


@pytest.mark.parametrize("after", [-0.1, math.nan, math.inf, LONGEST_WAIT + 1])
def test_a_wait_that_no_store_keeps_is_refused(after: float) -> None:
    with pytest.raises(ValueError, match="use 0 to"):
        TimerState().wake(after=after)


def test_who_only_reads_sets_no_alarm() -> None:
    with pytest.raises(TypeError, match="call an action"):
        TimerState.of(draft(), frozen=True).wake(after=1)


def test_a_room_without_an_alarm_cannot_be_woken() -> None:
    with pytest.raises(DefinitionError, match="Silent has no @alarm"):
        Silent.start.bind(Silent("silent", {}), SERVER, {})(draft())


@pytest.mark.parametrize(
    ("stored", "now", "runs"),
    [(None, 10, False), (11, 10, False), (10, 10, True), (-5, 10, False), ("x", 10, False)],
)
def test_it_runs_when_it_is_due_and_is_over_then(stored: Any, now: int, *, runs: bool) -> None:
    on = draft(**({} if stored is None else {ALARM: stored}))
    assert Timer.ring.bind(Timer("timer", {}), now)(on) is runs
    assert TimerState.of(on).rings == runs
    assert (on.get(ALARM) is None) is (runs or stored is None)
    assert on.edits().read.keys() >= {ALARM}


def test_the_state_of_a_new_room_may_have_one() -> None:
    state = TimerState(rings=1)
    state.wake(after=3)
    assert values_of(state).draft.edits().set == {"rings": encode(1), ALARM: encode(-3000)}


def test_times_are_rounded_up() -> None:
    assert [rounded(time) for time in (0, 1, 499, 500, 501)] == [0, 500, 500, 500, 1000]


@given(some.integers(1, 10**12), some.integers(1, 10**10))
def test_a_look_is_early_by_a_part_of_the_wait_at_most(now: int, wait: int) -> None:
    due = rounded(now + wait)
    at = look_at(now, due)
    assert now < at <= due
    assert due - at <= (due - now) / EARLY
    assert at == due or due - now >= 2 * GRAIN * EARLY


@pytest.mark.parametrize("wait", [1000, 60_000, 3_600_000, 300 * 86_400_000])
def test_an_alarm_that_is_put_off_again_and_again_has_few_entries(wait: int) -> None:
    steps = range(0, wait, max(wait // 2000, 1))
    assert len({look_at(now, rounded(now + wait)) for now in steps}) <= 2 * EARLY


def with_member(self: object, state: TimerState, member: Member) -> None: ...
def with_argument(self: object, state: TimerState, text: str) -> None: ...
def without_state(self: object) -> None: ...
async def asynchronous(self: object, state: TimerState) -> None: ...


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (with_member, "takes the state and nothing else"),
        (with_argument, "takes the state and nothing else"),
        (without_state, "takes `state: TimerState` first"),
        (asynchronous, "is async"),
    ],
)
def test_one_that_cannot_work_is_refused_where_it_is_defined(
    function: Callable[..., Any], said: str
) -> None:
    with pytest.raises(DefinitionError, match=said):
        type("Wrong", (Silent,), {"ring": alarm(function)})


def test_a_room_has_one_alarm() -> None:
    body = {"ring": alarm(Timer.ring.function), "chime": alarm(Timer.ring.function)}
    with pytest.raises(DefinitionError, match="several alarms: chime, ring"):
        type("Wrong", (Silent,), body)

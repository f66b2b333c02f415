"""Alarms: methods that rooms run at a time set with `state.wake()`."""

import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from gospa.action import Declared, finish
from gospa.errors import DefinitionError
from gospa.member import Member
from gospa.signature import Method, read_signature
from gospa.state import State
from gospa.store.alarms import ALARM, read_alarm
from gospa.store.draft import Draft, Run
from gospa.store.schema import require_version

S = TypeVar("S", bound=State)
Q = ParamSpec("Q")


class Alarm(Method[Q, None]):
    """The alarm of a room: a method made by `@alarm`."""

    def define(self, state: type[State]) -> None:
        """Read the signature. Raises DefinitionError."""
        if inspect.iscoroutinefunction(self.function):
            text = f"{self.where} is async: an alarm only changes the state; have it start a job"
            raise DefinitionError(text)
        signature = read_signature(self.function, self.where, first=state, injected=Member)
        if signature.injected or signature.arguments.__struct_fields__:
            raise DefinitionError(f"{self.where} takes the state and nothing else")

    def bind(self, room: Declared, now: int) -> Run:
        """A function that runs the alarm on a draft if it is due; returns whether it was due.

        `now`: milliseconds of the store's clock.
        """

        def run(draft: Draft) -> bool:
            require_version(draft, room.version, room.name)
            due = read_alarm(draft.get(ALARM))
            if due is None or not 0 < due <= now:
                return False
            draft.delete(ALARM)
            state = room.state.of(draft)
            self.function(room, state)
            finish(room, state)
            return True

        return run


def alarm(function: Callable[Concatenate[Any, S, Q], None], /) -> Alarm[Concatenate[S, Q]]:
    """Make a method the alarm of its room, which has at most one.

    Its parameter is the room's state, which it changes as an action does.
    `state.wake(after=seconds)` in an action, a hook or the alarm itself sets the time. The alarm
    runs once, on one of the workers, even if nobody is in the room and all workers were restarted.
    If it raises, nothing is changed, the error is logged, and the alarm runs again later.
    """
    return Alarm(function)

"""A kind of room: its state, its actions, and its access."""

import re
import unicodedata
from collections.abc import Mapping
from inspect import iscoroutinefunction, isfunction
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args, get_origin

from sanic import Sanic

from gospa.action import Action, Declared, Event
from gospa.alarm import Alarm
from gospa.command import Command
from gospa.errors import DefinitionError
from gospa.member import Access, Member
from gospa.sessions.session import Session
from gospa.state import State

S_co = TypeVar("S_co", bound=State, covariant=True)  # so that a list of room classes has a type


class Room(Declared, Generic[S_co]):
    """One kind of room. Subclass `Room[PollState]`, and define `pattern` and `authorize`.

        class Poll(Room[PollState]):
            pattern = "poll/<name>"

            async def authorize(self, session: Session) -> Access:
                return Access.FULL

    pattern   its names: "poll/<name>" matches "poll/lunch"
    version   the version of its state's schema, from 1; see `migrate`
    scope     "shared" by everybody, or one room for each "session" or "user"
    presence  True: members may see who else is in the room; "people": each user once

    Methods with `@action` change its state; those with `@command` may wait for anything; one with
    `@alarm` runs at the time that `state.wake()` has set. An attribute that is an `Event` declares
    an event to its members. The methods below are hooks: override those that you need. `app` is the
    application; `name` and `params` belong to this room. Do not store anything else on `self`,
    which all members on a worker share. docs/rooms.md has examples.
    """

    pattern: ClassVar[str]
    scope: ClassVar[Literal["shared", "session", "user"]] = "shared"
    presence: ClassVar[Literal[False, True, "people"]] = False

    app: Sanic

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not isinstance(getattr(cls, "pattern", None), str):
            raise DefinitionError(f"{cls.__name__} needs a pattern, for example 'poll/<name>'")
        asks = cls.authorize
        if asks is Room.authorize or (isfunction(asks) and not iscoroutinefunction(asks)):
            raise DefinitionError(
                f"{cls.__name__} needs `async def authorize(self, session) -> Access`"
            )
        if cls.scope not in SCOPES:
            raise DefinitionError(f"{cls.__name__}.scope is one of {', '.join(SCOPES)}")
        if cls.presence not in LISTS:
            raise DefinitionError(
                f"{cls.__name__}.presence is one of {', '.join(map(repr, LISTS))}"
            )
        if type(cls.version) is not int or cls.version < 1:
            raise DefinitionError(f"{cls.__name__}.version is a whole number from 1 on")
        _declare(cls)

    def __init__(self, name: str, params: Mapping[str, str]) -> None:
        self.name = name
        self.params = params

    @classmethod
    def named(cls, **params: str) -> str:
        """The name of a room with these parameters, which may hold any printable text.

        `Poll.named(name="tea/coffee")` is "poll/tea%2Fcoffee".
        """
        return re.sub(r"<([a-z_]+)>", lambda found: quoted(params[found[1]]), cls.pattern)

    async def authorize(self, session: Session) -> Access:
        """What `session` may do here. `session.user` is None without a log-in.

        Called when a connection joins, maybe twice, at intervals after that
        (`GOSPA_SESSION_CHECK_INTERVAL`), and by `rooms.reauthorize`. If it raises, a join fails,
        and current members stay in the room; after StoreUnavailable, clients join again later.
        """
        raise DefinitionError(f"{type(self).__name__} has no authorize")

    def introduce(self, session: Session) -> Mapping[str, Any]:
        """Data about `session` that other members see, besides the user.

        It is `info` of members in lists and of the sender of an event, and `member.info` in actions
        and in `allows`.
        """
        return {}

    async def load(self) -> S_co | None:
        """The initial state, which becomes the room's first commit; None for the defaults.

        Called when the room is opened and not in the store: also after it was deleted, expired or
        lost. If several workers open it at once, each may call it, and one result is used. If it
        raises, the room cannot be opened; after StoreUnavailable, clients try again.
        """
        return None

    async def save(self, state: Any, version: int) -> None:
        """Keep the state elsewhere, such as in a database.

        Called some time after changes (`GOSPA_SAVE_DELAY`), when the room is closed, and when the
        worker stops: by each worker that changed it, maybe twice, maybe not in order. The version
        only grows, also after the room was deleted or lost: save a state only if its version is
        larger, as an UPDATE with `WHERE version < :version` does. If it raises, it is called again.
        """

    def migrate(self, old: dict[str, Any], version: int) -> None:
        """Convert the values that `version` of the class stored for this version, in place.

        A key is `<field>` or `<collection>/<id>`, and a value is plain: a Struct is a dict. It must
        have no side effects, as it may run twice. The result is checked, and stored in one commit.
        """

    def joined(self, state: Any, member: Member) -> str | None:
        """A member, which is one tab, has joined: an action, run once for each visit.

        If it returns a text, the member gets it, as the reason why others do not see the member. A
        hook cannot refuse members: if it raises, that is logged. A failed `joined` is not repeated,
        and `left` is not called after it.
        """
        return None

    def updated(self, state: Any, member: Member) -> None:
        """The `info` or `claims` of a member have changed: an action.

        A client that returns as another user begins another visit.
        """

    def left(self, state: Any, member: Member) -> None:
        """A member has left: an action, run once for each visit.

        It runs when the client leaves the room, or was not connected for nine seconds. A client
        that returns before that continues the visit. If all workers died, it runs when the room is
        opened again.
        """


def quoted(value: str) -> str:
    """A parameter's value as part of a room's name: NFC, with these characters percent-encoded.

    So a value cannot add a part to the name, or change the keys that the engine derives from it.
    """
    text = unicodedata.normalize("NFC", value)
    return re.sub(r"[%/#@{}]", lambda found: f"%{ord(found[0]):02X}", text)


SCOPES = get_args(Room.__annotations__["scope"].__args__[0])
LISTS = get_args(Room.__annotations__["presence"].__args__[0])
_TAKEN = frozenset({*dir(Room), *Room.__annotations__, *Declared.__annotations__, "params"})


def _declare(cls: type[Room[Any]]) -> None:
    """List what the class declares, and read its state and signatures. Raises DefinitionError."""
    found = {name: getattr(cls, name) for name in dir(cls)}
    kinds = Action | Alarm | Command | Event
    declared = {name: each for name, each in found.items() if isinstance(each, kinds)}
    for name in declared:
        if name in _TAKEN or name.startswith("_"):
            raise DefinitionError(f"{cls.__name__}.{name}: rename it, the name is not free")
    cls.state = _state_of(cls)
    cls.state.schema()
    cls.actions = {name: each for name, each in declared.items() if isinstance(each, Action)}
    cls.alarms = {name: each for name, each in declared.items() if isinstance(each, Alarm)}
    cls.commands = {name: each for name, each in declared.items() if isinstance(each, Command)}
    cls.events = {name: each for name, each in declared.items() if isinstance(each, Event)}
    if len(cls.alarms) > 1:
        raise DefinitionError(f"{cls.__name__} has several alarms: {', '.join(cls.alarms)}")
    for method in (*cls.actions.values(), *cls.alarms.values()):
        method.define(cls.state)
    for command in cls.commands.values():
        command.define()


def _state_of(cls: type[Room[Any]]) -> type[State]:
    """The argument of Room[...]. Raises DefinitionError."""
    for base in getattr(cls, "__orig_bases__", ()):
        if get_origin(base) is Room:
            (state,) = get_args(base)
            if isinstance(state, type) and issubclass(state, State):
                return state
    if cls.state is State and Room in cls.__bases__:
        raise DefinitionError(f"write class {cls.__name__}(Room[MyState]), with your own State")
    return cls.state

"""A kind of room: its state, its actions, and who may enter."""

from collections.abc import Mapping
from typing import Any, ClassVar

from sanic import Sanic

from gospa.action import Action, Declared, Event
from gospa.errors import DefinitionError
from gospa.sessions.session import Session
from gospa.store.codec import CodecError, pack_fields


class Room(Declared):
    """One kind of room. Subclass it, name its pattern, and say who may enter.

    pattern   the names it answers to: "poll/<name>" matches "poll/lunch"
    initial   the values of keys that nobody has set yet
    writable  keys that members may set directly, with the type of each value
    private   True: each session has its own room under this name
    presence  True: members may see who else is in the room

    Methods with `@action` change its state; attributes that are an `Event` are what may be sent to
    its members. `app` is the application.
    """

    pattern: ClassVar[str]
    initial: ClassVar[Mapping[str, Any]] = {}
    private: ClassVar[bool] = False
    presence: ClassVar[bool] = False

    initial_fields: ClassVar[Mapping[str, bytes]] = {}  # `initial`, encoded
    app: Sanic

    def __init_subclass__(cls) -> None:
        if not isinstance(getattr(cls, "pattern", None), str):
            raise DefinitionError(f"{cls.__name__} needs a pattern, for example 'poll/<name>'")
        if cls.authorize is Room.authorize:
            raise DefinitionError(
                f"{cls.__name__} needs `async def authorize(self, session) -> bool`: who may enter"
            )
        members = {name: getattr(cls, name) for name in dir(cls)}
        declared = {k: each for k, each in members.items() if isinstance(each, Action | Event)}
        for name in declared:
            if name in _TAKEN or name.startswith("_"):
                raise DefinitionError(f"{cls.__name__}.{name}: rename it, the name is not free")
        try:
            cls.initial_fields = pack_fields(cls.initial)
        except CodecError as error:
            raise DefinitionError(f"{cls.__name__}.initial: {error}") from error
        cls.actions = {name: each for name, each in declared.items() if isinstance(each, Action)}
        cls.events = {name: each for name, each in declared.items() if isinstance(each, Event)}
        for each in cls.actions.values():
            each.define()

    def __init__(self, name: str, params: Mapping[str, str]) -> None:
        self.name = name
        self.params = params

    async def authorize(self, session: Session) -> bool:
        """Whether the holder of `session` may enter, and stay.

        Asked when a connection joins, maybe twice, and at intervals after that
        (`GOSPA_SESSION_CHECK_INTERVAL`).
        """
        raise DefinitionError(f"{type(self).__name__} has no authorize")

    def _track_members(self, local: Any) -> Any:
        """Private: lets the presence extra follow who joins and leaves, until rooms have hooks."""


_TAKEN = frozenset({*dir(Room), *Room.__annotations__, *Declared.__annotations__, "params"})

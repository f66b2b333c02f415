"""Finds the room that a name means."""

import re
from collections.abc import Callable, Sequence

from sanic import Sanic

from gospa.errors import DefinitionError, Invalid, UnknownRoom
from gospa.room import Room
from gospa.sessions.session import Session

_PARAMETER = re.compile(r"<([a-z_]+)>")
_SEGMENT = r"[A-Za-z0-9_.~-]{1,64}"


class Router:
    """Matches names against the patterns of the application's rooms, in their order."""

    def __init__(self, kinds: Sequence[type[Room]], app: Sanic | None = None) -> None:
        self._app = app
        self._kinds = [(_compile(kind), kind) for kind in kinds]
        self._derived: dict[str, Callable[[Room], Room]] = {}
        patterns = [pattern.pattern for pattern, _ in self._kinds]
        if twice := [p for p in patterns if patterns.count(p) > 1]:
            raise DefinitionError(f"two kinds of room answer to {twice[0]}")

    def derive(self, suffix: str, make: Callable[[Room], Room]) -> None:
        """Have names that end with `suffix` mean a room made of the one without it.

        The suffix has a character that no name of a room can have.
        """
        self._derived[suffix] = make

    def resolve(self, name: str, session: Session | None) -> tuple[str, Room]:
        """The key that a room is stored under, and the room. Raises UnknownRoom.

        A private room is the session's. Without a session, it raises Invalid.
        """
        for suffix, make in self._derived.items():
            if name.endswith(suffix):
                key, room = self.resolve(name.removesuffix(suffix), session)
                return key + suffix, make(room)
        for pattern, kind in self._kinds:
            if match := pattern.fullmatch(name):
                room = kind(name, match.groupdict())
                if self._app is not None:
                    room.app = self._app
                return self._key(room, session), room
        raise UnknownRoom(f"there is no room {name!r:.60}")

    @staticmethod
    def _key(room: Room, session: Session | None) -> str:
        if not room.private:
            return room.name
        if session is None:
            raise Invalid(f"each session has its own room {room.name}: use for_user()")
        return f"{room.name}@{session.identity}"


def _compile(kind: type[Room]) -> re.Pattern[str]:
    parts = _PARAMETER.split(kind.pattern)
    texts, names = parts[::2], parts[1::2]
    if any(re.search(r"[^A-Za-z0-9_.~/-]", text) for text in texts):
        raise DefinitionError(
            f"{kind.__name__}.pattern: use letters, digits, /, -, _, . and <name>"
        )
    groups = [f"(?P<{name}>{_SEGMENT})" for name in names] + [""]
    return re.compile("".join(re.escape(t) + g for t, g in zip(texts, groups, strict=True)))

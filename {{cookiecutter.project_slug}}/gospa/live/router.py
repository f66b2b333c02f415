"""Finds the room that a name means."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote, unquote

from sanic import Sanic

from gospa.action import closest
from gospa.errors import DefinitionError, Invalid, UnknownRoom
from gospa.live.visits import has_hooks
from gospa.room import Room, quoted
from gospa.sessions.session import Session
from gospa.store.contract import USER

LONGEST = 64  # characters of a parameter
_PARAMETER = re.compile(r"<([a-z_]+)>")


class Router:
    """Matches names against the patterns of the application's rooms, in their order."""

    def __init__(self, kinds: Sequence[type[Room[Any]]], app: Sanic | None = None) -> None:
        self._app = app
        self._kinds = [(_compile(kind), kind) for kind in kinds]
        self._derived: dict[str, Callable[[Room[Any]], Room[Any]]] = {}
        patterns = [pattern.pattern for pattern, _ in self._kinds]
        if twice := [p for p in patterns if patterns.count(p) > 1]:
            raise DefinitionError(f"two kinds of room answer to {twice[0]}")

    @property
    def kinds(self) -> list[type[Room[Any]]]:
        """The kinds of rooms, in their order."""
        return [kind for _, kind in self._kinds]

    @property
    def has_hooks(self) -> bool:
        """Whether visits to some rooms are kept."""
        return bool(self._derived) or any(map(has_hooks, self.kinds))

    @property
    def has_alarms(self) -> bool:
        """Whether some rooms have an alarm."""
        return any(kind.alarms for kind in self.kinds)

    def derive(self, suffix: str, make: Callable[[Room[Any]], Room[Any]]) -> None:
        """Have names that end with `suffix` mean a room made of the one without it.

        The suffix has a character that no name of a room can have.
        """
        self._derived[suffix] = make

    def resolve(self, name: str, session: Session | None) -> tuple[str, Room[Any]]:
        """The key that a room is stored under, and the room. Raises UnknownRoom.

        A room of a session or user is that of `session`. Without one, it raises Invalid.
        """
        for suffix, make in self._derived.items():
            if name.endswith(suffix):
                key, room = self.resolve(name.removesuffix(suffix), session)
                return key + suffix, self._placed(make(room))
        room = self._match(name)
        return key_of(room, session), room

    def stored(self, key: str) -> Room[Any]:
        """The room that is stored under a key. Raises UnknownRoom."""
        for suffix, make in self._derived.items():
            if key.endswith(suffix):
                return self._placed(make(self.stored(key.removesuffix(suffix))))
        name, at, owner = key.partition("@")
        room = self._match(name)
        scope = ("user" if owner.startswith(USER) else "session") if at else "shared"
        if scope != room.scope and not (scope == "session" and room.scope == "user"):
            raise UnknownRoom(f"there is no {scope} room {name!r:.60}: its scope is {room.scope}")
        return room

    def _match(self, name: str) -> Room[Any]:
        """A room of the first kind that answers to a name. Raises UnknownRoom."""
        for pattern, kind in self._kinds:
            if match := pattern.fullmatch(name):
                params = {k: _parameter(name, text) for k, text in match.groupdict().items()}
                return self._placed(kind(name, params))
        raise UnknownRoom(f"there is no room {name!r:.60}{self._hint(name)}")

    def _placed(self, room: Room[Any]) -> Room[Any]:
        if self._app is not None:
            room.app = self._app
        return room

    def _hint(self, name: str) -> str:
        if self._app is None or not self._app.debug:
            return ""
        return closest(name, [kind.pattern for kind in self.kinds])


def key_of(room: Room[Any], session: Session | None) -> str:
    """The key that a room is stored under. Raises Invalid without the session that it needs.

    Names have no `@`, and a user's name is quoted, so nobody can name another's room.
    """
    if room.scope == "shared":
        return room.name
    if session is None:
        raise Invalid(f"each {room.scope} has its own room {room.name}: use for_user()")
    if room.scope == "user" and session.user is not None:
        return f"{room.name}@{USER}{quote(session.user, safe='')}"
    return f"{room.name}@{session.identity}"


def _parameter(name: str, text: str) -> str:
    """The value of a parameter. Raises UnknownRoom, with the right name if there is one."""
    try:
        value = unicodedata.normalize("NFC", unquote(text, errors="strict"))
    except UnicodeDecodeError as error:
        raise UnknownRoom(f"there is no room {name!r:.60}: it is not UTF-8") from error
    if not value.isprintable() or not 0 < len(value) <= LONGEST:
        raise UnknownRoom(f"there is no room {name!r:.60}: use 1 to {LONGEST} printable characters")
    if quoted(value) != text:
        raise UnknownRoom(f"there is no room {name!r:.60}: write {quoted(value)!r} in its name")
    return value


def _compile(kind: type[Room[Any]]) -> re.Pattern[str]:
    parts = _PARAMETER.split(kind.pattern)
    texts, names = parts[::2], parts[1::2]
    if any(re.search(r"[^A-Za-z0-9_.~/-]", text) for text in texts):
        raise DefinitionError(
            f"{kind.__name__}.pattern: use letters, digits, /, -, _, . and <name>"
        )
    if len(set(names)) < len(names):
        raise DefinitionError(f"{kind.__name__}.pattern: give each parameter a name of its own")
    for one, between, other in zip(names, texts[1:], names[1:], strict=False):
        if "/" not in between:  # else several parameters would make one name
            raise DefinitionError(f"{kind.__name__}.pattern: put a / between <{one}> and <{other}>")
    groups = [f"(?P<{name}>[^/#@{{}}]+)" for name in names] + [""]
    return re.compile("".join(re.escape(t) + g for t, g in zip(texts, groups, strict=True)))
